"""The one way to open what an address names: a local file, an object of a bucket, or a file on the web.

A table from outside may name any address. A web address is opened here alone, whatever it stands for (a photograph, a
tar, a table, a film): no connection is made to this machine or to the network around it, whatever name or redirection
leads there, unless the environment says ANCHORFACE_FETCH_PRIVATE=1; redirections lead to http and https only; every
answer must come within a time. Which addresses a table may name at all is decided in pipelines.sources.listing.
"""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from pyarrow import fs

from anchorface.pipelines.sources.address import is_text, is_web, local_path, printable
from anchorface.records.errors import PhotoError
from anchorface.records.storage import filesystem
from anchorface.records.web import private_allowed, public_socket

BUFFER = 2**16
LARGEST_FETCH = 2**26
"""Bytes of one photograph from the web, at most: 64 MiB (our choice)."""
FETCH_SECONDS = 30.0
"""For one answer of a server, from the name's resolution to the last byte."""
CHUNK = 2**16


def open_file(uri: str) -> BinaryIO:
    """A file for reading at any place in it.

    Raises:
        PhotoError: `unreadable`.
    """
    try:
        path = local_path(uri)
        if path is not None:
            if not os.path.isfile(path):
                raise PhotoError("unreadable", uri, "no such file" if not os.path.exists(path) else "not a file")
            return open(path, "rb")
        if is_web(uri):
            with _told(uri):
                return io.BufferedReader(_WebFile(_web().open(uri), uri), BUFFER)
        system, place = filesystem(uri)
        return io.BufferedReader(system.open_input_file(place), BUFFER)
    except PhotoError:
        raise
    except (OSError, ValueError) as error:  # a StorageError too; a ValueError for a path with a zero byte
        raise PhotoError("unreadable", uri, printable(str(error))) from error


def file_size(uri: str) -> int:
    """A file's bytes, 0 if there is none."""
    path = local_path(uri)
    if path is not None:
        return os.path.getsize(path) if os.path.isfile(path) else 0
    if is_web(uri):
        with _told(uri):
            return int(_web().info(uri)["size"] or 0)
    system, place = filesystem(uri)
    info: fs.FileInfo = system.get_file_info(place)
    return int(info.size or 0)


def entries(folder: str) -> Iterator[tuple[str, bool]]:
    """The names in one folder that are UTF-8, and whether each is a folder; none where it cannot be read, no links."""
    path = local_path(folder)
    try:
        if path is not None:
            with os.scandir(path) as found:
                for entry in found:
                    if is_text(entry.name) and not entry.is_symlink():
                        yield entry.name, entry.is_dir(follow_symlinks=False)
        else:
            system, place = filesystem(folder)
            for info in system.get_file_info(fs.FileSelector(place, recursive=False)):
                yield info.base_name, info.type == fs.FileType.Directory
    except (OSError, UnicodeDecodeError):
        return


def fetch(uri: str, largest: int = LARGEST_FETCH, seconds: float = FETCH_SECONDS) -> bytes:
    """A photograph from the web.

    Args:
        uri: http or https. largest: bytes, at most. seconds: until the last byte.

    Raises:
        PhotoError: `too large`, or `unreadable` if it does not come whole within the time or is not on the public web.
    """
    content = bytearray()
    with _told(uri), _web(seconds).open(uri, block_size=0) as stream:
        while chunk := stream.read(CHUNK):
            content += chunk
            if len(content) > largest:
                raise PhotoError("too large", uri, f"more than {largest} bytes")
    return bytes(content)


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Whatever a server makes a client raise, it is this file that is missing."""
    try:
        yield
    except PhotoError:
        raise
    except Exception as error:
        said = error.__cause__ or error  # fsspec calls every failed connection a file that is not found
        raise PhotoError("unreadable", uri, printable(f"{type(said).__name__}: {said}")[:300]) from error


def _web(seconds: float = FETCH_SECONDS) -> Any:
    """The web's filesystem, closed to this machine and the network around it."""
    import aiohttp
    import fsspec

    kept_out = {} if private_allowed() else {"get_client": _public_client}
    return fsspec.filesystem("http", client_kwargs={"timeout": aiohttp.ClientTimeout(total=seconds)}, **kept_out)


async def _public_client(**settings: Any) -> Any:
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=public_socket), **settings)


class _WebFile(io.RawIOBase):
    """A file on the web, read in parts; what the connection raises is an OSError."""

    def __init__(self, file: Any, uri: str) -> None:
        self._file, self._uri = file, uri

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Whether the server gives parts."""
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        with self._as_os_error():
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The place."""
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        """The next bytes."""
        with self._as_os_error():
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Let the connection go."""
        if not self.closed:
            self._file.close()
        super().close()

    @contextmanager
    def _as_os_error(self) -> Iterator[None]:
        try:
            with _told(self._uri):
                yield
        except PhotoError as error:
            raise OSError(errno.EIO, error.detail) from error
