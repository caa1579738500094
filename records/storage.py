"""Files on any filesystem that pyarrow or fsspec knows, written whole or not at all, for their owner alone.

A URI is a local path (`data/faces`), or `file:///...`, `s3://...`, `gs://...`, `memory://...`.

A local file is written beside its place, brought to the disk, renamed, and its folder brought to the disk: a reader
never sees half a file, and after a power cut it is whole, or what stood there before. So a marker or description that
is written later never stands without it. Files are made with mode 0600 and folders with 0700, since most of them hold
faces; folders that stand there already are left as they are. An object of a bucket appears whole when its upload ends,
so it is written in place.

Where a bucket's server stands and who asks comes from the usual environment (records.buckets). A query of the URI says
it for sources alone, since what is written gets names below its folder's.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from typing import IO

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from anchorface.records import buckets
from anchorface.records.addresses import bucket_and_key, has_secret, is_percent, join
from anchorface.records.errors import AnchorfaceError, DataError, StorageError

CHUNK = 8 * 2**20

UNFINISHED = ".tmp"
"""How the name of a file ends that is still being written, or whose writer was killed."""

LONGEST_NAME, LONGEST_KEY = 255, 1024
"""Bytes of a name that every usual filesystem takes, and of an object's in a bucket."""


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The filesystem and the path in it for a URI or a local path.

    Raises:
        StorageError: a scheme that neither pyarrow nor fsspec knows.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    with told(uri, "there is no such place"):
        if uri.startswith("s3://"):
            root, path = bucket_and_key(uri)
            return buckets.client(root), path
        try:
            return fs.FileSystem.from_uri(uri)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            other, path = fsspec.core.url_to_fs(uri)
            return fs.PyFileSystem(fs.FSSpecHandler(other)), path


@contextlib.contextmanager
def told(uri: str, what: str, kind: type[AnchorfaceError] = StorageError) -> Iterator[None]:
    """Whatever a filesystem raises inside becomes an error of ours that names the URI, and shows no password of it: not
    in the path that the library says, nor as its cause.

    Args:
        what: could not be done. kind: of the error.
    """
    raised: tuple[type[Exception], ...] = (Exception,) if "://" in uri else (OSError, pa.ArrowException)
    try:
        yield
    except AnchorfaceError:
        raise
    except raised as error:  # fsspec's filesystems raise whatever their clients raise
        raise kind(f"{uri}: {what}: {error}") from (None if has_secret(uri) else error)


def is_local(uri: str) -> bool:
    """Whether a URI is a path of a local or mounted disk."""
    return isinstance(filesystem(uri)[0], fs.LocalFileSystem)


def exists(uri: str) -> bool:
    """Whether a file or folder stands there.

    Raises:
        StorageError: it cannot be told.
    """
    return _info(uri).type != fs.FileType.NotFound


def name_fits(uri: str) -> bool:
    """Whether a file's name is short enough to be written: on a disk the temporary name that stands beside it
    meanwhile, in a bucket the whole key."""
    if uri.startswith("s3://"):
        return len(os.fsencode(bucket_and_key(uri)[1].partition("/")[2])) <= LONGEST_KEY
    return len(os.fsencode(uri.rpartition("/")[2])) + len(f".12345678{UNFINISHED}") <= LONGEST_NAME


def make_folder(uri: str) -> None:
    """Create a folder and its parents; in a bucket, which has none, it is tried whether a file can be written there.

    Raises:
        StorageError: it cannot be written.
    """
    system, path = filesystem(uri)
    if not _has_folders(system):
        require_writable(join(uri, "folder"))
        return
    with told(uri, "cannot create the folder"):
        if is_local(uri):
            _make_private(path)
        else:
            _require_plain(uri)
            system.create_dir(path, recursive=True)


def read_bytes(uri: str) -> bytes:
    """A file's bytes.

    Raises:
        StorageError: there is no such file, or it cannot be read.
    """
    system, path = filesystem(uri)
    with told(uri, "cannot be read"), system.open_input_stream(path) as stream:
        return stream.read()


def read_if_there(uri: str) -> bytes | None:
    """A file's bytes, None where there is none: one look at a bucket where `exists` needs two.

    Raises:
        StorageError: it cannot be read.
    """
    system, path = filesystem(uri)
    with told(uri, "cannot be read"):
        try:
            with system.open_input_stream(path) as stream:
                return stream.read()
        except FileNotFoundError:
            return None


