"""Photographs whose consent was withdrawn, and what was made of them before.

In: a workspace. Out: their ids, and the dataset versions that hold faces of photographs. `ingest` leaves them out from
the moment that their sidecar says so; what stands in versions that were made before stays until it is erased.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.records.lineage import manifests
from anchorface.records.storage import exists, join, list_files, read_table
from anchorface.records.terms import withdrawn_rows

TABLES = ("scanned", "photos")


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """photo_ids: of all withdrawn photographs, sorted. versions: dataset version -> how many of its faces are theirs,
    those with none left out."""

    photo_ids: tuple[str, ...]
    versions: dict[str, int]


def withdrawn(out: str) -> Withdrawn:
    """What a workspace knows of withdrawn consent.

    Raises:
        DataError: a damaged table or version.
    """
    found: set[str] = set()
    for folder in TABLES:
        for uri in list_files(join(out, folder), (".parquet",), missing_ok=True):
            table = read_table(uri, ("photo_id", "consent"))
            found |= set(table.filter(withdrawn_rows(table["consent"]))["photo_id"].to_pylist())
    held = faces_in_versions(out, found) if found else {}
    return Withdrawn(
        photo_ids=tuple(sorted(found)), versions={name: len(faces) for name, faces in held.items() if faces})


def faces_in_versions(out: str, photo_ids: Iterable[str]) -> dict[str, set[str]]:
    """The faces of photographs in every dataset version that stands here: version -> face ids."""
    dataset = join(out, "dataset")
    wanted = pa.array(sorted(photo_ids), pa.string())
    found = {}
    for manifest in manifests(dataset) if exists(dataset) else ():
        table = read_table(join(dataset, manifest.manifest_id, "faces.parquet"), ("face_id", "photo_id"))
        found[manifest.manifest_id] = set(
            table.filter(pc.is_in(table["photo_id"], value_set=wanted))["face_id"].to_pylist())
    return found
