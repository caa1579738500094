"""Parquet tables larger than memory: written table after table, whole or not at all, with their hash.

In: Arrow tables of one schema, one row group each. Out: a Parquet file and its SHA-256.
"""

import hashlib
import io
import uuid
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from anchorface.records.errors import StorageError
from anchorface.records.storage import filesystem

CHUNK = 8 * 2**20


class _Hashing(io.RawIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, stream: pa.NativeFile) -> None:
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
    system, path = filesystem(uri)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        system.create_dir(path.rpartition("/")[0], recursive=True)
        with system.open_output_stream(temporary) as stream:
            sink = _Hashing(stream)
            with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table.cast(schema))
        system.move(temporary, path)
    except BaseException as error:  # the tables may be computed while they are written, and fail in any way
        if system.get_file_info(temporary).type != fs.FileType.NotFound:
            system.delete_file(temporary)
        if isinstance(error, OSError):
            raise StorageError(f"{uri}: cannot be written: {error}") from error
        raise
    return sink.hash.hexdigest()


def sha256_of(uri: str) -> str:
    """A file's SHA-256, read in pieces.

    Raises:
        StorageError: there is no such file, or it cannot be read.
    """
    system, path = filesystem(uri)
    digest = hashlib.sha256()
    try:
        with system.open_input_stream(path) as stream:
            while content := stream.read(CHUNK):
                digest.update(content)
    except OSError as error:
        raise StorageError(f"{uri}: cannot be read: {error}") from error
    return digest.hexdigest()
