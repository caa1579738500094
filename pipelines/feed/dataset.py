"""An opened dataset version: its Manifest, its faces as NumPy columns, and crops by their place in a tar.

In: the URI of a version folder, or of the `dataset` folder above it (then `latest` names the version).
Out: columns of N faces in shard order (`landmarks` float32 [N, 5, 2] crop pixels, `embedding` float32 [N, D] unit,
`norm` float32 [N], ...); crops as JPEG bytes. Faces of one identity in one shard are a group and stand together.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.exclusions import admissible
from anchorface.identity_index.retrieval.mismatch import Chosen, MismatchPolicy, select
from anchorface.records.dataset import DatasetVersion
from anchorface.records.errors import DataError
from anchorface.records.manifest import FACE_COLUMNS, Manifest
from anchorface.records.storage import filesystem, join, read_bytes


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One immutable version. Holds no open file, so it travels between processes; arrays are shared by Ray.

    columns: FACE_COLUMNS as NumPy arrays of length N. `crop_landmarks` is [N, 5, 2], `embedding` [N, D]; ages that
    are unknown are NaN, dates that are unknown NaT. group: int64 [N], the number of the row's (identity, shard).
    """

    uri: str
    manifest: Manifest
    columns: dict[str, NDArray[Any]]
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.group)

    @property
    def manifest_id(self) -> str:
        """The version's id."""
        return self.manifest.manifest_id

    @cached_property
    def _group_starts(self) -> NDArray[np.int64]:
        return np.searchsorted(self.group, np.arange(int(self.group[-1]) + 2 if len(self.group) else 1))

    def group_rows(self, row: int) -> range:
        """The rows of this row's person in its shard, itself included."""
        number = int(self.group[row])
        return range(int(self._group_starts[number]), int(self._group_starts[number + 1]))

    def rows_of(self, identity: str) -> NDArray[np.int64]:
        """All rows of a person."""
        return np.flatnonzero(self.columns["identity"] == identity)

    def split_rows(self, split: str) -> NDArray[np.int64]:
        """All rows of a split, in shard order."""
        return np.flatnonzero(self.columns["split"] == split)

    def references(self, row: int, policy: MismatchPolicy, k: int, rng: np.random.Generator) -> list[Chosen]:
        """Up to k references for a face, from its group; see `identity_index.retrieval.mismatch.select`."""
        group = self.group_rows(row)
        album = Album.of_columns(self.columns, slice(group.start, group.stop))
        return select(album, row - group.start, policy, k, rng).references(album)

    def admissible(self, rows: NDArray[np.int64], policy: MismatchPolicy) -> NDArray[np.int64]:
        """How many references each of some rows can have from its group."""
        counts = np.zeros(len(self), np.int64)
        for number in np.unique(self.group[rows]):
            part = slice(int(self._group_starts[number]), int(self._group_starts[number + 1]))
            counts[part] = admissible(Album.of_columns(self.columns, part), policy)
        return counts[rows]

    def verify(self) -> None:
        """Read everything and compare all hashes with the Manifest.

        Raises:
            DataError: a shard or the table is not what the Manifest describes.
        """
        expected = {"faces.parquet": self.manifest.faces_sha256, **{s.path: s.sha256 for s in self.manifest.shards}}
        for path, sha256 in expected.items():
            if hashlib.sha256(read_bytes(join(self.uri, path))).hexdigest() != sha256:
                raise DataError(f"{self.uri}/{path}: its SHA-256 is not the one in the Manifest; copy it again")


class CropReader:
    """Crops by row, from shards held as bytes: mapped where the disk is local, fetched once where it is not.

    Args:
        dataset: the opened version.
        shards: how many shards to hold, the least recently used goes first.
    """

    def __init__(self, dataset: Dataset, shards: int = 8) -> None:
        self._dataset, self._limit = dataset, shards
        self._held: OrderedDict[str, pa.Buffer] = OrderedDict()
        self._sizes = {shard.path: shard.byte_size for shard in dataset.manifest.shards}

    def jpeg(self, row: int) -> bytes:
        """The crop's JPEG bytes.

        Raises:
            DataError: the shard is missing, cut short, or holds something else in that place.
        """
        columns = self._dataset.columns
        path, offset, size = str(columns["shard"][row]), int(columns["offset"][row]), int(columns["byte_size"][row])
        content = self._shard(path).slice(offset, size).to_pybytes()
        if len(content) != size or not content.startswith(b"\xff\xd8"):
            raise DataError(f"{self._dataset.uri}/{path}: no JPEG of {size} bytes at {offset} for row {row}")
        return content

    def _shard(self, path: str) -> pa.Buffer:
        if path not in self._held:
            self._held[path] = self._read(path)
            if len(self._held) > self._limit:
                self._held.popitem(last=False)
        self._held.move_to_end(path)
        return self._held[path]

    def _read(self, path: str) -> pa.Buffer:
        uri = join(self._dataset.uri, path)
        try:
            if "://" in uri:
                buffer = pa.py_buffer(read_bytes(uri))
            else:
                buffer = pa.memory_map(filesystem(uri)[1]).read_buffer()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{uri}: the shard cannot be read: {error}") from error
        if buffer.size != self._sizes[path]:
            raise DataError(f"{uri}: {buffer.size} bytes, the Manifest says {self._sizes[path]}; copy it again")
        return buffer


def open_dataset(uri: str) -> Dataset:
    """Open a dataset version.

    Args:
        uri: a version folder, or the folder with `latest` in it.

    Raises:
        DataError: no dataset there, or one whose Manifest or table is damaged or names files outside its folder.
    """
    version = DatasetVersion.open(uri)
    uri, manifest, table = version.uri, version.manifest, version.faces
    columns = {name: _column(table, name) for name in FACE_COLUMNS}
    known = {shard.path: number for number, shard in enumerate(manifest.shards)}
    unknown = set(columns["shard"].tolist()) - set(known)
    if unknown:
        raise DataError(f"{uri}/faces.parquet names shards that are not in the Manifest: {sorted(unknown)[:3]}")
    changes = (columns["identity"][1:] != columns["identity"][:-1]) | (columns["shard"][1:] != columns["shard"][:-1])
    group = np.concatenate([[0], np.cumsum(changes)]).astype(np.int64)[: len(table)]
    return Dataset(uri=uri, manifest=manifest, columns=columns, group=group)


def shard_sizes(dataset: Dataset, rows: NDArray[np.int64]) -> list[int]:
    """How many of these rows (in shard order) each shard holds, shards in the order of the rows."""
    names = dataset.columns["shard"][rows]
    if not len(names):
        return []
    borders = np.concatenate([[0], np.flatnonzero(names[1:] != names[:-1]) + 1, [len(names)]])
    return np.diff(borders).tolist()


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    column = table.column(name).combine_chunks()
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        shape = (len(table), 5, 2) if name == "crop_landmarks" else (len(table), -1)
        return flat.reshape(shape) if len(table) else flat.reshape(0, *((5, 2) if name == "crop_landmarks" else (1,)))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(column.to_pylist(), dtype=np.str_)
    if pa.types.is_date(kind):
        return column.to_numpy(zero_copy_only=False).astype("datetime64[D]")
    return column.to_numpy(zero_copy_only=False)
