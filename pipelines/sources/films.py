"""Frames of films: decoded forward only, upright, with their time.

Seconds count from the film's first frame. A frame is asked for by a time, and is the first that stands there or later;
times have three decimals, so that a stored time finds the same frame again. The reader never goes back: what stands
before its place means a new `Film`.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from anchorface.faces.images import DAMAGE, SMALLEST_SIDE, PhotoInfo
from anchorface.pipelines.sources.address import frame_uri, printable
from anchorface.pipelines.sources.opening import open_file
from anchorface.records.errors import PhotoError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv"
"""Containers that hold their pictures themselves. Play lists, which name further files, are not among them."""
CHUNK = 2**20


class Film:
    """An open film and its place in it.

    Args:
        uri: of the film. max_pixels: of a frame.

    Raises:
        PhotoError: `unreadable`, `not a film`, `too many pixels`, `too small`.
    """

    def __init__(self, uri: str, max_pixels: int) -> None:
        self._uri, self._max_pixels = uri, max_pixels
        self._file = open_file(uri)
        self._digest, self._size = hashlib.sha256(), 0
        while content := self._file.read(CHUNK):
            self._digest.update(content)
            self._size += len(content)
        self._file.seek(0)
        self.second, self._first, self._number = -1.0, 0.0, 0
        try:
            self._film = av.open(self._file, "r", options={"format_whitelist": FORMATS})
            if not self._film.streams.video:
                raise PhotoError("not a film", uri, "no stream of pictures in it")
            stream = self._film.streams.video[0]
            stream.thread_type = "NONE"
            self._check(stream.codec_context.width, stream.codec_context.height)
            self._codec = str(stream.codec_context.name)
            self._rate = float(stream.average_rate or 25)
            self._frames = self._film.decode(stream)
        except PhotoError:
            self._file.close()
            raise
        except (av.error.FFmpegError, *DAMAGE) as error:
            self._file.close()
            raise PhotoError("not a film", uri, printable(str(error))) from error

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
        if self.second < 0:
            raise PhotoError("not a film", self._uri, "no frame in it")

    def _forward(self) -> Iterator[tuple[float, Any]]:
        """Frames from here on with their time, in rising order."""
        try:
            for frame in self._frames:
                raw = frame.time if frame.time is not None else self._number / self._rate
                if self.second < 0:
                    self._first = raw
                self._number += 1
                time = round(raw - self._first, 3)
                if time > self.second:
                    self.second = time
                    yield time, frame
        except (av.error.FFmpegError, *DAMAGE) as error:
            cause = "truncated" if self.second >= 0 else "not a film"
            raise PhotoError(cause, self._uri, f"after {max(self.second, 0):.3f} s: {printable(str(error))}") from error

    def _read(self, time: float, frame: Any) -> tuple[NDArray[np.uint8], PhotoInfo]:
        self._check(frame.width, frame.height)
        try:
            pixels = frame.to_ndarray(format="rgb24")
        except (av.error.FFmpegError, *DAMAGE) as error:
            raise PhotoError("truncated", self._uri, f"at {time:.3f} s: {printable(str(error))}") from error
        turns = round(frame.rotation / 90) % 4  # counterclockwise, as it is to be shown
        pixels = np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
        name = hashlib.sha256(f"{self._digest.hexdigest()}#t={time:.3f}".encode()).hexdigest()
        info = PhotoInfo(
            format=self._codec, width=pixels.shape[1], height=pixels.shape[0], byte_size=self._size, sha256=name,
            taken=None,
        )
        return pixels, info

    def _check(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise PhotoError("too many pixels", self._uri, f"{width} x {height}; at most {self._max_pixels} are read")
        if min(width, height) < SMALLEST_SIDE:
            raise PhotoError("too small", self._uri, f"{width} x {height}; sides of at least {SMALLEST_SIDE} px")
