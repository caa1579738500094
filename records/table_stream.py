"""Parquet tables larger than memory: written table after table, whole or not at all, with their hash.

In: Arrow tables of one schema, one row group each. Out: a Parquet file and its SHA-256.
"""

import hashlib
import io
from collections.abc import Iterable
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from anchorface.records.errors import StorageError
from anchorface.records.storage import CHUNK, filesystem, told, writing


class _Hashing(io.RawIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.hash, self._size = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, content) -> int:  # type: ignore[no-untyped-def]
        self._stream.write(content)
        self.hash.update(content)
        self._size += len(content)
        return len(content)


def write_stream(uri: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> str:
    """Write tables as one Parquet file; equal tables give equal bytes.

    Returns:
        Its SHA-256.

    Raises:
        StorageError: it cannot be written. After this or any error that the tables raise, whatever stood there before
            stands there still.
    """
    with writing(uri) as file:
        sink = _Hashing(file)
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table.cast(schema))
    return sink.hash.hexdigest()


def sha256_of(uri: str, offset: int = 0, size: int | None = None) -> str:
    """The SHA-256 of a file, or of `size` bytes from `offset` on, read in pieces.

    Raises:
        StorageError: there is no such file, or it cannot be read.
    """
    system, path = filesystem(uri)
    digest = hashlib.sha256()
    with told(uri, "cannot be read"), system.open_input_file(path) as file:
        file.seek(offset)
        left = file.size() - offset if size is None else size
        while content := file.read(min(CHUNK, left)):
            digest.update(content)
            left -= len(content)
    if left:
        raise StorageError(f"{uri}: cannot be read: it ends {left} bytes early")
    return digest.hexdigest()
