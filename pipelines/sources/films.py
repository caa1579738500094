"""Frames of films as photographs: a few in every second, or one by its time, upright.

Seconds count from the film's first frame. A frame is asked for by a time, and is the first that stands there or later;
times have three decimals, so that a stored time finds the same frame again. The reader never goes back: what stands
before its place means a new `Film`. What is read at all, and how far, is `records.films`'.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.images import PhotoInfo
from anchorface.pipelines.sources.address import frame_uri
from anchorface.pipelines.sources.opening import open_file
from anchorface.records.errors import PhotoError
from anchorface.records.films import FilmLimits, FilmReader

CHUNK = 2**20


class Film:
    """An open film and its place in it.

    Args:
        uri: of the film. max_pixels: of a frame.

    Raises:
        PhotoError: `unreadable`, or a cause of records.films.FilmReader.
    """

    def __init__(self, uri: str, max_pixels: int) -> None:
        self._uri = uri
        self._file = open_file(uri)
        self._digest, self._size = hashlib.sha256(), 0
        while content := self._file.read(CHUNK):
            self._digest.update(content)
            self._size += len(content)
        self._file.seek(0)
        self.second = -1.0
        try:
            self._film = FilmReader(self._file, uri, FilmLimits(pixels=max_pixels))
        except PhotoError:
            self._file.close()
            raise
        self._frames = self._film.frames()

    @property
    def sha256(self) -> str:
        """Of the film's bytes."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Let the file go."""
        self._film.close()
        self._file.close()

    def at(self, second: float) -> tuple[NDArray[np.uint8], PhotoInfo]:
        """The first frame at this time or later, which must lie ahead.

        Returns:
            uint8 [H, W, 3] RGB, upright, and what is known of it; its sha256 is that of the film's and the time.

        Raises:
            PhotoError: `no such frame` behind the end; `truncated` where the film is damaged.
        """
        for time, frame in self._forward():
            if time >= second:
                return self._read(time, frame)
        raise PhotoError("no such frame", frame_uri(self._uri, second), f"the film ends after {self.second:.3f} s")

    def sample(self, every: float) -> Iterator[tuple[str, PhotoInfo]]:
        """The uri of one frame in every so many seconds, beginning with the first.

        Raises:
            PhotoError: as `at`; frames before the damage have been given.
        """
        wanted = 0.0
        for time, frame in self._forward():
            if time >= wanted:
                yield frame_uri(self._uri, time), self._read(time, frame)[1]
                wanted = every * (math.floor(time / every + 1e-9) + 1)

    def _forward(self) -> Iterator[tuple[float, Any]]:
        """Frames from here on with their time, in rising order."""
        for exact, frame in self._frames:
            time = round(exact, 3)
            if time > self.second:
                self.second = time
                yield time, frame

    def _read(self, time: float, frame: Any) -> tuple[NDArray[np.uint8], PhotoInfo]:
        pixels = self._film.pixels(frame)
        name = hashlib.sha256(f"{self.sha256}#t={time:.3f}".encode()).hexdigest()
        info = PhotoInfo(
            format=self._film.codec, width=pixels.shape[1], height=pixels.shape[0], byte_size=self._size, sha256=name,
            taken=None,
        )
        return pixels, info