def write_atomic(uri: str, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, see the module.

    Raises:
        StorageError: it cannot be written; whatever stood there before stands there still.
    """
    if is_local(uri):
        with writing(uri) as file:
            file.write(content)
        return
    with told(uri, "cannot be written"):
        _upload(uri, [content])


@contextlib.contextmanager
def writing(uri: str) -> Iterator[IO[bytes]]:
    """A file to write to, which takes its place when the block ends well; see the module.

    Until then it is a local file without a name that anybody looks for, whatever the URI.

    Raises:
        StorageError: it cannot be written. After this or any error of the block, whatever stood there before stands
            there still.
    """
    system, path = filesystem(uri)
    try:
        if isinstance(system, fs.LocalFileSystem):
            with _beside(path) as file:
                yield file
        else:
            with tempfile.TemporaryFile() as file:
                yield file
                file.seek(0)
                with told(uri, "cannot be written"):
                    _upload(uri, iter(lambda: file.read(CHUNK), b""))
    except OSError as error:
        if isinstance(error, AnchorfaceError):
            raise
        raise StorageError(f"{uri}: cannot be written: {error}") from (None if has_secret(uri) else error)


def require_writable(uri: str) -> None:
    """Find out before the work whether a file of this name can be written; nothing is left of it. Elsewhere than on a
    disk an empty one is written beside it.

    Raises:
        StorageError: it cannot be written.
    """
    if not is_local(uri):
        beside = f"{uri}.{uuid.uuid4().hex[:8]}{UNFINISHED}"
        write_atomic(beside, b"")
        delete(beside)
        return
    folder = os.path.dirname(filesystem(uri)[1])
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"{uri}: cannot be written: {folder} is no folder that may be written")


def move(source: str, target: str) -> None:
    """Move a file to another folder of the same filesystem, in one step where it is local.

    Raises:
        StorageError: it cannot be moved.
    """
    system, path = filesystem(source)
    place = filesystem(target)[1]
    if _has_folders(system):
        make_folder(target.rpartition("/")[0])
    with told(target, "cannot be written"):
        if is_local(source):
            os.replace(path, place)
            _sync(os.path.dirname(place))
        else:
            system.move(path, place)


def sync(uri: str) -> None:
    """Bring to the disk what another library has written below a local folder; elsewhere it stands when it is written.

    Raises:
        StorageError: it cannot be read.
    """
    if not is_local(uri):
        return
    with told(uri, "cannot be brought to the disk"):
        for folder, _, names in os.walk(filesystem(uri)[1]):
            for name in names:
                _sync(os.path.join(folder, name))
            _sync(folder)


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
    with told(uri, "not a readable table", DataError), system.open_input_file(path) as file:
        return pq.read_table(file, columns=list(columns) if columns is not None else None, filters=where)


def list_files(uri: str, suffixes: tuple[str, ...] = (), *, recursive: bool = True, missing_ok: bool = False
               ) -> list[str]:
    """The URIs of all files under a folder, or right in it, sorted; only those that end in one of `suffixes` (lower
    case) if given.

    Args:
        missing_ok: no such folder is an empty one.

    Raises:
        StorageError: there is no such folder, it cannot be read, or a name in it is not UTF-8.
    """
    system, path = filesystem(uri)
    kind = _info(uri).type if _has_folders(system) else fs.FileType.Unknown  # a bucket is asked for the files at once
    found: list[fs.FileInfo] = []
    if kind in (fs.FileType.Directory, fs.FileType.Unknown):
        with told(uri, "cannot be read"):
            found = system.get_file_info(fs.FileSelector(path, recursive=recursive, allow_not_found=True))
    if not found and not missing_ok and kind != fs.FileType.Directory:
        kind = _info(uri).type if kind == fs.FileType.Unknown else kind
        if kind == fs.FileType.NotFound:
            raise StorageError(f"{uri}: there is no such folder")
    if kind == fs.FileType.File:
        return [uri]
    root = path.rstrip("/")
    try:
        names = sorted(f.path[len(root) + 1 :] for f in found if f.type == fs.FileType.File)
    except UnicodeDecodeError as error:
        raise StorageError(f"{uri}: a file there has a name that is not UTF-8 ({error.object!r}): rename it") from error
    return [join(uri, n) for n in names if not suffixes or n.lower().endswith(suffixes)]


def name_in(folder: str, uri: str) -> str:
    """The path of a file below a folder, as it is called there; empty for the folder itself."""
    return filesystem(uri)[1].removeprefix(filesystem(folder)[1].rstrip("/")).lstrip("/")


def real_place(uri: str) -> str:
    """The path where a folder or file really stands, whatever links lead there, without a `/` at its end."""
    path = filesystem(uri)[1]
    return (os.path.realpath(path) if is_local(uri) else path).rstrip("/")


def list_sources(source: str, out: str) -> list[str]:
    """As `list_files`, without what stands in `out` where that is a folder in the source: results are no source."""
    closed, files = f"{real_place(out)}/", list_files(source)
    if not closed.startswith(f"{real_place(source)}/"):
        return files
    return [uri for uri in files if not real_place(uri).startswith(closed)]


def list_folders(uri: str) -> list[str]:
    """The URIs of the folders right below a folder, sorted; none where there is no such folder."""
    if _info(uri).type != fs.FileType.Directory:
        return []
    system, path = filesystem(uri)
    with told(uri, "cannot be read"):
        found = system.get_file_info(fs.FileSelector(path))
    return [join(uri, f.base_name) for f in sorted(found, key=lambda f: f.path) if f.type == fs.FileType.Directory]


def delete(uri: str) -> None:
    """Delete a file or a folder with all in it; nothing there is no error. Of a link, the link goes.

    A local one stays away after a power cut.

    Raises:
        StorageError: it cannot be deleted.
    """
    system, path = filesystem(uri)
    with told(uri, "cannot be deleted"), contextlib.suppress(FileNotFoundError):  # another process was quicker
        if not isinstance(system, fs.LocalFileSystem):
            kind = system.get_file_info(path).type
            if kind == fs.FileType.Directory:
                system.delete_dir(path)
            elif kind == fs.FileType.File:
                system.delete_file(path)
        elif os.path.lexists(path):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)
            else:
                os.unlink(path)
            _sync(os.path.dirname(path))


def delete_unfinished(uri: str) -> None:
    """Delete the files below a local folder whose writers were killed; those that are being written stay.

    Raises:
        StorageError: one cannot be deleted, or there is no such folder.
    """
    for left in list_files(uri, (UNFINISHED,)) if is_local(uri) else ():
        with contextlib.suppress(FileNotFoundError), open(filesystem(left)[1], "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            delete(left)


def _info(uri: str) -> fs.FileInfo:
    system, path = filesystem(uri)
    with told(uri, "cannot be read"):
        return system.get_file_info(path)


def private(path: str, flags: int) -> int:
    """An `opener` for `open` that makes files for their owner alone."""
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Whatever is made inside, by other libraries and by child processes too, is for its owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _beside(path: str) -> Iterator[IO[bytes]]:
    """A new file beside `path`, which takes its name and is on the disk when the block ends well."""
    folder = os.path.dirname(path)
    _make_private(folder)
    file, temporary = _open_beside(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync(folder)
    except BaseException:  # what is written may be computed on the way, and fail in any way
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _open_beside(path: str) -> tuple[IO[bytes], str]:
    """A new file beside `path`, and its name; locked until it is closed or this process dies (`delete_unfinished`)."""
    while True:
        temporary = f"{path}.{uuid.uuid4().hex[:8]}{UNFINISHED}"
        file = open(temporary, "xb", opener=private)  # noqa: SIM115 - the caller closes it
        with contextlib.suppress(OSError):  # a disk that knows no locks: nobody clears up there either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file, temporary
        file.close()  # cleared up before it was locked


def _upload(uri: str, pieces: Iterable[bytes | memoryview]) -> None:
    _require_plain(uri)
    system, path = filesystem(uri)
    if _has_folders(system):
        system.create_dir(path.rpartition("/")[0], recursive=True)
    with system.open_output_stream(path) as stream:
        for piece in pieces:
            stream.write(piece)


def _has_folders(system: fs.FileSystem) -> bool:
    """Whether a file needs a folder that it stands in; in a bucket a folder is only the beginning of names."""
    return not isinstance(system, fs.S3FileSystem)


def _require_plain(uri: str) -> None:
    if is_percent(uri) and "?" in uri:
        raise StorageError(f"{uri}: nothing is written to an address with a query: give the server, its region and "
                           "credentials by the environment (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, ...)")


def _make_private(folder: str) -> None:
    """A folder and its parents, each on the disk before the next; those that are missing are for their owner alone."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    _make_private(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{folder} is no folder")
    _sync(above)


def _sync(path: str) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
