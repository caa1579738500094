"""Who is meant: photographs, a source, identities, or the person in a photograph, as faces and photographs to erase.

In: a workspace, whatever stages it has been through. Out: a Selection.

Erasing photographs or a source takes these photographs and all faces in them, and nothing else: the same people stay on
other photographs. Erasing a person takes all faces of the identity, its near-duplicates that `group` dropped, and faces
that belong to nobody and are nearer to the person than the tombstones' limit. A photograph that shows nobody else goes
whole; one that shows others stays for them, without the person's name and age.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index.tombstones import ID_DIGITS, limit_cosine
from anchorface.identity_index.unit import unit
from anchorface.pipelines.erasure.withdrawn import faces_in_versions, withdrawn
from anchorface.records.errors import DataError
from anchorface.records.nouns import FACE_SCHEMA, PHOTO_SCHEMA
from anchorface.records.storage import exists, join, list_files, read_table
from anchorface.records.table_stream import sha256_of

FACE_COLUMNS = ("face_id", "photo_id", "uri", "number", "subject", "source", "landmarks", "embedder")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What goes.

    kind: how it was asked for. face_ids: all faces. photo_ids: photographs that go whole, with all their uris.
    places: (uri, number) of every face. identities: those asked for. subjects: their given labels. shared: photograph
    that stays -> what its rows may say of the person: `landmarks` and `subject` of each erased face. codes: the
    embeddings to remember the person by, by embedder. alike: identity -> faces of others that the tombstone would keep
    out: perhaps the same person.
    """

    kind: str
    face_ids: tuple[str, ...]
    photo_ids: tuple[str, ...]
    uris: tuple[str, ...]
    places: tuple[tuple[str, int], ...]
    identities: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    shared: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    alike: dict[str, int] = field(default_factory=dict)


def by_photo(out: str, photos: Sequence[str]) -> Selection:
    """Photographs, each a file, a uri of the workspace, a photo id or a SHA-256.

    Raises:
        DataError: one that the workspace does not know.
    """
    table = photo_rows(out)
    chosen: set[str] = set()
    for name in photos:
        found = set(table.filter(pc.equal(table["uri"], name))["photo_id"].to_pylist())
        if not found:
            wanted = _photo_id(name)
            found = {wanted} & set(table["photo_id"].to_pylist())
        if not found:
            raise DataError(f"{name}: no photograph of {out}: give its file, its uri or its id (24 hex digits)")
        chosen |= found
    return _of_photos(out, "photo", table, chosen)


def by_source(out: str, source: str) -> Selection:
    """All photographs of a source: its name in the `source` column, or the beginning of their uris.

    Raises:
        DataError: there is none.
    """
    table = photo_rows(out)
    folder = source.rstrip("/") + "/"
    begins = [uri == source or uri.startswith((folder, f"{source}#")) for uri in table["uri"].to_pylist()]
    chosen = table.filter(pc.or_(pc.equal(table["source"], source), pa.array(begins, pa.bool_())))
    if not len(chosen):
        raise DataError(f"{source}: no photograph of {out} has this source, or a uri that begins so")
    return _of_photos(out, "source", table, set(chosen["photo_id"].to_pylist()))


def by_withdrawn(out: str) -> Selection:
    """All photographs whose consent was withdrawn, with their faces in versions made before.

    Raises:
        DataError: there is none.
    """
    found = withdrawn(out).photo_ids
    if not found:
        raise DataError(f"{out}: consent to no photograph here was withdrawn")
    return _of_photos(out, "withdrawn", photo_rows(out), set(found))


def by_identity(out: str, names: Sequence[str], *, kind: str = "identity", faces: Iterable[str] = ()) -> Selection:
    """Persons.

    Args:
        out: the workspace.
        names: identities.
        kind: how they were asked for.
        faces: further faces of the same person that belong to no identity.

    Raises:
        DataError: an unknown identity.
    """
    rows = {row["identity"]: row for row in identity_rows(out)}
    unknown = sorted(set(names) - rows.keys())
    if unknown:
        raise DataError(f"{out}: no identity {unknown[0]!r}; see `anchorface audit`, or the identities table")
    of_face = {face: name for name, row in rows.items() for face in row["face_ids"]}
    chosen = {face for name in names for face in rows[name]["face_ids"]} | set(faces)
    table = face_rows(out)
    chosen |= _copies(out, table, names, chosen) - of_face.keys()
    persons = [{face for face in chosen if of_face.get(face) == name} for name in names]
    means = _means(out, persons or [set(chosen)])
    alike: dict[str, int] = {}
    for face_ids, embedder, vectors in _embeddings(out):
        if embedder not in means:
            continue
        near = (vectors @ means[embedder].T).max(axis=1) >= limit_cosine(embedder)
        for face in set(face_ids[near].tolist()) - chosen:
            if face in of_face:
                alike[of_face[face]] = alike.get(of_face[face], 0) + 1
            else:
                chosen.add(face)
    subjects = {rows[name]["subject"] for name in names} - {None}
    return _of_faces(out, kind, table, chosen, tuple(names), subjects, means, alike)


def face_rows(out: str) -> pa.Table:
    """FACE_COLUMNS of all faces."""
    return _read(out, "faces", FACE_COLUMNS)


def photo_rows(out: str) -> pa.Table:
    """photo_id, uri, source of all photographs, copies of the same bytes among them."""
    columns = ("photo_id", "uri", "source")
    table = pa.concat_tables([_read(out, folder, columns) for folder in ("photos", "scanned")])
    return table.group_by(list(columns)).aggregate([]).sort_by("uri")


def identity_rows(out: str) -> list[dict[str, Any]]:
    """identity, subject, face_ids of all identities; none before `group`."""
    uri = join(out, "identities", "part-00000.parquet")
    return read_table(uri, ("identity", "subject", "face_ids")).to_pylist() if exists(uri) else []


