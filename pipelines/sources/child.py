"""A process that reads what may ask for any amount of memory or time, and that may die in place of the stage.

Into it go pictures in formats whose decoders are many and young (HEIF, AVIF, WebP, TIFF, JPEG 2000), large ones, and
Parquet tables, whose few bytes may stand for gigabytes. It is started once, by the first of them, and again if it
died; ordinary JPEGs and PNGs never meet it. Its memory is bounded by the system (RLIMIT_AS), and a request of more than
SECONDS ends it. What it is told and what it answers is JSON and plain bytes:

    request, answer    length of the JSON (4 bytes), length of the bytes (8), the JSON, the bytes

A filesystem that only this process knows (`memory://`) is read without it.
"""

import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.images import PhotoInfo, read_photo
from anchorface.pipelines.sources.address import parse_address
from anchorface.pipelines.sources.tables import TableCells, TableRow, names_places, table_photos
from anchorface.records.errors import PhotoError
from anchorface.records.nouns import Dropped

SECONDS = 60
"""For one picture, one cell, or the next hundred rows of a table (our choice)."""
GRACE = 20.0
MEMORY, MAX_PIXELS = 2**30, 100_000_000
PIXEL_BYTES = 24
"""What the child may hold: 1 GiB, and 24 bytes for each pixel that a picture may have (3.2 GiB for 100,000,000)."""
ORDINARY = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"P5\n", b"P6\n", b"GIF8")
ORDINARY_BYTES = 2**25
"""Formats whose decoders hold no more than the picture, and bytes of one that are decoded in this process."""
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "1000000000",
               "MALLOC_MMAP_THRESHOLD_": "1000000000"}
"""Memory that was a picture's is kept for the next: asking the system for it anew costs a third of the time."""
ROWS_AT_ONCE = 100
SAID_BYTES, SAID_RATIO, LONGEST_ROW = 2**28, 64, 2**16
"""What a table may say in all: 256 MiB, and 64 times its own bytes; and of one photograph."""
_HEAD = struct.Struct("<IQ")


