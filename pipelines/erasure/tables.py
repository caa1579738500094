"""The workspace's Parquet tables, without what is erased; the stages' markers know of it.

In: what goes (erasure.erased). A table is told by its columns, so that every stage's tables are found:

    face_id            the row goes with its face (faces/, clusterer/, identities/previous.parquet)
    photo_id           the row goes with its photograph (photos/, scanned/); of one that stays for others, the person's
                       own words go: subject, birth date, what a sidecar says of the face but its landmarks, which keep
                       the other faces' numbers as they are
    uri, row           dropped rows of the photograph or the face go: their uri names a file of the person's; so do
                       those below a folder of the person's label. Others name nothing of the person in their causes
    face_ids           an identity or a track loses its faces, and goes with the last; a decision keeps salted marks of
                       them, and loses its note where it is about the person, its label where that is the person's

A rewritten part keeps in its marker the SHA-256 that it was computed to, so that no later stage is done again; only its
size, its counts and `rewritten`, the hash of what stands there now, are new.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import compress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index.tombstones import face_mark
from anchorface.pipelines.erasure.erased import MARK, UNTOLD, Erased
from anchorface.pipelines.erasure.rows import column_names
from anchorface.pipelines.stages import stage
from anchorface.records.state import read_state
from anchorface.records.storage import exists, join, list_files, read_bytes, read_table, write_atomic

NOT_TABLES = ("dataset/", "index/", "tombstones/", "erased/", "audit/", "building/", "listing/")
KEYS = (
    "face_id", "photo_id", "uri", "row", "face_ids", "doubtful", "others", "kind", "label", "note", "identity",
    "given_faces", "subject", "birth_date", "cause", "detail",
)
def holding(out: str, erased: Erased) -> list[str]:
    """The tables of a workspace that hold something of what goes, as paths in it."""
    found = []
    for uri in list_files(out, (".parquet",)):
        path = uri.removeprefix(out.rstrip("/") + "/")
        if not path.startswith(NOT_TABLES):
            keys = read_table(uri, [name for name in column_names(uri) if name in KEYS])
            if without(keys, erased) is not keys:
                found.append(path)
    return sorted(found)


class Markers:
    """The done-markers of a workspace, by the outputs that they name; read once."""

    def __init__(self, out: str) -> None:
        self._out, self._touched = out, set[str]()
        self._of: dict[str, str] = {}
        done = join(out, "done")
        for uri in list_files(done, (".json",), missing_ok=True):
            if not uri.endswith("/complete.json"):
                self._of |= dict.fromkeys(_json(uri).get("outputs", ()), uri)

    def rewrite(self, path: str, erased: Erased) -> None:
        """Write a table again without what goes; doing it twice changes nothing."""
        uri = join(self._out, path)
        table = read_table(uri)
        cleaned = without(table, erased)
        content = stage.parquet_bytes(cleaned) if cleaned is not table else read_bytes(uri)
        self.replace(path, content, _counts(path, cleaned))

    def replace(self, path: str, content: bytes, counts: Mapping[str, int]) -> None:
        """Write an output of a stage again, and say so in its part's marker.

        Args:
            path: in the workspace.
            content: new.
            counts: what the part's marker counts now, where it counts that.
        """
        if read_bytes(join(self._out, path)) != content:
            write_atomic(join(self._out, path), content)
        uri = self._of.get(path)
        if uri is None:
            return
        marker = _json(uri)
        marker["outputs"][path] |= {"byte_size": len(content), "rewritten": hashlib.sha256(content).hexdigest()}
        marker["counts"] |= {name: number for name, number in counts.items() if name in marker["counts"]}
        _write(uri, marker)
        self._touched.add(uri.rpartition("/")[0])

    def sum_up(self) -> None:
        """Bring every touched stage's `complete.json` up to its parts' markers."""
        for folder in sorted(self._touched):
            whole = join(folder, "complete.json")
            if not exists(whole):
                continue
            complete, counts = _json(whole), dict[str, int]()
            for uri in list_files(folder, (".json",)):
                if uri == whole:
                    continue
                marker = _json(uri)
                complete["outputs"] |= {p: said for p, said in marker["outputs"].items() if p in complete["outputs"]}
                for name, number in marker["counts"].items():
                    counts[name] = counts.get(name, 0) + number
            write_atomic(whole, json.dumps(complete | {"counts": counts}, sort_keys=True, indent=1).encode())


def without(table: pa.Table, erased: Erased) -> pa.Table:
    """The table without what goes; the same object where it holds nothing of it."""
    names = set(table.column_names)
    if "face_ids" in names:
        return _each(table, (lambda row: _decision(row, erased)) if "kind" in names else (
            lambda row: _identity(row, erased)))
    keep = np.ones(len(table), dtype=bool)
    for column, gone in (("face_id", erased.face_ids), ("photo_id", erased.photo_ids), ("uri", erased.uris)):
        if column in names and not (column == "uri" and names & {"face_id", "photo_id"}):
            keep &= ~_is_in(table[column], gone)
    if {"uri", "row"} <= names and not names & {"face_id", "photo_id"}:
        rows = zip(table["uri"].to_pylist(), table["row"].to_pylist(), strict=True)
        keep &= ~np.fromiter((place in erased.places or erased.names_person(place[0]) for place in rows), bool,
                             len(table))
    table = table if keep.all() else table.filter(pa.array(keep))
    if {"cause", "detail"} <= names:
        table = _each(table, lambda row: row | {key: erased.untold(row[key]) for key in ("cause", "detail")})
    if "given_faces" in names and _is_in(table["photo_id"], frozenset(erased.shared)).any():
        table = _each(table, lambda row: _photo(row, erased))
    return table


def without_subjects(settings: Any, subjects: frozenset[str]) -> Any:
    """Settings whose tables by subject (`held`) no longer name these subjects."""
    if not isinstance(settings, dict):
        return settings
    return {
        key: {s: v for s, v in value.items() if s not in subjects} if key == "held" and isinstance(value, dict)
        else without_subjects(value, subjects)
        for key, value in settings.items()
    }


def forget_subjects(out: str, subjects: frozenset[str]) -> None:
    """Take subjects out of the settings that finished stages wrote down."""
    done = join(out, "done")
    for uri in list_files(done, ("/complete.json",), missing_ok=True):
        marker = _json(uri)
        settings = without_subjects(marker["settings"], subjects)
        if settings != marker["settings"]:
            _write(uri, marker | {"settings": settings})


def _each(table: pa.Table, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> pa.Table:
    """The table with every row changed, None for one that goes; the same object where nothing changes."""
    rows = table.to_pylist()
    changed = [change(row) for row in rows]
    if changed == rows:
        return table
    return pa.Table.from_pylist([row for row in changed if row is not None], schema=table.schema)


def _identity(row: dict[str, Any], erased: Erased) -> dict[str, Any] | None:
    keep = [face not in erased.face_ids for face in row["face_ids"]]
    left = list(compress(row["face_ids"], keep))
    if "frames" in row and left:
        points = np.reshape(row["landmarks"], (len(keep), -1))[keep]
        return row | {"face_ids": left, "frames": list(compress(row["frames"], keep)),
                      "landmarks": points.ravel().tolist()}
    doubtful = {"doubtful": [f for f in row["doubtful"] if f not in erased.face_ids]} if "doubtful" in row else {}
    return row | {"face_ids": left} | doubtful if left else None


def _decision(row: dict[str, Any], erased: Erased) -> dict[str, Any]:
    everyone = all(face in erased.face_ids or MARK.fullmatch(face) for face in row["face_ids"])
    about = erased.of_person and not erased.face_ids.isdisjoint((*row["face_ids"], *row["others"]))
    labelled = row["label"] in erased.subjects
    named = labelled or row["note"] != erased.untold(row["note"])
    return row | {
        key: [face_mark(erased.salt, face) if face in erased.face_ids else face for face in row[key]]
        for key in ("face_ids", "others")
    } | {"label": UNTOLD if labelled or (everyone and row["label"] is not None) else row["label"],
         "note": "" if everyone or about or named else row["note"]}


def _photo(row: dict[str, Any], erased: Erased) -> dict[str, Any]:
    if row["photo_id"] not in erased.shared:
        return row
    gone = erased.shared[row["photo_id"]]
    subjects = {face["subject"] for face in gone} - {None} | erased.subjects
    given = [
        face if not _is_one_of(face, gone, subjects) else {
            **dict.fromkeys(face), "landmarks": face["landmarks"]}
        for face in row["given_faces"] or ()
    ]
    own = {"subject": None, "birth_date": None} if row["subject"] in subjects else {}
    return row | own | ({"given_faces": given} if row["given_faces"] else {})


def _is_one_of(face: Mapping[str, Any], gone: list[dict[str, Any]], subjects: set[str]) -> bool:
    """Whether a sidecar's face is an erased one: the same subject, or the points within half an eye distance."""
    if face["subject"] in subjects:
        return True
    points = np.reshape(face["landmarks"] or (), (-1, 2))
    for other in (np.reshape(one["landmarks"], (5, 2)) for one in gone if one["landmarks"]):
        if points.shape == other.shape and np.linalg.norm(points - other, axis=1).mean() < 0.5 * np.linalg.norm(
            other[1] - other[0]
        ):
            return True
    return False


def _counts(path: str, table: pa.Table) -> dict[str, int]:
    """What the markers count of a table of this place."""
    folder = path.partition("/")[0]
    if folder == "faces":
        return {"faces": len(table), "photos": len(pc.unique(table["photo_id"]))}
    if folder in ("photos", "scanned"):
        return {"photos": len(table)}
    if folder == "dropped":
        return {"dropped": len(table)}
    if folder == "identities" and "face_ids" in table.column_names:
        return {"identities": len(table), "faces": sum(map(len, table["face_ids"].to_pylist()))}
    if folder == "tracks":
        return {"tracks": len(table), "faces": sum(map(len, table["face_ids"].to_pylist()))}
    return {"faces": len(table)} if folder == "clusterer" else {}


def _is_in(column: pa.ChunkedArray, values: frozenset[str]) -> np.ndarray:
    found = pc.is_in(column, value_set=pa.array(sorted(values), pa.string()))
    return np.asarray(found.to_numpy(), dtype=bool)


def _json(uri: str) -> dict[str, Any]:
    return read_state(uri, dict[str, Any])


def _write(uri: str, values: Mapping[str, Any]) -> None:
    write_atomic(uri, json.dumps(values, sort_keys=True).encode())
