"""A large file from the web onto a local disk: resumed where it was cut off, and whole under its name or not there.

    model.onnx.part        the bytes that came; the next call goes on behind them
    model.onnx.part.json   the address that they came from, and what its server called that version of the file
    model.onnx             once its SHA-256 is right

Addresses and redirections are https and lead to the public internet (see records.web); to this machine itself http is
spoken, if ANCHORFACE_FETCH_PRIVATE=1 allows it at all. The rest is asked for by `Range` with `If-Range`: a server that
has another version by now, or knows no ranges, sends the whole file, and it starts anew.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from anchorface.records.errors import ConfigurationError, DataError, StorageError
from anchorface.records.hashes import sha256 as hash_of
from anchorface.records.state import read_state
from anchorface.records.storage import make_folder, move, private, write_atomic
from anchorface.records.web import private_allowed, public_socket

LARGEST = 2**33
"""Bytes of one file, at most: 8 GiB (our choice)."""
SILENCE, LONGEST = 60.0, 6 * 3600.0
"""Seconds without a byte after which a connection counts as cut off, and for the whole file (our choice)."""
TRIES, WAIT = 3, 1.0
"""Tries in a row that bring no byte more, and seconds before the second of them, doubled each time (our choice)."""
REDIRECTIONS = 5
CHUNK = 2**18
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

Told = Callable[[int, int | None], None]
"""Bytes that are here, and bytes of the whole file where the server says them."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a part is a part of. validator: an ETag or a time of change, empty where the server named neither."""

    url: str
    validator: str


class _CutOff(Exception):
    """The server stopped before the end, or did not answer: worth another try."""


def part_of(target: Path) -> Path:
    """Where a file's bytes stand until all of them are here."""
    return target.with_name(f"{target.name}.part")


def download(url: str, target: Path, sha256: str, *, told: Told = lambda have, whole: None, largest: int = LARGEST,
             silence: float = SILENCE, longest: float = LONGEST, wait: float = WAIT) -> Path:
    """Get a file, or what is missing of it; nothing is asked where it stands already.

    Args:
        url: its address. target: the file to be. sha256: its hash, 64 hexadecimal digits. told: is called as bytes
            come. largest: bytes, at most. silence, longest, wait: seconds, see SILENCE, LONGEST and WAIT.

    Returns:
        target.

    Raises:
        DataError: an address that may not be asked, a server that refuses, sends more than `largest` or another file
            (then nothing is kept), or that is cut off again and again (then what came is kept).
        StorageError: it cannot be written here. ConfigurationError: another process is getting it.
    """
    if os.path.isfile(target) and hash_of(target) == sha256:
        return target
    part = part_of(target)
    note = part.with_name(f"{part.name}.json")
    make_folder(str(target.parent))
    try:
        with open(part, "ab", opener=private) as file:
            _alone(file.fileno(), part)
            if not file.tell() or hash_of(part) != sha256:
                _fill(url, file, note, told, largest, silence, longest, wait)
                os.fsync(file.fileno())
            if (found := hash_of(part)) == sha256:
                move(str(part), str(target))
            else:
                part.unlink()
            note.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from error
    if found != sha256:
        raise DataError(f"{url}: its SHA-256 is {found}, and {sha256} was to come: another file stands there now, or "
                        "it was damaged on the way. Nothing of it was kept")
    return target


