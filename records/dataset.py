"""Reading one dataset version: its manifest, its face table, and the bytes of any face from its tar.

In: the URI of a version's folder (see `records.manifest`), or of the folder above it, whose file `latest` names the
version. Out: Arrow rows and JPEG bytes.
In `faces.parquet`, `shard` is the tar's path inside the folder (as in `Shard.path`), `offset` and `byte_size`
say where the JPEG's own bytes stand in that tar (after the tar header), so that one ranged read fetches a face.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute

from anchorface.records.erasures import workspace_of
from anchorface.records.errors import ConsentError, DataError, StorageError
from anchorface.records.manifest import FACE_COLUMNS, Manifest, Shard
from anchorface.records.state import inside
from anchorface.records.storage import exists, filesystem, join, read_bytes, read_table
from anchorface.records.table_stream import sha256_of
from anchorface.records.terms import WITHDRAWN


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """One immutable dataset version, opened for reading.

    uri: its folder. manifest: what it holds. faces: one row per face, columns `FACE_COLUMNS`, no pixels.
    """

    uri: str
    manifest: Manifest
    faces: pa.Table

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open a dataset version and check its face table against the manifest.

        Raises:
            DataError: no manifest there, a face table of another hash, columns that are missing, or a shard whose
                path leads out of the folder. ConsentError: it holds faces whose consent was withdrawn.
        """
        uri, manifest = find_version(uri)
        require_table(uri, manifest)
        faces = read_table(join(uri, "faces.parquet"))
        missing = sorted(set(FACE_COLUMNS) - set(faces.column_names))
        if missing:
            raise DataError(f"{join(uri, 'faces.parquet')}: columns are missing: {', '.join(missing)}")
        for path in pa.compute.unique(faces["shard"]).to_pylist():
            inside(path)
        return cls(uri=uri, manifest=manifest, faces=faces)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {face_id: number for number, face_id in enumerate(self.faces["face_id"].to_pylist())}

    def row(self, face_id: str) -> dict[str, Any]:
        """One face's row.

        Raises:
            DataError: no such face in this version.
        """
        if face_id not in self._numbers:
            raise DataError(f"{self.uri}: no face {face_id!r} in dataset version {self.manifest.manifest_id}")
        return self.faces.slice(self._numbers[face_id], 1).to_pylist()[0]

    def rows(self, split: str | None = None, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """All rows, or those of one split, in the table's order; all columns, or those named."""
        faces = self.faces
        if split is not None:
            faces = faces.filter(pa.compute.equal(faces["split"], split))
        return (faces if columns is None else faces.select(list(columns))).to_pylist()

    @cached_property
    def _shards(self) -> dict[str, Shard]:
        return {shard.path: shard for shard in self.manifest.shards}

    def crop_bytes(self, face_row: dict[str, Any]) -> bytes:
        """The JPEG bytes of a face's aligned crop, by one ranged read from its tar; the first reading of a tar reads
        all of it, to compare its hash.

        Raises:
            DataError: the tar is missing, too short or not the one that the manifest names.
        """
        if face_row["shard"] not in self._shards:
            raise DataError(f"{self.uri}: no shard {face_row['shard']!r} in the manifest")
        require_shard(self.uri, self._shards[face_row["shard"]])
        uri = join(self.uri, face_row["shard"])
        system, path = filesystem(uri)
        try:
            with system.open_input_file(path) as file:
                file.seek(face_row["offset"])
                content = file.read(face_row["byte_size"])
        except OSError as error:
            raise DataError(f"{uri}: cannot be read: {error}") from error
        if len(content) != face_row["byte_size"]:
            raise DataError(f"{uri}: too short for face {face_row['face_id']}; the shard is damaged")
        return content


def require_table(version: str, manifest: Manifest) -> None:
    """Read a version's face table and compare it with the manifest.

    Raises:
        DataError: it is another one. StorageError: it cannot be read.
    """
    uri = join(version, "faces.parquet")
    if sha256_of(uri) != manifest.faces_sha256:
        raise DataError(f"{uri}: not the table that manifest.json names (other hash); a dataset version is immutable: "
                        "make the shards again")


def require_shard(version: str, shard: Shard) -> None:
    """Read a shard and compare it with the manifest, once in this process while the file stays as it is.

    Raises:
        DataError: it is missing or another one.
    """
    uri = join(version, shard.path)
    system, path = filesystem(uri)
    info = system.get_file_info(path)
    _require_hash(uri, shard.sha256, info.size, info.mtime_ns)


@cache
def _require_hash(uri: str, sha256: str, size: int | None, modified: int | None) -> None:
    try:
        found = sha256_of(uri)
    except StorageError as error:
        raise DataError(f"{uri}: the shard cannot be read: {error}") from error
    if found != sha256:
        raise DataError(f"{uri}: not the shard that manifest.json names ({size} bytes of another hash): it was "
                        "damaged; copy it again, or make the shards again")


def find_version(uri: str) -> tuple[str, Manifest]:
    """The folder and the manifest of a dataset version, or of the one that `latest` in a folder names.

    Raises:
        DataError: no manifest there, or a shard whose path leads out of the folder.
        ConsentError: it holds faces whose consent was withdrawn.
    """
    if not exists(join(uri, "manifest.json")) and exists(join(uri, "latest")):
        named = latest_version(uri)
        if not exists(join(uri, named, "manifest.json")):
            if latest_version(uri) != named:
                return find_version(uri)  # an erasure has just put another in its place
            raise DataError(f"{join(uri, 'latest')}: names version {named}, and none of that name stands here")
        uri = join(uri, named)
    if not exists(join(uri, "manifest.json")):
        raise DataError(f"{uri}: there is no dataset version here (no manifest.json); give the folder that "
                        "`shards` wrote")
    manifest = Manifest.read(uri)
    if withdrawn := manifest.terms["consent"].get(WITHDRAWN, 0):
        workspace = shlex.quote(workspace_of(uri) or "WORKSPACE")
        raise ConsentError(
            f"{uri}: consent to {withdrawn:,} of {manifest.faces:,} faces was withdrawn, so this version is not read. "
            f"Write one without them with\n  anchorface shards {workspace}\nand erase them for good with\n"
            f"  anchorface erase {workspace} --withdrawn --yes")
    return uri, manifest


def latest_version(dataset: str) -> str:
    """The id that the file `latest` of a dataset folder names.

    Raises:
        DataError: it names none. StorageError: there is no such file.
    """
    uri = join(dataset, "latest")
    try:
        return inside(read_bytes(uri).decode().strip())
    except ValueError as error:
        raise DataError(f"{uri}: names no version ({error}); write the id of one into it") from error

