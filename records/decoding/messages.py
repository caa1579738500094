"""What the two processes say to each other, over a pair of sockets:

    message    length of the JSON (4 bytes), length of the bytes (8), the JSON, the bytes; with it, at most one file
"""

import json
import os
import socket
import struct
import time
from typing import Any, NamedTuple

_HEAD = struct.Struct("<IQ")


class Message(NamedTuple):
    """said: the JSON. content: the bytes. descriptor: of the file that came with it, -1 if none did."""

    said: dict[str, Any]
    content: bytes
    descriptor: int = -1


class Messages:
    """One end of the pair. It waits as long as `until` says, a time of time.monotonic, or for ever."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def close(self) -> None:
        """End it: the other end reads an EOFError."""
        self._socket.close()

    def send(
        self, said: dict[str, Any], content: bytes = b"", descriptor: int = -1, until: float | None = None
    ) -> None:
        """Say something, with a file where `descriptor` is one.

        Raises:
            OSError: the other end is gone, or does not listen in time.
        """
        text = json.dumps(said).encode()
        head = _HEAD.pack(len(text), len(content)) + text
        self._wait(until)
        if descriptor >= 0:
            head = head[socket.send_fds(self._socket, [head], [descriptor]):]
        self._socket.sendall(head)
        if content:
            self._socket.sendall(content)

    def receive(self, until: float | None = None) -> Message:
        """The next message.

        Raises:
            EOFError: the other end is gone. TimeoutError: it says nothing in time.
        """
        descriptor = -1
        try:
            self._wait(until)
            head, files, _, _ = socket.recv_fds(self._socket, _HEAD.size, 1, socket.MSG_CMSG_CLOEXEC)
            if files:
                descriptor = files[0]
            if not head:
                raise EOFError
            text, size = _HEAD.unpack(head + self._take(_HEAD.size - len(head), until))
            return Message(json.loads(self._take(text, until)), self._take(size, until), descriptor)
        except BaseException as error:
            if descriptor >= 0:
                os.close(descriptor)
            if isinstance(error, ConnectionError):
                raise EOFError from error
            raise

    def _take(self, size: int, until: float | None) -> bytes:
        parts = []
        while size:
            self._wait(until)
            parts.append(self._socket.recv(size, socket.MSG_WAITALL))
            if not parts[-1]:
                raise EOFError
            size -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wait(self, until: float | None) -> None:
        self._socket.settimeout(None if until is None else max(1e-3, until - time.monotonic()))
