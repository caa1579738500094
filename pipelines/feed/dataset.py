"""An opened dataset version: its Manifest, its faces as columns, and crops by their place in a tar.

In: the URI of a version folder, or of the `dataset` folder above it (then `latest` names the version).
Out: columns of N faces in shard order (`crop_landmarks` float32 [N, 5, 2] crop pixels, `embedding` float32 [N, D] unit,
`norm` float32 [N], ...), which this node's processes share (pipelines.feed.table); crops as JPEG bytes. Faces of one
identity in one shard are a group and stand together.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anchorface.faces.weights import find
from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.compared import Compared
from anchorface.identity_index.retrieval.exclusions import admissible
from anchorface.identity_index.retrieval.mismatch import Chosen, MismatchPolicy, choose
from anchorface.pipelines.feed.table import Columns, Table, open_table
from anchorface.records.dataset import find_version, require_shard
from anchorface.records.errors import ConfigurationError, DataError, StorageError
from anchorface.records.hashes import sha256
from anchorface.records.lineage import code_hash
from anchorface.records.manifest import Manifest
from anchorface.records.storage import filesystem, is_local, join, read_bytes

GROUPS = 256
"""Groups whose compared faces a process keeps, about 30 kB each: most of those that an epoch's order mixes."""


def require_embedder_file(manifest: Manifest, name: str) -> None:
    """At the door of a training, once: refuse a version whose embeddings another file of the embedder `name` made. A
    feed's processes need no such file.

    Raises:
        ConfigurationError: they are of another file; what to do. WeightsError: the embedder's file is not here.
    """
    made_with = manifest.weights.get(name)
    if made_with and made_with != sha256(find(name)):
        raise ConfigurationError(
            f"the dataset's embeddings come from another file of {name!r} ({made_with[:12]}...) than the one at hand: "
            "run find_faces, group and shards again, or name the old file's folder first in $ANCHORFACE_WEIGHTS")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One immutable version. It travels between processes as its address, and is opened again there.

    table: one row per face, in shard order.
    """

    uri: str
    manifest: Manifest
    table: Table

    def __len__(self) -> int:
        return len(self.table)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_dataset, (self.uri,)

    @property
    def columns(self) -> Columns:
        """FACE_COLUMNS by name; see `pipelines.feed.table.Table`."""
        return self.table.columns

    @property
    def manifest_id(self) -> str:
        """The version's id."""
        return self.manifest.manifest_id

    def group_rows(self, row: int) -> range:
        """The rows of this row's person in its shard, itself included."""
        number = int(self.table.group[row])
        return range(int(self.table.starts[number]), int(self.table.starts[number + 1]))

    def person_rows(self, row: int) -> range:
        """The rows of this row's person in all shards, itself included; they stand together."""
        names, starts, group = self.columns["identity"], self.table.starts.tolist(), int(self.table.group[row])
        first = last = group
        while first > 0 and names[starts[first - 1]] == names[row]:
            first -= 1
        while last + 2 < len(starts) and names[starts[last + 1]] == names[row]:
            last += 1
        return range(starts[first], starts[last + 1])

    def rows_of(self, identity: str) -> NDArray[np.int64]:
        """All rows of a person."""
        return np.flatnonzero(self.columns["identity"] == identity)

    def split_rows(self, split: str) -> NDArray[np.int64]:
        """All rows of a split, in shard order."""
        return np.flatnonzero(self.columns["split"] == split)

    def references(self, row: int, policy: MismatchPolicy, k: int, rng: np.random.Generator) -> list[Chosen]:
        """Up to k references for a face, from its group; see `identity_index.retrieval.mismatch.select`."""
        compared = self._compared(int(self.table.group[row]), policy)
        return choose(compared, row - self.group_rows(row).start, k, rng).references(compared.album)

    @cached_property
    def _compared(self) -> Callable[[int, MismatchPolicy], Compared]:
        """A group's faces under a policy; kept for its other faces, which stand near in the order of an epoch."""
        starts = self.table.starts
        return lru_cache(GROUPS)(lambda group, policy: Compared(
            Album.of_columns(self.columns, slice(int(starts[group]), int(starts[group + 1]))), policy))

    def admissible(self, policy: MismatchPolicy) -> NDArray[np.int32]:
        """How many references each face can have from its group, int32 [N]; counted once a node."""
        told = json.dumps([asdict(policy), code_hash()], sort_keys=True)
        return self.table.derived(f"admissible-{hashlib.sha256(told.encode()).hexdigest()[:16]}",
                                  lambda: self._count_admissible(policy))

    def _count_admissible(self, policy: MismatchPolicy) -> NDArray[np.int32]:
        counts = np.zeros(len(self), np.int32)
        for first, stop in pairwise(self.table.starts.tolist()):
            if stop > first + 1:
                counts[first:stop] = admissible(Album.of_columns(self.columns, slice(first, stop)), policy)
        return counts


class CropReader:
    """Crops by row, from shards held as bytes: mapped where the disk is local, fetched once where it is not.

    Args:
        dataset: the opened version.
        shards: how many shards to hold, the least recently used goes first.
    """

    def __init__(self, dataset: Dataset, shards: int = 8) -> None:
        self._dataset, self._limit = dataset, shards
        self._held: OrderedDict[str, pa.Buffer] = OrderedDict()
        self._shards = {shard.path: shard for shard in dataset.manifest.shards}

    def jpeg(self, row: int) -> bytes:
        """The crop's JPEG bytes.

        Raises:
            DataError: the shard is missing, not the one of the Manifest by its hash (compared when this process first
                reads it), or holds something else in that place.
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
            if is_local(uri):
                require_shard(self._dataset.uri, self._shards[path])
                return pa.memory_map(filesystem(uri)[1]).read_buffer()
            content = read_bytes(uri)
        except (StorageError, pa.ArrowInvalid) as error:
            raise DataError(f"{uri}: the shard cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != self._shards[path].sha256:
            raise DataError(f"{uri}: {len(content)} bytes of another hash than the Manifest's; copy it again")
        return pa.py_buffer(content)


def open_dataset(uri: str) -> Dataset:
    """Open a dataset version.

    Args:
        uri: a version folder, or the folder with `latest` in it.

    Raises:
        DataError: no dataset there, or one whose Manifest or table is damaged or names files outside its folder.
    """
    uri, manifest = find_version(uri)
    table = open_table(join(uri, "faces.parquet"), manifest.faces_sha256)
    firsts = np.searchsorted(table.shards, np.arange(int(table.shards[-1]) + 1 if len(table) else 0))
    unknown = set(table.columns["shard"][firsts].tolist()) - {shard.path for shard in manifest.shards}
    if unknown:
        raise DataError(f"{uri}/faces.parquet names shards that are not in the Manifest: {sorted(unknown)[:3]}")
    return Dataset(uri=uri, manifest=manifest, table=table)


def shard_sizes(dataset: Dataset, rows: NDArray[np.int64]) -> list[int]:
    """How many of these rows (in shard order) each shard holds, shards in the order of the rows."""
    counts = np.bincount(dataset.table.shards[rows])
    return counts[counts > 0].tolist()
