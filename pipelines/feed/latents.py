"""Cached tokens of clean pictures: what a frozen autoencoder says of every face of a dataset version, encoded once.

In: the folder of a filled cache (training.latents fills it) and the opened version. Out: tokens by row. On any storage:

    <folder>/description.json                 what the tokens depend on: weights, size, precision, version; and shapes
    <folder>/<shard's name>.safetensors       `tokens` [faces of the shard, 1 or 2, L, C]: as it is, and mirrored

A part appears whole or not at all, and names the faces that it was made of by their hash.
"""

import hashlib
import json
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anchorface.pipelines.feed.dataset import Dataset
from anchorface.records.errors import DataError
from anchorface.records.state import read_state
from anchorface.records.storage import CHUNK, exists, filesystem, join

DESCRIPTION = "description.json"
TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


class Description(TypedDict):
    """What Latents reads of `description.json`; what else the tokens depend on stands there too."""

    manifest_id: str
    size: int
    shape: list[int]


class Latents:
    """Tokens of one version's faces, read row by row (a ranged read each).

    Raises:
        DataError: no cache there, one of another version or size, or a part that is missing, cut short or of other
            faces.
    """

    def __init__(self, folder: str, dataset: Dataset, size: int) -> None:
        self._folder, self._dataset = folder, dataset
        if not exists(join(folder, DESCRIPTION)):
            raise DataError(f"{folder}: no cached latents here; fill them first, or leave recipe.latents empty")
        self.description: dict[str, Any] = dict(read_state(join(folder, DESCRIPTION), Description))
        found = self.description["manifest_id"], self.description["size"]
        if found != (dataset.manifest_id, size):
            raise DataError(f"{folder}: latents of dataset version {found[0]} at {found[1]} px, not of "
                            f"{dataset.manifest_id} at {size} px")
        self._part = lru_cache(maxsize=64)(self._open)

    def tokens(self, row: int, mirrored: bool) -> NDArray[np.float32]:
        """A face's tokens, float32 [L, C]."""
        number = int(self._dataset.table.shards[row])
        file, start, kind, shape, first = self._part(number)
        if mirrored and shape[1] == 1:
            raise DataError(f"{self._folder}: these latents know no mirrored pictures; fill them with feed.flip")
        size = int(np.prod(shape[2:])) * kind.itemsize
        content = file.read_at(size, start + ((row - first) * shape[1] + mirrored) * size)
        if len(content) != size:
            raise DataError(f"{self._folder}: the part of row {row} was cut short while it was read")
        return np.frombuffer(content, kind).astype(np.float32).reshape(shape[2:])

    def _open(self, number: int) -> tuple[pa.NativeFile, int, np.dtype[Any], tuple[int, ...], int]:
        """A shard's part: the file, where its tokens begin, their type and shape, and the shard's first row."""
        rows = shard_rows(self._dataset, number)
        uri = join(self._folder, part_name(self._dataset, number))
        system, path = filesystem(uri)
        try:
            file = system.open_input_file(path)
            length = int.from_bytes(file.read_at(8, 0), "little")
            header = json.loads(file.read_at(min(length, 100_000), 8))
            told, faces = header["tokens"], header["__metadata__"]["faces"]
            kind, shape = TYPES[told["dtype"]], tuple(told["shape"])
            whole = file.size() == 8 + length + int(np.prod(shape)) * kind.itemsize
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{uri}: not a part of cached latents ({error!r}); fill them again") from error
        if not whole or shape != (len(rows), *self.description["shape"]) or faces != faces_hash(self._dataset, number):
            raise DataError(f"{uri}: cut short, or of other faces; delete it and fill the latents again")
        return file, 8 + length, kind, shape, rows.start


def require_part(uri: str) -> None:
    """Read a part and compare its tokens with the hash in its header.

    Raises:
        DataError: they are others.
    """
    system, path = filesystem(uri)
    total = hashlib.sha256()
    try:
        with system.open_input_stream(path) as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            while content := stream.read(CHUNK):
                total.update(content)
        sha256 = header["__metadata__"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{uri}: not a part of cached latents ({error!r})") from error
    if total.hexdigest() != sha256:
        raise DataError(f"{uri}: not the tokens that were written (other hash): it was damaged")


def shard_rows(dataset: Dataset, number: int) -> range:
    """The rows of a shard, by its number in the table."""
    return range(*np.searchsorted(dataset.table.shards, [number, number + 1]).tolist())


def part_name(dataset: Dataset, number: int) -> str:
    """The file of a shard's part."""
    path = str(dataset.columns["shard"][shard_rows(dataset, number).start])
    return f"{path.rpartition('/')[2].removesuffix('.tar')}.safetensors"


def faces_hash(dataset: Dataset, number: int) -> str:
    """SHA-256 of the ids of a shard's faces, in order."""
    rows = shard_rows(dataset, number)
    return hashlib.sha256("\n".join(dataset.columns["face_id"][rows.start : rows.stop].tolist()).encode()).hexdigest()