def _alone(number: int, part: Path) -> None:
    """Hold the part until it is closed."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(number), os.stat(part)):
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise ConfigurationError(f"{part}: another process is getting this file; wait for it")


def _fill(url: str, file: Any, note: Path, told: Told, largest: int, silence: float, longest: float,
          wait: float) -> None:
    """Bring the rest of a file, over as many connections as that takes."""
    end, most, failed = time.monotonic() + longest, file.tell(), 0
    while True:
        try:
            asyncio.run(asyncio.wait_for(_take(url, file, note, told, largest, silence), end - time.monotonic()))
            return
        except TimeoutError:
            cause = f"not done in {longest:g} seconds"
            failed = TRIES
        except _CutOff as cut:
            cause = str(cut)
            failed = 1 if file.tell() > most else failed + 1
        most = max(most, file.tell())
        if failed >= TRIES:
            raise DataError(f"{url}: {cause}; {file.tell()} bytes are here and are kept. The same command goes on from "
                            "there")
        time.sleep(min(wait * 2 ** (failed - 1), max(end - time.monotonic(), 0)))


async def _take(url: str, file: Any, note: Path, told: Told, largest: int, silence: float) -> None:
    """One connection: ask for what is missing and append it."""
    begun, have = _begun(note, url), file.tell()
    asked = {"Accept-Encoding": "identity"}
    if have and begun.validator:
        asked |= {"Range": f"bytes={have}-", "If-Range": begun.validator}
    async with _answer(url, asked, silence) as answer:
        if answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            length = answer.content_length
        elif answer.status in (200, 206, 416):
            have, length = 0, answer.content_length
            file.truncate(0)
            file.seek(0)
            if answer.status != 200:  # a part of another version: the next connection asks for all of it
                note.unlink(missing_ok=True)
                raise _CutOff(f"the server answers {answer.status} to a request for the rest")
            write_atomic(str(note), dumps(asdict(Begun(url=url, validator=_validator(answer.headers)))).encode())
        elif answer.status in (408, 425, 429) or answer.status >= 500:
            raise _CutOff(f"the server answers {answer.status}")
        else:
            raise DataError(f"{url}: the server answers {answer.status} {answer.reason or ''}: it does not give this "
                            "file, or not to everybody")
        whole = None if length is None else have + length
        if (whole or 0) > largest:
            _forget(file, note)
            raise DataError(f"{url}: {whole} bytes; more than {largest} are not taken")
        if (free := shutil.disk_usage(note.parent).free) < (length or 0):
            raise StorageError(f"{note.parent}: {length} bytes are to come, and {free} are free. Free space, or name a "
                               "folder on another disk")
        told(have, whole)
        async for chunk in answer.content.iter_chunked(CHUNK):
            have += file.write(chunk)
            if have > largest:
                _forget(file, note)
                raise DataError(f"{url}: more than {largest} bytes are not taken")
            told(have, whole)
        file.flush()


@contextlib.asynccontextmanager
async def _answer(url: str, asked: dict[str, str], silence: float) -> AsyncIterator[Any]:
    """The answer at the end of the redirections; whatever breaks the connection is `_CutOff`."""
    import aiohttp

    connector = aiohttp.TCPConnector(socket_factory=None if private_allowed() else public_socket)
    times = aiohttp.ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=times, auto_decompress=False) as session:
            for _ in range(REDIRECTIONS + 1):
                _check(url)
                async with session.get(url, headers=asked, allow_redirects=False) as answer:
                    if answer.status not in (301, 302, 303, 307, 308):
                        yield answer
                        return
                    url = urljoin(url, answer.headers.get("Location", ""))
        raise DataError(f"{url}: more than {REDIRECTIONS} redirections")
    except (aiohttp.ClientError, TimeoutError) as error:
        if isinstance(cause := getattr(error, "os_error", None), PermissionError):
            raise DataError(f"{url}: {cause.strerror}") from error
        raise _CutOff(f"no connection, or cut off ({type(error).__name__}: {error})"[:300]) from error


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (
            parts.scheme == "http" and parts.hostname in _LOOPBACK and private_allowed()):
        raise DataError(f"{parts.scheme}://{parts.hostname or ''}: such an address is not asked; it must be https")


def _validator(headers: Any) -> str:
    """What `If-Range` may say: a strong ETag, or the time of the last change."""
    tag = str(headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(headers.get("Last-Modified", ""))


def _begun(note: Path, url: str) -> Begun:
    if note.is_file():
        with contextlib.suppress(DataError, StorageError):
            begun = read_state(str(note), Begun)
            if begun.url == url:
                return begun
    return Begun(url=url, validator="")


def _forget(file: Any, note: Path) -> None:
    file.truncate(0)
    file.seek(0)
    note.unlink(missing_ok=True)
