"""JSON values, one a line, in a file that one process appends to while others read: `progress.jsonl`, `tracking.jsonl`.

On a local or mounted disk a line is appended whole or not at all; what a killed process left of a line is cut off
before the next one. A store without appending (`s3://...`) gets the object written again, at most every `every`
seconds and so seldom that writing takes a fiftieth of the time (our choice), and at `flush`.
"""

import json
import os
import time
from typing import Any

import pyarrow as pa
from pyarrow import fs

from anchorface.records.errors import DataError, StorageError
from anchorface.records.storage import filesystem, make_folder, private, write_atomic

BLOCK = 1 << 16
SHARE = 50


class Lines:
    """One such file. A second writer, say of the next attempt, makes a Lines of its own after the first has ended.

    Args:
        uri: the file. every: seconds between two writings of an object in a store.
    """

    def __init__(self, uri: str | os.PathLike[str], every: float = 30.0) -> None:
        self.uri, self.every = os.fspath(uri), every
        self.system, self.path = filesystem(self.uri)
        self.local = isinstance(self.system, fs.LocalFileSystem)
        self.begun, self.due = False, time.monotonic() + every
        self.content = bytearray()
        self.unwritten = False

    def append(self, values: dict[str, Any]) -> None:
        """Add a line.

        Raises:
            StorageError: it cannot be written; the lines before it stand.
        """
        line = (json.dumps(values) + "\n").encode()
        if not self.begun:
            self._begin()
        if self.local:
            self._append(line)
            return
        self.content += line
        self.unwritten = True
        if time.monotonic() >= self.due:
            self.flush()

    def flush(self) -> None:
        """Return when every line is in the store, or on the disk and not only in the system's memory.

        Raises:
            StorageError: it cannot be written.
        """
        if self.local and self.begun:
            try:
                with open(self.path, "rb") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise StorageError(f"{self.uri}: cannot be written: {error}") from error
        elif self.unwritten:
            began = time.monotonic()
            write_atomic(self.uri, bytes(self.content))
            now = time.monotonic()
            self.unwritten, self.due = False, now + max(self.every, SHARE * (now - began))

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

    def _begin(self) -> None:
        """Cut off what has no end of line; take over what stands in a store."""
        try:
            if self.local:
                make_folder(self.uri.rpartition("/")[0] or ".")
                with open(self.path, "ab+", opener=private) as file:
                    file.truncate(_whole(file))
            elif self.system.get_file_info(self.path).type == fs.FileType.File:
                with self.system.open_input_stream(self.path) as stream:
                    found = stream.read()
                self.content = bytearray(found[: found.rfind(b"\n") + 1])
        except OSError as error:
            raise StorageError(f"{self.uri}: cannot be written: {error}") from error
        self.begun = True

    def _append(self, line: bytes) -> None:
        try:
            with open(self.path, "ab", buffering=0, opener=private) as file:
                before = file.tell()
                try:
                    if file.write(line) != len(line):
                        raise OSError("no space is left for a whole line")
                except OSError:
                    file.truncate(before)
                    raise
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
