"""Films, the one writer of all rooms: frames in, one after the other, each at its own time; H.264 in a file.

It stands in `records` because degradation and restoration, which may not import one another, both write films. Sound is
copied as it came, packet by packet (records.decoding.sound).
"""

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import IO, Any

import av
import av.error
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from anchorface.records.decoding.sound import TICK, Sound
from anchorface.records.errors import DataError
from anchorface.records.films import NO_PROTOCOL, Look

TICKS = 90_000
"""Ticks of a written film's clock in a second."""
QUALITY = 8
"""x264's constant rate factor: hardly visible loss (our choice)."""
SPACES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M,
          9: Colorspace.BT2020}
"""By number of H.273. Every other (RGB, say) is written as BT.601 that does not say so, as it is read."""
UNSAID = Look()
STEP = round(Fraction(1, 8000) / TICK)
"""By how much a packet of sound comes later than the one before it, at least; containers take no other."""


class FilmWriter:
    """A film that is being written; a context, at whose end the file is whole.

    silent: why its sound ends early; empty where it does not.

    Args:
        file: to write to, at any place. size: width and height in pixels. rate: usual frames per second. look: what the
            film shall say of its frames. sound: of the film.
        container: `mp4` or `matroska`. quality: as QUALITY.

    Raises:
        DataError: the container does not take the sound.
    """

    def __init__(self, file: IO[bytes], size: tuple[int, int], rate: float, *, look: Look = UNSAID,
                 sound: Sound | None = None, container: str = "mp4", quality: int = QUALITY) -> None:
        self._last = -1
        self._size, self._space = size, SPACES.get(look.space, Colorspace.ITU601)
        options = {"video_track_timescale": str(TICKS)} if container == "mp4" else {}
        self._film = av.open(file, "w", format=container, options=options)
        options = {"crf": str(quality), "preset": "veryfast", "threads": "1"}
        self._stream = self._film.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001), options=options)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.sample_aspect_ratio = Fraction(*look.aspect)
        context.colorspace = look.space if look.space in SPACES else UNSAID.space
        context.color_primaries, context.color_trc = look.primaries, look.transfer
        self.silent = ""
        self._sound = _packets(self._film, sound) if sound else iter(())
        try:
            self._next = next(self._sound, None)
            self._film.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            self._film.close()
            raise DataError(f"{container} does not take the sound: {error}") from error

    def __enter__(self) -> "FilmWriter":
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self._film.mux(self._stream.encode())
            self._sounding(float("inf"))
        self._film.close()

    def add(self, picture: NDArray[np.uint8], second: float) -> None:
        """Write a frame.

        Args:
            picture: uint8 [H, W, 3] RGB. second: its time from the first frame, rising.

        Raises:
            DataError: it is of another size.
        """
        if picture.shape != (self._size[1], self._size[0], 3) or picture.dtype != np.uint8:
            raise DataError(f"a frame of {picture.dtype} {list(picture.shape)} in a film of {self._size}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format=self._stream.pix_fmt, dst_colorspace=self._space)
        self._last = max(self._last + 1, round(second * TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._film.mux(self._stream.encode(frame))
        self._sounding(second)

    def _sounding(self, until: float) -> None:
        """Write the sound up to a time."""
        while self._next is not None and self._next[0] <= until:
            try:
                self._film.mux(self._next[1])
            except av.error.FFmpegError as error:
                self.silent, self._next = f"from {self._next[0]:.3f} s on: {error}", None
                return
            self._next = next(self._sound, None)


def _packets(film: Any, sound: Sound) -> Iterator[tuple[float, Any]]:
    """A sound's packets, each with its time, for the streams that they get in a film; the first makes the streams."""
    # No decoder: nothing of the sound is looked into here.
    options = {"format_whitelist": "nut", "protocol_whitelist": NO_PROTOCOL, "codec_whitelist": "none"}
    with av.open(io.BytesIO(sound.head), "r", options=options) as source:
        streams = [film.add_stream_from_template(one, opaque=True) for one in source.streams.audio]
        last = [-STEP * 10**12] * len(streams)
        for found in sound.packets():
            decoded = last[found.stream] = max(found.decoded, last[found.stream] + STEP)
            packet = av.Packet(found.content)
            packet.stream, packet.time_base, packet.is_keyframe = streams[found.stream], TICK, found.key
            packet.pts, packet.dts, packet.duration = max(found.shown, decoded), decoded, found.duration
            yield float(decoded * TICK), packet
