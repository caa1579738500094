"""Photographs that `ingest` listed and has not read, or could not: what an erasure remembers of them, so that they stay
away too; and those that sidecars say show somebody.

In: a workspace. Out: values. A file of its own and a member of a tar are known by their bytes, which are hashed here. A
film is known whole, by its file's bytes: frames at other times are photographs that nobody has read. What cannot be
read from here (rows of tables, the web, a disk that is away) is known by its place alone; what `ingest` could not read
by its place too, since it has other bytes once it is whole.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index.tombstones import ID_DIGITS
from anchorface.pipelines.erasure.rows import column_names, table_files
from anchorface.pipelines.sources.address import is_web, parse_address
from anchorface.records.errors import StorageError
from anchorface.records.storage import read_table
from anchorface.records.table_stream import sha256_of

METADATA = "metadata"


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A listed photograph, or a film. photo_id: empty where its bytes cannot be read from here. failed: `ingest` could
    not read it. says: its sidecars' words, as sidecars.normal gives them."""

    uri: str
    photo_id: str
    failed: bool = False
    says: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_place(self) -> bool:
        """Whether its place is to be remembered."""
        return self.failed or not self.photo_id


def unread(out: str, wanted: Callable[[str, Mapping[str, Any]], bool]) -> Iterator[Unread]:
    """What is listed and stands in no table of photographs, of what is `wanted` by its uri and words. Films are always
    among it."""
    known, failed = ({uri for folder in folders for table in table_files(out, folder)
                      for uri in read_table(table, ("uri",))["uri"].to_pylist()}
                     for folders in (("photos", "scanned"), ("dropped/ingest",)))
    for table in table_files(out, "listing"):
        if METADATA not in column_names(table):
            continue
        for row in read_table(table, ("uri", METADATA)).to_pylist():
            says = json.loads(row[METADATA])
            if row["uri"] not in known and wanted(row["uri"], says):
                yield Unread(uri=row["uri"], photo_id=photo_id_of(row["uri"]), failed=row["uri"] in failed, says=says)


def photo_id_of(uri: str) -> str:
    """The id of a file's, a tar member's or a film's bytes; empty where they cannot be read from here."""
    address = parse_address(uri)
    if address.kind not in ("file", "member") or is_web(address.file):
        return ""
    try:
        return sha256_of(address.file, address.offset, address.size if address.kind == "member" else None)[:ID_DIGITS]
    except StorageError:
        return ""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A photograph that a sidecar says shows the person. faces: ids of the faces that the sidecar places and gives to
    the person. others: it names other faces too. uris: of all its copies. places: those of them to be remembered."""

    faces: frozenset[str]
    others: bool
    uris: frozenset[str]
    places: frozenset[str] = frozenset()


def said_to_show(out: str, labels: frozenset[str]) -> dict[str, Said]:
    """The photographs, by id, whose sidecars give one of these subjects to the photograph or to a face in it.

    Those that are listed and were not read are among them, by their place where no id is known.
    """
    wanted, found = pa.array(sorted(labels), pa.string()), dict[str, Said]()
    for folder in ("photos", "scanned"):
        for uri in table_files(out, folder):
            table = read_table(uri, ("photo_id", "uri", "subject", "given_faces")).combine_chunks()
            lists = table["given_faces"].combine_chunks()
            of_faces = pc.struct_field(pc.list_flatten(lists), "subject")
            rows = set(pc.list_parent_indices(lists).filter(pc.is_in(of_faces, value_set=wanted)).to_pylist())
            rows |= set(np.flatnonzero(np.asarray(pc.is_in(table["subject"], value_set=wanted))).tolist())
            for row in table.take(pa.array(sorted(rows), pa.int64())).to_pylist():
                _add(found, row["photo_id"], row["uri"], row["given_faces"] or (), labels)
    for each in unread(out, lambda _, says: not labels.isdisjoint(
            (says.get("subject"), *(face.get("subject") for face in says.get("faces", ()))))):
        _add(found, each.photo_id or each.uri, each.uri, each.says.get("faces", ()), labels, each.by_place)
    return found


def _add(
    found: dict[str, Said], photo: str, uri: str, given: Sequence[Mapping[str, Any]], labels: frozenset[str],
    by_place: bool = False,
) -> None:
    placed = [face for face in given if face.get("landmarks")]
    mine = frozenset(f"{photo}-{number}" for number, face in enumerate(placed) if face.get("subject") in labels)
    before = found.get(photo)
    found[photo] = Said(
        faces=mine | (before.faces if before else frozenset()), uris=frozenset({uri, *(before.uris if before else ())}),
        others=len(given) > max(len(mine), 1) or bool(before and before.others),
        places=frozenset({uri} if by_place else ()) | (before.places if before else frozenset()),
    )
