"""Films, the one reader of all rooms: frames upright, uint8 [H, W, 3] RGB, each with its own time.

It stands in `records` because degradation, pipelines and restoration, which may not import one another, all read films.

A film is bytes that were opened already. Only containers that hold their pictures themselves are read, and no protocol
is allowed, so that nothing in a file opens another file or an address. Bounded are a frame's pixels, the frames, the
seconds without a new frame (a clock that every reading of bytes looks at) and the seconds altogether.

Seconds count from the first frame and rise: a frame whose time is missing or does not rise stands one usual step behind
the frame before it. Frames are turned as the film's display matrix says.
"""

import io
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from anchorface.records.errors import DAMAGE, PhotoError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv"
"""Containers that hold their pictures themselves. Play lists, which name further files, are not among them."""
NO_PROTOCOL = "none"
"""A list of allowed protocols that names none there is."""
SMALLEST_SIDE = 16
USUAL_RATE = 25.0
"""Frames per second where a film does not say."""
SHORT_SECONDS, SHORT_SHARE = 0.5, 0.1
"""How much shorter than it says a film may be, in seconds and as a share, and still be whole (our choice)."""


@dataclass(frozen=True, kw_only=True)
class FilmLimits:
    """What reading one film may cost (our choice).

    pixels: of a frame. frames: in all. stall, seconds: of the clock, without a new frame and in all.
    """

    pixels: int = 100_000_000
    frames: int = 5_000_000
    stall: float = 60.0
    seconds: float = 3600.0


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a film says of all its frames, beside their pixels.

    begins: the first frame's time on the clock that its sound has too, in seconds. aspect: width over height of a
    pixel, upright. space, primaries, transfer: of its colours, as ITU-T H.273 numbers them; 2 where it does not say.
    """

    begins: float = 0.0
    aspect: tuple[int, int] = (1, 1)
    space: int = 2
    primaries: int = 2
    transfer: int = 2


class FilmReader:
    """An open film, decoded forward only. look: of its frames, once the first was read.

    Args:
        file: opened for reading at any place in it; `close` leaves it open. uri: the name for errors.

    Raises:
        PhotoError: `not a film`, `too many pixels`, `too small`, `too slow`.
    """

    def __init__(self, file: BinaryIO, uri: str, limits: FilmLimits = FilmLimits()) -> None:
        self._uri, self._limits, self._number = uri, limits, 0
        self._clock = Clock(file, uri, limits)
        bound = {"max_pixels": str(limits.pixels)}
        options = {"format_whitelist": FORMATS, "protocol_whitelist": NO_PROTOCOL, **bound}
        try:
            self._film = av.open(self._clock, "r", options=options)
            stream = next((one for one in self._film.streams.video
                           if not one.disposition & av.stream.Disposition.attached_pic), None)
            if stream is None:
                raise PhotoError("not a film", uri, "no stream of pictures in it")
            stream.thread_type = "NONE"
            stream.codec_context.options = bound
            self._check(stream.codec_context.width, stream.codec_context.height)
            self.codec = str(stream.codec_context.name)
            self.rate = float(stream.average_rate or USUAL_RATE)
            self.look = Look()
            self._stream = stream
        except PhotoError:
            raise
        except (av.error.FFmpegError, *DAMAGE) as error:
            cut = "; an MP4 whose end is missing has no index" if _is_mp4(file) else ""
            raise PhotoError("not a film", uri, f"{error}{cut}") from error

    def close(self) -> None:
        """Let the decoder go."""
        self._film.close()

    def frames(self) -> Iterator[tuple[float, Any]]:
        """Frames from here on, each with its time in seconds, rising; `pixels` reads one.

        Raises:
            PhotoError: `truncated` where the film is damaged, `not a film` if no frame came before that,
                `too many frames`, `too slow`.
        """
        first = last = end = 0.0
        try:
            for frame in self._film.decode(self._stream):
                self._clock.moved()
                if self._number == self._limits.frames:
                    raise PhotoError("too many frames", self._uri, f"more than {self._limits.frames}")
                usual = last + 1 / self.rate
                if self._number == 0:
                    first, usual = frame.time or 0.0, 0.0
                told = frame.time - first if frame.time is not None else usual
                last = told if told > last or self._number == 0 else usual
                if self._number == 0:
                    self.look = _look(self._stream, frame, first)
                self._number += 1
                end = last + max(1 / self.rate, float(frame.duration * (frame.time_base or 0)))
                self._clock.stop()
                yield last, frame
                self._clock.go_on()
        except PhotoError:
            raise
        except (av.error.FFmpegError, *DAMAGE) as error:
            cause = "truncated" if self._number else "not a film"
            raise PhotoError(cause, self._uri, f"after {last:.3f} s: {error}") from error
        if not self._number:
            raise PhotoError("not a film", self._uri, "no frame in it")
        if (declared := self._declared()) - end > SHORT_SECONDS + SHORT_SHARE * declared:
            raise PhotoError("truncated", self._uri, f"it ends after {end:.3f} s of the {declared:.3f} that it says")

    def _declared(self) -> float:
        """Seconds of its pictures that the film says it has; 0 where it does not."""
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        found = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d\.\d{1,9})", self._stream.metadata.get("DURATION", ""))
        return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else 0.0

    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        """A frame as uint8 [H, W, 3] RGB, upright.

        Raises:
            PhotoError: `truncated`, `too many pixels`, `too small`.
        """
        self._check(frame.width, frame.height)
        try:
            found = frame.to_ndarray(format="rgb24")
        except (av.error.FFmpegError, *DAMAGE) as error:
            raise PhotoError("truncated", self._uri, str(error)) from error
        turns = round(frame.rotation / 90) % 4  # counterclockwise, as it is to be shown
        return np.ascontiguousarray(np.rot90(found, turns)) if turns else found

    def _check(self, width: int, height: int) -> None:
        if width * height > self._limits.pixels:
            most = self._limits.pixels
            raise PhotoError("too many pixels", self._uri, f"{width} x {height}; at most {most} are read")
        if min(width, height) < SMALLEST_SIDE:
            raise PhotoError("too small", self._uri, f"{width} x {height}; sides of at least {SMALLEST_SIDE} px")


class Clock(io.RawIOBase):
    """A file for FFmpeg that ends the reading once it takes too long."""

    def __init__(self, file: BinaryIO, uri: str, limits: FilmLimits) -> None:
        super().__init__()
        self._file, self._uri, self._limits = file, uri, limits
        self._begun = self._moved = time.monotonic()

    def moved(self) -> None:
        """A new frame came."""
        self._look()
        self._moved = time.monotonic()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self._look()
        return self._file.read(size)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self._look()
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def stop(self) -> None:
        """What is done with a frame until it goes on is no part of its reading."""
        self._stopped = time.monotonic()

    def go_on(self) -> None:
        """Read on."""
        away = time.monotonic() - self._stopped
        self._begun, self._moved = self._begun + away, self._moved + away

    def _look(self) -> None:
        now, limits = time.monotonic(), self._limits
        if now - self._moved > limits.stall:
            raise PhotoError("too slow", self._uri, f"no new frame in {limits.stall:.0f} seconds")
        if now - self._begun > limits.seconds:
            raise PhotoError("too slow", self._uri, f"more than {limits.seconds:.0f} seconds to read it")


def _look(stream: Any, frame: Any, first: float) -> Look:
    pixel = Fraction(stream.sample_aspect_ratio or 1)
    if round(frame.rotation / 90) % 2:
        pixel = 1 / pixel
    space, primaries, transfer = (int(said) for said in (frame.colorspace, frame.color_primaries, frame.color_trc))
    return Look(begins=first, aspect=(pixel.numerator, pixel.denominator), space=space, primaries=primaries,
                transfer=transfer)


def _is_mp4(file: BinaryIO) -> bool:
    with suppress(OSError):
        file.seek(0)
        return file.read(8)[4:] == b"ftyp"
    return False