class Child:
    """The process, from outside; it ends with this object.

    Args:
        memory: bytes that it may hold, beside PIXEL_BYTES for each pixel. max_pixels: of a picture, at first. seconds:
            for one answer, whole ones.
    """

    def __init__(self, memory: int = MEMORY, max_pixels: int = MAX_PIXELS, seconds: int = SECONDS) -> None:
        self._memory, self._max_pixels, self._seconds = memory, max_pixels, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Any = None
        self._died: dict[str, PhotoError] = {}

    def picture(self, content: bytes, max_pixels: int, uri: str) -> tuple[NDArray[np.uint8], PhotoInfo]:
        """As faces.images.read_photo.

        Raises:
            PhotoError: as there, and `unreadable` where decoding it ends the process or takes too long.
        """
        said, pixels = self._picture(content, max_pixels, uri, True)
        info = _info(said)
        return np.frombuffer(pixels, np.uint8).reshape(info.height, info.width, 3), info

    def info(self, content: bytes, max_pixels: int, uri: str) -> PhotoInfo:
        """The same without the pixels: decoded all the same, and not handed over."""
        return _info(self._picture(content, max_pixels, uri, False)[0])

    def cell(self, uri: str, largest: int) -> bytes | str:
        """The bytes in a table's row, or the text there.

        Raises:
            PhotoError: `unreadable`, `too large`.
        """
        table = parse_address(uri).file
        if table in self._died:
            raise PhotoError(self._died[table].cause, uri, self._died[table].detail)
        try:
            said, content = self._ask({"do": "cell", "uri": uri, "largest": largest}, b"", uri)
            return content.decode() if said["text"] else content
        except PhotoError as error:
            if self._process is None:
                self._died[table] = error  # each of its rows would end a process
            raise

    def names_places(self, uri: str) -> bool:
        """As tables.names_places."""
        try:
            return bool(self._ask({"do": "names_places", "uri": uri}, b"", uri)[0]["names_places"])
        except PhotoError:
            return False

    def rows(self, uri: str, labels: bool, byte_size: int) -> Iterator[TableRow | Dropped]:
        """As tables.table_photos; a table that says too much, or ends the process, is told in a last row.

        Args:
            byte_size: of the table.
        """
        said = 0
        try:
            self._send({"do": "rows", "uri": uri, "labels": labels}, b"", uri)
            while True:
                answer, content = self._answer(uri)
                said += len(content)
                if said > SAID_BYTES + SAID_RATIO * byte_size:
                    self.close()
                    raise PhotoError("damaged table", uri, f"{byte_size} bytes that say more than {said}; the rest was "
                                                           "not read")
                yield from (Dropped(**row["dropped"]) if "dropped" in row else TableRow(**row)
                            for row in json.loads(content or b"[]"))
                if answer.get("end"):
                    return
        except PhotoError as error:
            yield Dropped(stage="ingest", uri=uri, row=-1, cause=error.cause, detail=error.detail)
        except GeneratorExit:
            self.close()  # what it would still say must not be taken for another answer
            raise

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._end()
            self._process = None

    def _picture(self, content: bytes, max_pixels: int, uri: str, pixels: bool) -> tuple[dict[str, Any], bytes]:
        if max_pixels > self._max_pixels:
            self.close()  # the next one may hold more
            self._max_pixels = max_pixels
        return self._ask({"do": "picture", "max_pixels": max_pixels, "pixels": pixels}, content, uri)

    def _ask(self, request: dict[str, Any], content: bytes, uri: str) -> tuple[dict[str, Any], bytes]:
        self._send(request, content, uri)
        return self._answer(uri)

    def _send(self, request: dict[str, Any], content: bytes, uri: str) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it ended while it had nothing to do
        if self._process is None:
            limit = self._memory + PIXEL_BYTES * self._max_pixels
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(limit), str(self._seconds)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | ENVIRONMENT,
            )
            self._end = weakref.finalize(self, _end, self._process)
        try:
            assert self._process.stdin is not None
            _write(self._process.stdin, request | {"name": uri}, content)
        except OSError as error:
            raise self._dead(uri) from error

    def _answer(self, uri: str) -> tuple[dict[str, Any], bytes]:
        until = time.monotonic() + self._seconds + GRACE
        try:
            text, size = _HEAD.unpack(self._take(_HEAD.size, until))
            said, content = json.loads(self._take(text, until)), self._take(size, until)
        except EOFError as error:
            raise self._dead(uri) from error
        if "cause" in said:
            raise PhotoError(said["cause"], uri, said["detail"])
        return said, content

    def _take(self, size: int, until: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        number, content = self._process.stdout.fileno(), bytearray()
        while len(content) < size:
            ready, _, _ = select.select([number], [], [], max(0.0, until - time.monotonic()))
            part = os.read(number, min(size - len(content), 2**20)) if ready else b""
            if not part:
                raise EOFError
            content += part
        return bytes(content)

    def _dead(self, uri: str) -> PhotoError:
        """What the end of the process says of what it read."""
        assert self._process is not None
        process = self._process
        self.close()
        if process.returncode in (-signal.SIGALRM, -signal.SIGKILL):
            detail = f"reading it took more than {self._seconds} seconds, or more memory than there is"
        else:
            detail = f"reading it ended the process that read it ({process.returncode})"
        return PhotoError("unreadable", uri, detail)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()


def is_ordinary(content: bytes) -> bool:
    """Whether a picture is decoded in this process."""
    return content.startswith(ORDINARY) and len(content) <= ORDINARY_BYTES


def _info(said: dict[str, Any]) -> PhotoInfo:
    taken = said["info"]["taken"]
    return PhotoInfo(**said["info"] | {"taken": date.fromisoformat(taken) if taken else None})


def _write(file: Any, said: dict[str, Any], content: bytes | memoryview = b"") -> None:
    text = json.dumps(said).encode()
    file.write(_HEAD.pack(len(text), len(content)) + text)
    file.write(content)
    file.flush()


def _requests(file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    while head := file.read(_HEAD.size):
        text, size = _HEAD.unpack(head)
        yield json.loads(file.read(text)), file.read(size)


class _Work:
    """The process, from inside."""

    def __init__(self, out: BinaryIO, seconds: int) -> None:
        self._out, self._seconds = out, seconds
        self._cells = TableCells()
        self.verbs = {
            "picture": self.picture, "cell": self.cell, "rows": self.rows, "names_places": self.names_places,
        }

    def picture(self, request: dict[str, Any], content: bytes) -> None:
        pixels, info = read_photo(content, request["max_pixels"], request["name"])
        said = asdict(info) | {"taken": info.taken.isoformat() if info.taken else None}
        _write(self._out, {"info": said}, memoryview(pixels).cast("B") if request["pixels"] else b"")

    def names_places(self, request: dict[str, Any], content: bytes) -> None:
        _write(self._out, {"names_places": names_places(request["uri"])})

    def cell(self, request: dict[str, Any], content: bytes) -> None:
        found = self._cells.content(request["uri"], request["largest"])
        _write(self._out, {"text": isinstance(found, str)}, found.encode() if isinstance(found, str) else found)

    def rows(self, request: dict[str, Any], content: bytes) -> None:
        kept: list[dict[str, Any]] = []
        for row in table_photos(request["uri"], request["labels"]):
            said = {"dropped": row.to_row()} if isinstance(row, Dropped) else asdict(row)
            if len(json.dumps(said)) > LONGEST_ROW:
                said = {"dropped": Dropped(stage="ingest", uri=request["uri"], row=row.row, cause="unreadable metadata",
                                           detail=f"more than {LONGEST_ROW} bytes of it").to_row()}
            kept.append(said)
            if len(kept) == ROWS_AT_ONCE:
                _write(self._out, {}, json.dumps(kept).encode())
                signal.alarm(self._seconds)
                kept = []
        _write(self._out, {"end": True}, json.dumps(kept).encode())


def main() -> None:
    """Answer requests on the standard input until it ends. Arguments: the memory's limit in bytes, and the seconds."""
    limit, seconds = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = sys.stdout.buffer
    work = _Work(out, seconds)
    sys.stdout = sys.stderr
    for request, content in _requests(sys.stdin.buffer):
        signal.alarm(seconds)  # nobody handles it: it ends the process wherever it is
        try:
            work.verbs[request["do"]](request, content)
        except PhotoError as error:
            _write(out, {"cause": error.cause, "detail": error.detail})
        except MemoryError:
            _write(out, {"cause": "unreadable", "detail": f"reading it needs more than {limit} bytes of memory"})
        finally:
            signal.alarm(0)


if __name__ == "__main__":
    main()
