"""Files on any filesystem that pyarrow or fsspec knows, written whole or not at all.

A URI is a local path (`data/faces`), or `file:///...`, `s3://...`, `gs://...`, `memory://...`.
Writing goes to a temporary name beside the target, then a rename: a reader never sees half a file.
"""

import contextlib
import os
import uuid
from collections.abc import Iterable

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from anchorface.records.errors import DataError, StorageError

LONGEST_NAME = 255
"""Bytes of a name that every usual filesystem takes."""


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The filesystem and the path in it for a URI or a local path.

    Raises:
        StorageError: a scheme that neither pyarrow nor fsspec knows.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    try:
        return fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        try:
            other, path = fsspec.core.url_to_fs(uri)
        except (ValueError, ImportError) as error:
            raise StorageError(f"{uri}: {error}") from error
        return fs.PyFileSystem(fs.FSSpecHandler(other)), path


def is_local(uri: str) -> bool:
    """Whether a URI is a path of a local or mounted disk."""
    return isinstance(filesystem(uri)[0], fs.LocalFileSystem)


def join(uri: str, *parts: str) -> str:
    """`uri/part/part`, whatever the scheme."""
    return "/".join([uri.rstrip("/"), *parts])


def exists(uri: str) -> bool:
    """Whether a file or folder stands there."""
    system, path = filesystem(uri)
    return system.get_file_info(path).type != fs.FileType.NotFound


def name_fits(uri: str) -> bool:
    """Whether a file's name is short enough to be written, by the temporary name that stands beside it meanwhile."""
    return len(os.fsencode(uri.rpartition("/")[2])) + len(".12345678.tmp") <= LONGEST_NAME


def make_folder(uri: str) -> None:
    """Create a folder and its parents.

    Raises:
        StorageError: it cannot be written.
    """
    system, path = filesystem(uri)
    try:
        system.create_dir(path, recursive=True)
    except OSError as error:
        raise StorageError(f"{uri}: cannot create the folder: {error}") from error


def read_bytes(uri: str) -> bytes:
    """A file's bytes.

    Raises:
        StorageError: there is no such file, or it cannot be read.
    """
    system, path = filesystem(uri)
    try:
        with system.open_input_stream(path) as stream:
            return stream.read()
    except OSError as error:
        raise StorageError(f"{uri}: cannot be read: {error}") from error


def write_atomic(uri: str, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StorageError: it cannot be written; whatever stood there before stands there still.
    """
    system, path = filesystem(uri)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        parent = path.rpartition("/")[0]
        if parent:
            system.create_dir(parent, recursive=True)
        with system.open_output_stream(temporary) as stream:
            stream.write(content)
        system.move(temporary, path)
    except OSError as error:
        if system.get_file_info(temporary).type != fs.FileType.NotFound:
            system.delete_file(temporary)
        raise StorageError(f"{uri}: cannot be written: {error}") from error


def write_table(uri: str, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all. Raises StorageError as `write_atomic` does."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(uri, sink.getvalue().to_pybytes())


def read_table(uri: str, columns: Iterable[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
    """Read a Parquet file: all of it, or the named columns, or the rows `where` something holds.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    system, path = filesystem(uri)
    try:
        return pq.read_table(path, filesystem=system, columns=list(columns) if columns is not None else None,
                             filters=where)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{uri}: not a readable table: {error}") from error


def list_files(uri: str, suffixes: tuple[str, ...] = ()) -> list[str]:
    """The URIs of all files under a folder, sorted; only those that end in one of `suffixes` (lower case) if given.

    Raises:
        StorageError: there is no such folder, or a name in it is not UTF-8.
    """
    system, path = filesystem(uri)
    info = system.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise StorageError(f"{uri}: there is no such folder")
    if info.type == fs.FileType.File:
        return [uri]
    found = system.get_file_info(fs.FileSelector(path, recursive=True))
    root = path.rstrip("/")
    try:
        names = sorted(f.path[len(root) + 1 :] for f in found if f.type == fs.FileType.File)
    except UnicodeDecodeError as error:
        raise StorageError(f"{uri}: a file there has a name that is not UTF-8 ({error.object!r}): rename it") from error
    return [join(uri, n) for n in names if not suffixes or n.lower().endswith(suffixes)]


def list_folders(uri: str) -> list[str]:
    """The URIs of the folders right below a folder, sorted; none where there is no such folder."""
    system, path = filesystem(uri)
    if system.get_file_info(path).type != fs.FileType.Directory:
        return []
    found = system.get_file_info(fs.FileSelector(path))
    return [join(uri, f.base_name) for f in sorted(found, key=lambda f: f.path) if f.type == fs.FileType.Directory]


def write_durable(uri: str, content: bytes | memoryview) -> None:
    """Write a file so that it is whole after a power cut, or not there.

    A local file is written beside its place, brought to the disk, renamed, and its folder brought to the disk. An
    object of a bucket appears whole when its upload ends, so it is written in place.

    Raises:
        StorageError: it cannot be written; whatever stood there before stands there still.
    """
    if not is_local(uri):
        system, path = filesystem(uri)
        try:
            system.create_dir(path.rpartition("/")[0], recursive=True)
            with system.open_output_stream(path) as stream:
                stream.write(content)
        except OSError as error:
            raise StorageError(f"{uri}: cannot be written: {error}") from error
        return
    path = filesystem(uri)[1]
    folder = os.path.dirname(path)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise StorageError(f"{uri}: cannot be written: {error}") from error


def _sync_folder(folder: str) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def delete(uri: str) -> None:
    """Delete a file or a folder with all in it; nothing there is no error."""
    system, path = filesystem(uri)
    kind = system.get_file_info(path).type
    if kind == fs.FileType.Directory:
        system.delete_dir(path)
    elif kind == fs.FileType.File:
        system.delete_file(path)
