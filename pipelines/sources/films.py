"""Frames of films as photographs: a few in every second, or one by its time, upright.

Seconds count from the film's first frame. A frame is asked for by a time, and is the first that stands there or later;
times have three decimals, so that a stored time finds the same frame again. The reader never goes back: what stands
before its place means a new `Film`. What is read at all, and how far, is `records.films`'.
"""

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.decoding import PhotoInfo
from anchorface.pipelines.sources.address import frame_uri
from anchorface.pipelines.sources.opening import open_file
from anchorface.records.decoding.film import Frames
from anchorface.records.errors import PhotoError
from anchorface.records.films import FilmLimits

CHUNK = 2**20
TICK = 1e-3
"""Seconds between two times of a frame that are told apart."""


class Film:
    """An open film and its place in it.

    Args:
        uri: of the film. max_pixels: of a frame.

    Raises:
        PhotoError: `unreadable`, or a cause of records.decoding.film.Frames.
    """

    def __init__(self, uri: str, max_pixels: int) -> None:
        self._uri = uri
        self._file = open_file(uri)
        self._digest, self._size = hashlib.sha256(), 0
        while content := self._file.read(CHUNK):
            self._digest.update(content)
            self._size += len(content)
        try:
            self._film = Frames(self._file, uri, FilmLimits(pixels=max_pixels))
        except PhotoError:
            self._file.close()
            raise

    @property
    def second(self) -> float:
        """Of the last frame that was decoded; -1 before the first."""
        return round(self._film.second, 3)

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
        if (found := self._next(second)) is None:
            raise PhotoError("no such frame", frame_uri(self._uri, second), f"the film ends after {self.second:.3f} s")
        return found[1:]

    def sample(self, every: float) -> Iterator[tuple[str, PhotoInfo]]:
        """The uri of one frame in every so many seconds, beginning with the first; of every frame where that is 0.

        Raises:
            PhotoError: as `at`; frames before the damage have been given.
        """
        wanted = 0.0
        while (found := self._next(wanted)) is not None:
            time, _, info = found
            yield frame_uri(self._uri, time), info
            wanted = every * (math.floor(time / every + 1e-9) + 1) if every else time

    def _next(self, second: float) -> tuple[float, NDArray[np.uint8], PhotoInfo] | None:
        """The first frame at this time or later that lies ahead, with its own time; None behind the end."""
        found = self._film.next(max(second, self.second + TICK / 2))
        if found is None:
            return None
        time, pixels = self.second, found[1]
        name = hashlib.sha256(f"{self.sha256}#t={time:.3f}".encode()).hexdigest()
        return time, pixels, PhotoInfo(
            format=self._film.codec, width=pixels.shape[1], height=pixels.shape[0], byte_size=self._size, sha256=name,
            taken=None,
        )
