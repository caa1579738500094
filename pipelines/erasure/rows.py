"""What a workspace knows of photographs, faces and persons, whatever stages it has been through.

In: a workspace: not grouped yet, grouped, or stopped in the middle of a stage. Out: tables. Dataset versions may hold
faces that no stage's table holds any more (the photograph left the source): those count too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anchorface.identity_index.unit import unit
from anchorface.records.lineage import manifests
from anchorface.records.nouns import FACE_SCHEMA, PHOTO_SCHEMA, Decision
from anchorface.records.storage import exists, filesystem, join, list_files, read_table

FACE_COLUMNS = ("face_id", "photo_id", "uri", "number", "subject", "source", "landmarks", "embedder")
PHOTO_COLUMNS = ("photo_id", "uri", "source")
IDENTITIES, PREVIOUS = "identities/part-00000.parquet", "identities/previous.parquet"
GROUP_DROPPED = "dropped/group"


def face_rows(out: str) -> pa.Table:
    """FACE_COLUMNS of all faces of the stage `find_faces`."""
    return _read(out, "faces", FACE_COLUMNS)


def known_faces(out: str) -> pa.Table:
    """FACE_COLUMNS of all faces, those of dataset versions alone among them: without subject and landmarks."""
    table = face_rows(out)
    known = [table]
    for version in _versions(out, ("face_id", "photo_id", "uri", "source")):
        new = version.filter(pc.invert(pc.is_in(version["face_id"], value_set=pc.unique(pa.concat_tables(
            [each.select(["face_id"]) for each in known])["face_id"]))))
        rows = [{"subject": None, "landmarks": None, "embedder": None, **row,
                 "number": int(row["face_id"].rpartition("-")[2])} for row in new.to_pylist()]
        known.append(pa.Table.from_pylist(rows, schema=table.schema))
    return pa.concat_tables(known)


def photo_rows(out: str) -> pa.Table:
    """PHOTO_COLUMNS of all photographs, copies of the same bytes and those of dataset versions among them."""
    tables = [_read(out, folder, PHOTO_COLUMNS) for folder in ("photos", "scanned")]
    table = pa.concat_tables([*tables, *_versions(out, PHOTO_COLUMNS)])
    return table.group_by(list(PHOTO_COLUMNS)).aggregate([]).sort_by("uri")


def identity_rows(out: str) -> list[dict[str, Any]]:
    """identity, subject, face_ids of all identities; none before `group`."""
    uri = join(out, IDENTITIES)
    return read_table(uri, ("identity", "subject", "face_ids")).to_pylist() if exists(uri) else []


def stood_with(out: str, names: Iterable[str]) -> dict[str, str]:
    """Faces that stood with one of these identities once, and where that is written: the run of `group` before, or a
    dataset version (an identity keeps its name)."""
    wanted, found = pa.array(sorted(names), pa.string()), dict[str, str]()
    tables = [("before the last group", read_table(join(out, PREVIOUS)))] if exists(join(out, PREVIOUS)) else []
    tables += [("in a dataset version", table) for table in _versions(out, ("face_id", "identity"))]
    for where, table in tables:
        for face in table.filter(pc.is_in(table["identity"], value_set=wanted))["face_id"].to_pylist():
            found.setdefault(face, f"stood with the person {where}")
    return found


def near_duplicates(out: str, table: pa.Table, names: Iterable[str], chosen: set[str]) -> set[str]:
    """Faces that `group` dropped as near-duplicates of a person's faces."""
    folder, details = join(out, GROUP_DROPPED), {f"identity {name}" for name in names}
    found: set[tuple[str, int]] = set()
    for uri in list_files(folder, (".parquet",), missing_ok=True):
        for row in read_table(uri).to_pylist():
            kept = row["cause"].removeprefix("near-duplicate of ")
            if kept != row["cause"] and (kept in chosen or row["detail"] in details):
                found.add((row["uri"], row["row"]))
    rows = zip(*(table[name].to_pylist() for name in ("face_id", "uri", "number")), strict=True)
    return {face for face, uri, number in rows if (uri, number) in found}


def decided_labels(decisions: Sequence[Decision]) -> dict[str, str]:
    """Face id -> the label that people gave it last; who was split off or rejected later keeps none."""
    labels: dict[str, str] = {}
    for decision in decisions:
        for face in decision.face_ids:
            if decision.label is not None:
                labels[face] = decision.label
            elif decision.kind == "split":
                labels.pop(face, None)
    return labels


def embeddings(out: str) -> Iterator[tuple[np.ndarray, str, np.ndarray]]:
    """Face ids [N], embedder and unit embeddings [N, D] of all known faces, a part at a time."""
    seen: set[str] = set()
    for uri in table_files(out, "faces"):
        table = read_table(uri, ("face_id", "embedder", "embedding"))
        for embedder in pc.unique(table["embedder"]).to_pylist():
            rows = table.filter(pc.equal(table["embedder"], embedder))
            names = rows["face_id"].to_pylist()
            seen.update(names)
            yield np.array(names), embedder, unit(np.stack(rows["embedding"].to_numpy()))
    dataset = join(out, "dataset")
    for manifest in manifests(dataset) if exists(dataset) else ():
        embedder = manifest.settings.get("find_faces", {}).get("networks", {}).get("embedder", "")
        table = read_table(join(dataset, manifest.manifest_id, "faces.parquet"), ("face_id", "embedding"))
        new = pa.array([face not in seen for face in table["face_id"].to_pylist()], pa.bool_())
        rows = table.filter(new)
        if len(rows) and embedder:
            seen.update(rows["face_id"].to_pylist())
            yield np.array(rows["face_id"].to_pylist()), embedder, unit(np.stack(rows["embedding"].to_numpy()))


def hashes(out: str, face_ids: frozenset[str]) -> Mapping[str, int]:
    """The perceptual hashes of these faces."""
    wanted, found = pa.array(sorted(face_ids), pa.string()), dict[str, int]()
    columns = ("face_id", "perceptual_hash")
    for table in [*(read_table(uri, columns) for uri in table_files(out, "faces")), *_versions(out, columns)]:
        rows = table.filter(pc.is_in(table["face_id"], value_set=wanted))
        found |= dict(zip(rows["face_id"].to_pylist(), rows["perceptual_hash"].to_pylist(), strict=True))
    return found


def column_names(uri: str, wanted: Callable[[pa.DataType], bool] = lambda kind: True) -> list[str]:
    """The columns of a Parquet file, of the types wanted."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        return [each.name for each in pq.read_schema(file) if wanted(each.type)]


def _versions(out: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    dataset = join(out, "dataset")
    for manifest in manifests(dataset) if exists(dataset) else ():
        yield read_table(join(dataset, manifest.manifest_id, "faces.parquet"), columns)


def table_files(out: str, folder: str) -> list[str]:
    """The Parquet files of a folder of the workspace, none where it is not there."""
    uri = join(out, folder)
    return list_files(uri, (".parquet",), missing_ok=True)


def _read(out: str, folder: str, columns: Sequence[str]) -> pa.Table:
    tables = [read_table(uri, columns) for uri in table_files(out, folder)]
    if tables:
        return pa.concat_tables(tables)
    schema = FACE_SCHEMA if folder == "faces" else PHOTO_SCHEMA
    return pa.schema([schema.field(name) for name in columns]).empty_table()
