"""The process of records.decoding.child, from inside.

It does one piece of work after the other. Work is a function that is named as `module:function` and takes an Inside,
what was said with the request (`name`: what it is called for errors) and the bytes that came with it.
"""

import os
import pkgutil
import resource
import signal
import socket
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorface.records.decoding.lending import Lender
from anchorface.records.decoding.messages import Messages
from anchorface.records.errors import PhotoError


class Inside:
    """What a piece of work has at hand.

    kept: what it leaves for the next one.
    """

    def __init__(self, messages: Messages, seconds: int) -> None:
        self._messages, self._seconds, self._lender = messages, seconds, Lender()
        self.kept: dict[str, Any] = {}

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array for pixels that the other process sees, of any content; one at a time.

        Raises:
            MemoryError: there is not so much memory.
        """
        return self._lender.empty(shape)

    def answer(self, said: dict[str, Any], content: bytes = b"", pixels: NDArray[np.uint8] | None = None) -> None:
        """Answer the request; pixels that are no array of `empty` are copied."""
        if pixels is None:
            self._messages.send(said, content)
            return
        lent, descriptor = self._lender.lend(pixels)
        try:
            self._messages.send(said | {"lent": lent}, content, descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def read(self, place: int, size: int) -> bytes:
        """Bytes of the file that the other process opened.

        Raises:
            OSError: it cannot be read.
        """
        self._messages.send({"read": [place, size]})
        answer = self._messages.receive()
        self.go_on()
        if "error" in answer.said:
            raise OSError(answer.said["error"])
        return answer.content

    def go_on(self) -> None:
        """The time begins anew."""
        signal.alarm(self._seconds)  # nobody handles it: it ends the process wherever it is

    def work(self, limit: int) -> None:
        """Answer requests until the other end is closed. limit: bytes of memory, for what is said of too much."""
        while True:
            try:
                request = self._messages.receive()
            except EOFError:
                return
            self.go_on()
            self._lender.take_back(request.said["unused"])
            try:
                pkgutil.resolve_name(request.said["do"])(self, request.said, request.content)
            except (PhotoError, MemoryError) as error:
                if isinstance(error, PhotoError) and not isinstance(error.__cause__, MemoryError):
                    self.answer({"cause": error.cause, "detail": error.detail})
                else:  # what it keeps would be missed by the next one: `full` asks for an end
                    detail = f"reading it needs more than {limit} bytes of memory"
                    self.answer({"cause": "unreadable", "detail": detail, "full": True})
            finally:
                signal.alarm(0)


def main() -> None:
    """Answer requests on the socket that is the standard input. Arguments: the memory's limit in bytes, and the
    seconds."""
    limit, seconds = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Inside(Messages(socket.socket(fileno=0)), seconds).work(limit)
