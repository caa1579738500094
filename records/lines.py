"""JSON values, one a line, in a file that one process appends to while others read: `progress.jsonl`, `tracking.jsonl`.

On a local or mounted disk lines are appended at once; what a killed process or a full disk left of a line is cut off
before the next one. A store without appending (`s3://...`) gets the object written again, at most every `every`
seconds and so seldom that writing takes a fiftieth of the time (our choice), and at `flush`. Lines that cannot be
written wait in memory, and stand before the next one in their order, each once.
"""

import errno
import json
import os
import threading
import time
from typing import Any

import pyarrow as pa
from pyarrow import fs

from anchorface.records.errors import DataError, StorageError
from anchorface.records.patience import RETRY_SECONDS, Patience
from anchorface.records.storage import filesystem, make_folder, private, write_atomic

BLOCK = 1 << 16
SHARE = 50
MOST_WAITING = 1 << 24
"""Bytes of lines that wait for a disk; more of them are an error, whatever patience is left (our choice)."""


class Lines:
    """One such file. A second writer, say of the next attempt, makes a Lines of its own after the first has ended;
    threads of one process may share it.

    Args:
        uri: the file. every: seconds between two writings of an object in a store.
        patience: for how long lines may wait, and who is told; None: a line that cannot be written is an error.
    """

    def __init__(self, uri: str | os.PathLike[str], every: float = 30.0, patience: Patience | None = None) -> None:
        self.uri, self.every, self.patience = os.fspath(uri), every, patience or Patience()
        self.system, self.path = filesystem(self.uri)
        self.local = isinstance(self.system, fs.LocalFileSystem)
        self.begun, self.torn, self.due = False, True, time.monotonic() + every
        self.content = bytearray()  # of a disk: what waits; of a store: the whole object
        self.unwritten = False
        self._writing = threading.Lock()

    def append(self, values: dict[str, Any]) -> None:
        """Add a line; one that cannot be written now waits, and is written before the next one.

        Raises:
            StorageError: it could not be written for too long, or too much waits; it is left out, and the lines before
                it stand.
        """
        line = (json.dumps(values) + "\n").encode()
        with self._writing:
            self.content += line
            self.unwritten = True
            if not self.local and time.monotonic() < self.due:
                return
            try:
                self._write()
            except StorageError as error:
                try:
                    self.patience.failed(self.uri, error)
                    if self.local and len(self.content) > MOST_WAITING:
                        raise StorageError(f"{self.uri}: more than {MOST_WAITING:,} bytes wait: {error}") from error
                except StorageError:
                    del self.content[-len(line) :]
                    raise
            else:
                self.patience.worked(self.uri)

    def flush(self) -> None:
        """Return when every line is in the store, or on the disk and not only in the system's memory.

        Raises:
            StorageError: it cannot be written now; lines that wait are kept.
        """
        with self._writing:
            if self.unwritten:
                self._write()
        if self.local and self.begun:
            try:
                with open(self.path, "rb") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise StorageError(f"{self.uri}: cannot be written: {error}") from error
        self.patience.worked(self.uri)

    def close(self) -> None:
        """As `flush`, tried again while patience lasts.

        Raises:
            StorageError: it could not be written for too long.
        """
        while True:
            try:
                self.flush()
                return
            except StorageError as error:
                self.patience.failed(self.uri, error)
                time.sleep(RETRY_SECONDS)

    def read(self, place: int = 0, most: int | None = None) -> tuple[list[dict[str, Any]], int]:
        """The whole lines from a place on.

        Args:
            place: byte at which to begin: 0, or what an earlier call returned. In a file that is shorter by now, the
                beginning.
            most: bytes to read, but one line at least; None for all.

        Returns:
            The values, and the place after them; no values where there is no file. A last line without its end is
            left for later.

        Raises:
            DataError: a line that is no JSON object. StorageError: the file cannot be read.
        """
        try:
            info = self.system.get_file_info(self.path)
            if info.type != fs.FileType.File:
                return [], 0
            place = place if place <= info.size else 0
            with self.system.open_input_file(self.path) as file:
                file.seek(place)
                text = file.read(most)
                while most and b"\n" not in text and (more := file.read(most)):
                    text += more
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(f"{self.uri}: cannot be read: {error}") from error
        values = []
        for line in text[: text.rfind(b"\n") + 1].splitlines(keepends=True):
            values.append(self._value(line, place))
            place += len(line)
        return values, place

    def _value(self, line: bytes, place: int) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.uri}: the line at byte {place} is damaged ({error}); delete this line") from error
        if not isinstance(value, dict):
            raise DataError(f"{self.uri}: the line at byte {place} is no JSON object; delete this line")
        return value

    def _write(self) -> None:
        """Write what waits; called by one thread at a time."""
        if not self.begun:
            self._begin()
        if self.local:
            self._append()
        else:
            began = time.monotonic()
            self.due = began + self.every
            write_atomic(self.uri, bytes(self.content))
            now = time.monotonic()
            self.due = now + max(self.every, SHARE * (now - began))
        self.unwritten = False

    def _begin(self) -> None:
        """Make the folder; take over what stands in a store."""
        try:
            if self.local:
                make_folder(self.uri.rpartition("/")[0] or ".")
            elif self.system.get_file_info(self.path).type == fs.FileType.File:
                with self.system.open_input_stream(self.path) as stream:
                    found = stream.read()
                self.content[:0] = found[: found.rfind(b"\n") + 1]
        except OSError as error:
            raise StorageError(f"{self.uri}: cannot be written: {error}") from error
        self.begun = True

    def _append(self) -> None:
        """Line after line, so that of those that wait each is written once."""
        try:
            with open(self.path, "ab+", buffering=0, opener=private) as file:
                if self.torn:
                    file.truncate(_whole(file))
                self.torn = True
                while self.content:
                    end = self.content.index(b"\n") + 1
                    if file.write(self.content[:end]) != end:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    del self.content[:end]
                self.torn = False
        except OSError as error:
            raise StorageError(f"{self.uri}: cannot be written: {error}") from error


def _whole(file: Any) -> int:
    """How many bytes of an open file are whole lines."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - BLOCK)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return int(begin + found + 1)
        end = begin
    return 0