def _of_photos(out: str, kind: str, photos: pa.Table, chosen: set[str]) -> Selection:
    faces = face_rows(out)
    faces = faces.filter(pc.is_in(faces["photo_id"], value_set=pa.array(sorted(chosen), pa.string())))
    uris = photos.filter(pc.is_in(photos["photo_id"], value_set=pa.array(sorted(chosen), pa.string())))["uri"]
    held = set[str]().union(*faces_in_versions(out, chosen).values())
    return Selection(
        kind=kind, face_ids=tuple(sorted(held | set(faces["face_id"].to_pylist()))), photo_ids=tuple(sorted(chosen)),
        uris=tuple(sorted(set(uris.to_pylist()))), places=_places(faces),
    )


def _of_faces(
    out: str, kind: str, table: pa.Table, chosen: set[str], names: tuple[str, ...], subjects: set[str],
    means: dict[str, np.ndarray], alike: dict[str, int],
) -> Selection:
    """Faces, the photographs that show nobody else, and what to blank in those that do."""
    mine = pc.is_in(table["face_id"], value_set=pa.array(sorted(chosen), pa.string()))
    faces, others = table.filter(mine), table.filter(pc.invert(mine))
    showing = set(faces["photo_id"].to_pylist())
    shared_ids = showing & set(others["photo_id"].to_pylist())
    whole = showing - shared_ids
    photos = photo_rows(out)
    uris = photos.filter(pc.is_in(photos["photo_id"], value_set=pa.array(sorted(whole), pa.string())))["uri"]
    shared: dict[str, list[dict[str, Any]]] = {}
    for row in faces.to_pylist():
        if row["photo_id"] in shared_ids:
            shared.setdefault(row["photo_id"], []).append({"landmarks": row["landmarks"], "subject": row["subject"]})
    # A face of a photograph that stays is found again whenever its part is done again: its own code knows it for sure.
    own = {row["face_id"] for row in faces.to_pylist() if row["photo_id"] in shared_ids}
    codes = dict(means)
    for face_ids, embedder, vectors in _embeddings(out) if own else ():
        chosen_rows = vectors[np.isin(face_ids, sorted(own))]
        codes[embedder] = np.concatenate([codes[embedder], chosen_rows]) if embedder in codes else chosen_rows
    return Selection(
        kind=kind, face_ids=tuple(sorted(chosen)), photo_ids=tuple(sorted(whole)),
        uris=tuple(sorted(set(uris.to_pylist()))), places=_places(faces), identities=tuple(sorted(names)),
        subjects=tuple(sorted(subjects | (set(faces["subject"].to_pylist()) - {None}))), shared=shared, codes=codes,
        alike=dict(sorted(alike.items())),
    )


def _copies(out: str, table: pa.Table, names: Sequence[str], chosen: set[str]) -> set[str]:
    """Near-duplicates of the person's faces that `group` dropped."""
    folder = join(out, "dropped", "group")
    found: set[tuple[str, int]] = set()
    for uri in list_files(folder, (".parquet",)) if exists(folder) else ():
        for row in read_table(uri).to_pylist():
            kept = row["cause"].removeprefix("near-duplicate of ")
            if kept != row["cause"] and (kept in chosen or row["detail"] in {f"identity {name}" for name in names}):
                found.add((row["uri"], row["row"]))
    rows = zip(*(table[name].to_pylist() for name in ("face_id", "uri", "number")), strict=True)
    return {face for face, uri, number in rows if (uri, number) in found}


def _means(out: str, persons: Sequence[set[str]]) -> dict[str, np.ndarray]:
    """Each person's mean direction, one row each, by embedder."""
    sums: dict[str, dict[int, np.ndarray]] = {}
    for face_ids, embedder, vectors in _embeddings(out):
        for number, faces in enumerate(persons):
            mine = vectors[np.isin(face_ids, sorted(faces))]
            if len(mine):
                rows = sums.setdefault(embedder, {})
                rows[number] = rows.get(number, np.zeros(vectors.shape[1])) + mine.sum(axis=0, dtype=np.float64)
    return {name: unit(np.stack([rows[number] for number in sorted(rows)])) for name, rows in sums.items()}


def _embeddings(out: str) -> Iterator[tuple[np.ndarray, str, np.ndarray]]:
    """Face ids [N], embedder and unit embeddings [N, D] of all faces, a part at a time."""
    for uri in _files(out, "faces"):
        table = read_table(uri, ("face_id", "embedder", "embedding"))
        for embedder in pc.unique(table["embedder"]).to_pylist():
            rows = table.filter(pc.equal(table["embedder"], embedder))
            yield np.array(rows["face_id"].to_pylist()), embedder, unit(np.stack(rows["embedding"].to_numpy()))


def _places(faces: pa.Table) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(zip(faces["uri"].to_pylist(), faces["number"].to_pylist(), strict=True)))


def _photo_id(name: str) -> str:
    digits = name.lower()
    if len(digits) >= ID_DIGITS and all(letter in "0123456789abcdef" for letter in digits):
        return digits[:ID_DIGITS]
    return sha256_of(name)[:ID_DIGITS] if exists(name) else ""


def _files(out: str, folder: str) -> list[str]:
    uri = join(out, folder)
    return list_files(uri, (".parquet",)) if exists(uri) else []


def _read(out: str, folder: str, columns: Sequence[str]) -> pa.Table:
    tables = [read_table(uri, columns) for uri in _files(out, folder)]
    if tables:
        return pa.concat_tables(tables)
    schema = FACE_SCHEMA if folder == "faces" else PHOTO_SCHEMA
    return pa.schema([schema.field(name) for name in columns]).empty_table()
