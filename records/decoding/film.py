"""A film whose frames are decoded in the process that may die (records.decoding.child), one after the other.

The file is opened here, and its bytes are handed over as they are needed; a frame is decoded when it is asked for.
"""

import io
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from anchorface.records.decoding.child import decoder
from anchorface.records.decoding.inside import Inside
from anchorface.records.errors import PhotoError, StorageError
from anchorface.records.films import FilmLimits, FilmReader, Look
from anchorface.records.storage import filesystem

_LOST = "lost"
"""The cause where the process ended over another file: the film is opened again."""
AHEAD = 2**20
"""Bytes of the file that are read at once."""
SKIPPING = 5.0
"""Seconds of decoding without a frame that is wanted, before that is said."""
_NUMBERS = itertools.count()


@contextmanager
def open_film_file(uri: str) -> Iterator[BinaryIO]:
    """A film's file by its address, for `Frames`.

    Raises:
        PhotoError: `unreadable`.
    """
    try:
        system, path = filesystem(uri)
        file = system.open_input_file(path)
    except (OSError, StorageError) as error:
        raise PhotoError("unreadable", uri, str(error)) from error
    with file:
        yield file


class Frames:
    """An open film, decoded forward only.

    second: of the last frame that was decoded, from the first one; -1 before it. codec, rate: of its pictures, frames
    per second. look: what it says of its frames, once the first was read.

    Args:
        file: opened for reading at any place in it; `close` leaves it open. uri: the name for errors.

    Raises:
        PhotoError: as records.films.FilmReader, or `unreadable` where it ends the process that decodes it.
    """

    def __init__(self, file: BinaryIO, uri: str, limits: FilmLimits) -> None:
        self._file, self._uri, self._limits, self._number = file, uri, limits, next(_NUMBERS)
        self.second, self.look = -1.0, Look()
        self.codec, self.rate = self._open()

    def next(self, second: float = 0.0) -> tuple[float, NDArray[np.uint8]] | None:
        """The next frame at this time or later, to a thousandth of a second; None behind the end.

        Returns:
            Its time, and uint8 [H, W, 3] RGB, upright.

        Raises:
            PhotoError: as records.films.FilmReader, or `unreadable`.
        """
        while True:
            wanted = {"second": second, "after": self.second}
            try:
                said, pixels = self._ask("next_frame", wanted)
            except PhotoError as error:
                if error.cause != _LOST:
                    raise
                self._open()
                said, pixels = self._ask("next_frame", wanted)
            self.second = said["last"]
            if "failed" in said:
                raise PhotoError(said["failed"]["cause"], self._uri, said["failed"]["detail"])
            if pixels is not None:
                self.look = Look(**said["look"] | {"aspect": tuple(said["look"]["aspect"])})
                return self.second, pixels
            if said["end"]:
                return None

    def close(self) -> None:
        """Let the decoder go."""
        if decoder().pid == self._pid:
            self._ask("close_film", {})

    def _open(self) -> tuple[str, float]:
        said = {"size": self._file.seek(0, os.SEEK_END), "limits": asdict(self._limits)}
        told = self._ask("open_film", said, self._limits.pixels)[0]
        self._pid = decoder().pid
        return told["codec"], told["rate"]

    def _ask(self, work: str, said: dict[str, Any], pixels: int = 0) -> tuple[dict[str, Any], Any]:
        answer = decoder().ask(f"{__name__}:{work}", said | {"film": f"film {self._number}"}, self._uri,
                               max_pixels=pixels, file=self._file)
        return answer.said, answer.pixels


def open_film(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: open a film of `size` bytes."""
    file = io.BufferedReader(File(inside, said["size"]), AHEAD)
    film = FilmReader(file, said["name"], FilmLimits(**said["limits"]))
    inside.kept[said["film"]] = film, film.frames(), -1.0
    inside.answer({"codec": film.codec, "rate": film.rate})


def next_frame(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: decode up to the first frame after `after`, at `second` or later, or for SKIPPING seconds."""
    if said["film"] not in inside.kept:
        raise PhotoError(_LOST, said["name"], "the process that decoded it ended")
    film, frames, last = inside.kept[said["film"]]
    begun = time.monotonic()
    try:
        for last, frame in frames:
            inside.go_on()
            inside.kept[said["film"]] = film, frames, last
            if last > said["after"] and round(last, 3) >= said["second"]:
                inside.answer({"last": last, "look": asdict(film.look)}, pixels=film.pixels(frame))
                return
            if time.monotonic() - begun > SKIPPING:
                inside.answer({"last": last, "end": False})
                return
    except PhotoError as error:
        if isinstance(error.__cause__, MemoryError):
            raise
        last = inside.kept[said["film"]][2]
        inside.answer({"last": last, "failed": {"cause": error.cause, "detail": error.detail}})
        return
    inside.answer({"last": last, "end": True})


def close_film(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: let a film's decoder go."""
    if found := inside.kept.pop(said["film"], None):
        found[0].close()
    inside.answer({})


class File(io.RawIOBase):
    """The film's file, which the other process opened."""

    def __init__(self, inside: Inside, size: int) -> None:
        self._inside, self._size, self._place = inside, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        self._place = place + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        content = self._inside.read(self._place, len(buffer))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
