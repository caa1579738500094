"""A process that decodes what came from outside, and that may die in place of the one that asks.

Into it go all pictures, films and Parquet tables, since a decoder may end its process, and a few bytes may ask for any
amount of memory or time. It is started once, by the first of them, and again if it died; each process has its own
(`decoder`). Its memory is bounded by the system (RLIMIT_AS), and a request of more than SECONDS ends it: that costs the
file that it read, as a PhotoError. Pixels are written where both processes see them (records.decoding.lending). It
stands in `records` because degradation, faces and pipelines, which may not import one another, all read what came from
outside.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anchorface.records.decoding.lending import Borrower
from anchorface.records.decoding.messages import Messages
from anchorface.records.errors import PhotoError
from anchorface.records.web import private_allowed

SECONDS = 60
"""For one picture, one cell, one frame, or the next hundred rows of a table (our choice)."""
GRACE = 20.0
MEMORY, MAX_PIXELS = 2**30, 100_000_000
PIXEL_BYTES = 24
"""What the child may hold: 1 GiB, and 24 bytes for each pixel that a picture may have (3.2 GiB for 100,000,000)."""
START = "from anchorface.records.decoding.inside import main; main()"
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "1000000000",
               "MALLOC_MMAP_THRESHOLD_": "1000000000"}
"""Memory that was a picture's is kept for the next: asking the system for it anew costs a third of the time."""


class Died(PhotoError):
    """`unreadable`: what a file says that ended the process, or took too long."""


class Answer(NamedTuple):
    """said: in JSON's types. content: bytes. pixels: uint8, None if there are none."""

    said: dict[str, Any]
    content: bytes
    pixels: NDArray[np.uint8] | None


class Child:
    """The process, from outside; it ends with this object. Threads wait for one another.

    Args:
        memory: bytes that it may hold, beside PIXEL_BYTES for each pixel. max_pixels: of a picture, at first. seconds:
            for one answer, whole ones.
    """

    def __init__(self, memory: int = MEMORY, max_pixels: int = MAX_PIXELS, seconds: int = SECONDS) -> None:
        self._memory, self._max_pixels, self._seconds = memory, max_pixels, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._private = False
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process's number; None where there is none, as before the first request, and after a death."""
        return self._process.pid if self._process is not None else None

    def ask(self, work: str, said: dict[str, Any], uri: str, content: bytes = b"", *, max_pixels: int = 0,
            file: BinaryIO | None = None) -> Answer:
        """Have a piece of work done (records.decoding.inside).

        Args:
            work: `module:function`. said: what is said with it, in JSON's types. uri: the name for errors. content:
                the bytes to be read. max_pixels: of a picture, for which there must be memory. file: what the work may
                read of, at any place.

        Raises:
            PhotoError: what the work raises, and `unreadable` where it needs too much memory. Died: where it ends the
                process or takes too long.
        """
        with self._lock, self._in_step():
            self._send(work, said, uri, content, max_pixels)
            return self._answer(uri, file)

    def each(self, work: str, said: dict[str, Any], uri: str) -> Iterator[Answer]:
        """The answers of a piece of work that gives several, the last of which says `end`; nothing else may be asked
        meanwhile. Raises as `ask`."""
        with self._lock, self._in_step():
            self._send(work, said, uri, b"", 0)
            while True:
                answer = self._answer(uri, None)
                yield answer
                if answer.said.get("end"):
                    return

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._end()
            self._process = None

    @contextmanager
    def _in_step(self) -> Iterator[None]:
        """Whatever else ends a request early ends the process: what it still says must not be taken for an answer."""
        try:
            yield
        except PhotoError:
            raise
        except BaseException:
            self.close()
            raise

    def _send(self, work: str, said: dict[str, Any], uri: str, content: bytes, max_pixels: int) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it ended while it had nothing to do
        if self._private != private_allowed():
            self.close()  # it may speak to whom the environment allowed when it began
        if max_pixels > self._max_pixels:
            self.close()  # the next one may hold more
            self._max_pixels = max_pixels
        if self._process is None:
            self._private = private_allowed()
            self._start()
        said = said | {"do": work, "name": uri, "unused": self._borrower.unused()}
        try:
            self._messages.send(said, content, until=self._until())
        except OSError as error:
            raise self._dead(uri) from error

    def _start(self) -> None:
        here, there = socket.socketpair()
        limit = self._memory + PIXEL_BYTES * self._max_pixels
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, str(limit), str(self._seconds)], stdin=there.fileno(),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | ENVIRONMENT,
                process_group=0,  # what a terminal sends to end the verb in good order is not for it
            )
        self._messages, self._borrower = Messages(here), Borrower()
        self._end = weakref.finalize(self, _end, self._process, self._messages, os.getpid())

    def _answer(self, uri: str, file: BinaryIO | None) -> Answer:
        try:
            while "read" in (answer := self._messages.receive(self._until())).said and file is not None:
                self._messages.send(*_part(file, *answer.said["read"]), until=self._until())
        except (EOFError, OSError) as error:
            raise self._dead(uri) from error
        lent = answer.said.pop("lent", None)
        pixels = self._borrower.array(lent, answer.descriptor) if lent is not None else None
        if answer.said.get("full"):
            self.close()
        if "cause" in answer.said:
            raise PhotoError(answer.said["cause"], uri, answer.said["detail"])
        return Answer(answer.said, answer.content, pixels)

    def _until(self) -> float:
        return time.monotonic() + self._seconds + GRACE

    def _dead(self, uri: str) -> Died:
        """What the end of the process says of what it read."""
        assert self._process is not None
        process = self._process
        self.close()
        if process.returncode in (-signal.SIGALRM, -signal.SIGKILL):
            detail = f"reading it took more than {self._seconds} seconds, or more memory than there is"
        else:
            detail = f"reading it ended the process that read it ({process.returncode})"
        return Died("unreadable", uri, detail)


def _part(file: BinaryIO, place: int, size: int) -> tuple[dict[str, Any], bytes]:
    """Some bytes of a file as a message, or why they cannot be read."""
    try:
        file.seek(place)
        return {}, file.read(size)
    except (OSError, ValueError) as error:
        return {"error": str(error)}, b""


def _end(process: "subprocess.Popen[bytes]", messages: Messages, owner: int) -> None:
    messages.close()
    if os.getpid() == owner:  # a copy of this process, made by fork, has no say
        process.kill()
        process.wait()


_own = Child()


def decoder() -> Child:
    """This process's own child, for whatever asks once and is answered once."""
    return _own


def _forked() -> None:
    global _own
    _own = Child()


os.register_at_fork(after_in_child=_forked)
