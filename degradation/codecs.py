"""What storing or sending a clip does to it: real encoders and decoders in memory, and packets that get lost.

Frames: lists of uint8 [H, W, 3], RGB, one size or several. One thread, nothing that looks at the clock: the same
frames and numbers give the same bytes. Needs no file and no container; packets go straight to the decoder. PyAV is
imported where a codec is first asked for.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anchorface.degradation.fields import words
from anchorface.records.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    import av

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 reads it when it starts, and else writes a page for each clip

SPEEDS = ("ultrafast", "veryfast", "medium")
"""How hard an encoder looks for the best coding, in x264's words; `medium` is x264's default."""
QUALITIES = 51
"""Constant quality runs from 0 (best) to this, on the scale of H.264's quantiser."""


@dataclass(frozen=True)
class Codec:
    """How one codec is asked. decoder: PyAV's name. smallest: side of the smallest frame that it takes, px. quality:
    what it calls constant quality. speed: its option for each of `SPEEDS`. options: always given. conceals: whether the
    decoder fills the gaps that damage leaves; one that does not shows whatever its memory holds. least: bits per second
    below which it would count none at all, as most count in thousands."""

    encoder: str
    decoder: str
    smallest: int
    quality: str = "crf"
    speed: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    conceals: bool = True
    least: int = 1000


def _speeds(option: str, *values: str) -> tuple[tuple[str, str], ...]:
    return tuple((option, value) for value in values)


# Its macroblock tree gives other packets from run to run on small frames (144 x 144, 192 x 192, without threads).
_X264 = Codec("libx264", "h264", 16, speed=_speeds("preset", *SPEEDS), options=(("x264-params", "mbtree=0"),))
CODECS = {
    "libx264": _X264,
    "h264": _X264,  # what libavcodec takes when it is asked for "h264"; RealBasicVSR names both
    "mpeg4": Codec("mpeg4", "mpeg4", 16, quality="quantiser", conceals=False, least=1),
    # It writes past its buffers where a frame is smaller than one coding tree unit, 64 px, and gives other packets each
    # time where it is just one.
    "libx265": Codec("libx265", "hevc", 96, speed=_speeds("preset", *SPEEDS), options=(
        ("x265-params", "pools=none:frame-threads=1:wpp=0:log-level=none"),), conceals=False),
    "libvpx-vp9": Codec("libvpx-vp9", "vp9", 16, quality="crf63", speed=_speeds("cpu-used", "8", "6", "4"), options=(
        ("deadline", "good"), ("row-mt", "0"), ("lag-in-frames", "0"))),
    "libsvtav1": Codec("libsvtav1", "libdav1d", 64, quality="crf63", speed=_speeds("preset", "9", "8", "7"), options=(
        ("svtav1-params", "lp=1"),)),
    "mjpeg": Codec("mjpeg", "mjpeg", 16, quality="quantiser", least=1),
}


def available() -> tuple[str, ...]:
    """The codecs that this module knows and the installed PyAV has."""
    return tuple(name for name in CODECS if _has(name))


@functools.cache
def _has(name: str) -> bool:
    import av

    try:
        av.Codec(CODECS[name].encoder, "w")
        av.Codec(CODECS[name].decoder, "r")
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True


def check_codec(name: str) -> Codec:
    """The codec of that name.

    Raises:
        ConfigurationError: the installed PyAV lacks it; those there are listed.
    """
    if name not in CODECS or not _has(name):
        raise ConfigurationError(f"codec {name!r} is not in the installed PyAV; there are {', '.join(available())}")
    return CODECS[name]


def codec(frames: Sequence[np.ndarray], *, codec: str, bit_rate: int = 0, quality: int = -1, rate: float = 25.0,
          speed: str = "medium", keyframes: int = 0, lost: float = 0.0, corrupt: float = 0.0,
          seed: int = 0) -> list[np.ndarray]:
    """Encode all frames, perhaps damage the packets, decode: YUV 4:2:0, 8 bits, BT.601.

    Args:
        frames: uint8 [H, W, 3] each, RGB. Those of another size than the first are brought to its size, as a stream
            has one size.
        codec: a name from `CODECS`.
        bit_rate: bits per second, from 1; 0 to ask for a quality instead. Encoders treat it as a wish, and most give at
            least 1000.
        quality: constant quality on H.264's scale, 0 (best) to 51; -1 to ask for a bit rate instead.
        rate: frames per second that the encoder is told.
        speed: one of `SPEEDS`; mpeg4 and mjpeg have only one.
        keyframes: at most so many frames from one keyframe to the next; 0 for the encoder's own choice.
        lost, corrupt: chance of each packet but the first to get lost, and of each that does not to lose a stretch of
            its bytes; the decoder conceals what it can, and where there is nothing to show the last picture stays.
        seed: of the damage.

    Returns:
        As many frames, all of the first one's size.

    Raises:
        ConfigurationError: a codec that the installed PyAV lacks.
        DataError: an impossible parameter, which is named, or a size that the codec refuses.
    """
    asked = check_codec(codec)
    _check(bit_rate, quality, rate, speed, keyframes, lost, corrupt)
    height, width = frames[0].shape[:2]
    planes = _each(frames, lambda frame: to_planes(_fit(frame, height, width), asked.smallest))
    packets = encode(planes, asked, bit_rate=bit_rate, quality=quality, rate=rate, speed=speed, keyframes=keyframes,
                     live=bool(lost or corrupt))
    if lost or corrupt:
        packets = damage(packets, lost, corrupt, seed, asked.conceals)
    return _each(decode(packets, asked, planes[0].shape, len(frames)), lambda one: to_picture(one, height, width))


def _each(frames: Sequence[np.ndarray], work: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """What `work` makes of each frame; of one that stands in several places, once."""
    made: dict[int, np.ndarray] = {}
    for frame in frames:
        if id(frame) not in made:
            made[id(frame)] = work(frame)
    return [made[id(frame)] for frame in frames]


def encode(planes: Sequence[np.ndarray], asked: Codec, *, bit_rate: int, quality: int, rate: float, speed: str,
           keyframes: int, live: bool = False) -> list[av.Packet]:
    """The packets, in decoding order.

    Args:
        planes: uint8 [1.5 h, w] each, as `to_planes` makes them. live: no frame refers to a later one, as where packets
        go over a line; H.264's concealment is the same in every run only then. The rest: as in `codec`.
    """
    import av
    import av.error

    encoder: Any = av.CodecContext.create(asked.encoder, "w")
    encoder.width, encoder.height, encoder.pix_fmt = planes[0].shape[1], planes[0].shape[0] * 2 // 3, "yuv420p"
    encoder.framerate = Fraction(rate).limit_denominator(1001)
    encoder.time_base = 1 / encoder.framerate
    encoder.thread_count = 1
    if live:
        encoder.max_b_frames = 0
    if keyframes:
        encoder.gop_size = keyframes
    encoder.options = dict(asked.options) | dict([asked.speed[SPEEDS.index(speed)]] if asked.speed else [])
    if asked.encoder == "mjpeg":
        encoder.options |= {"strict": "unofficial"}  # it wants to be asked twice for less than the full range
    if quality < 0:
        encoder.bit_rate = encoder.bit_rate_tolerance = max(bit_rate, asked.least)  # within a second
    elif asked.quality == "quantiser":
        # The step of H.264's quantiser doubles every 6, from 1 at 4; a step of MPEG-4's and JPEG's tables is 2.
        encoder.qmin = encoder.qmax = min(max(round(2.0 ** ((quality - 4) / 6) / 2), 2), 31)
    else:
        encoder.options |= {"crf": str(round(quality * 63 / QUALITIES) if asked.quality == "crf63" else quality)}
        encoder.bit_rate = 0
    packets = []
    try:
        with _own_priority():
            for place, plane in enumerate(planes):
                frame = av.VideoFrame.from_numpy_buffer(plane, format="yuv420p")
                frame.pts, frame.time_base = place, encoder.time_base
                packets += encoder.encode(frame)
            packets += encoder.encode(None)
    except av.error.FFmpegError as error:
        raise DataError(f"codec {asked.encoder}: frames of {encoder.width} x {encoder.height} px are refused: "
                        f"{error}") from error
    return packets


@contextmanager
def _own_priority() -> Iterator[None]:
    """This thread's priority is afterwards what it was: SVT-AV1, where root starts it, gives the thread that asks and
    all that it begins the highest real-time priority, and processes that wait busily then starve the machine."""
    if not hasattr(os, "sched_getscheduler"):  # no Linux
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != before[0]:
            os.sched_setscheduler(0, *before)


def damage(packets: Sequence[av.Packet], lost: float, corrupt: float, seed: int, conceals: bool) -> list[av.Packet]:
    """Packets as they come over a bad line; the first one comes whole, so that there is a picture at all.

    conceals: as of Codec; where the decoder does not, the receiver throws a damaged packet away.
    """
    import av

    left = list(packets[:1])
    chances = words(seed, 4 * len(packets)).reshape(-1, 4) / 65536.0
    for packet, (fate, harm, place, length) in zip(packets[1:], chances[1:], strict=True):
        if fate < lost or (harm < corrupt and not conceals):
            continue
        left.append(packet)
        if harm < corrupt:
            # From an eighth of the packet, behind the headers; a stretch of up to half of it.
            data = bytes(packet)
            start = int(len(data) * (1 + 7 * place) / 8)
            broken = av.Packet(data[:start] + data[start + 1 + int(len(data) * length / 2):])
            broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
            left[-1] = broken
    return left


def decode(packets: Sequence[av.Packet], asked: Codec, shape: tuple[int, ...], count: int) -> list[np.ndarray]:
    """`count` frames of planes, uint8 [*shape]; one that cannot be decoded is the last one again."""
    import av
    import av.error
    from av.codec.context import Flags

    decoder: Any = av.CodecContext.create(asked.decoder, "r")
    decoder.thread_count = 1
    decoder.flags |= Flags.output_corrupt
    shown: list[np.ndarray | None] = [None] * count
    for packet in [*packets, None]:
        try:
            pictures = decoder.decode(packet)
        except av.error.FFmpegError:  # a damaged packet
            continue
        for picture in pictures:
            planes = picture.to_ndarray(format=picture.format.name)
            if planes.shape == shape and picture.pts is not None and 0 <= picture.pts < count:
                shown[picture.pts] = planes
    last = next((planes for planes in shown if planes is not None), None)
    if last is None:
        raise DataError(f"codec {asked.encoder}: nothing could be decoded")
    result = []
    for planes in shown:
        last = last if planes is None else planes
        result.append(last)
    return result


def to_planes(picture: np.ndarray, smallest: int = 2) -> np.ndarray:
    """RGB to YUV 4:2:0 in BT.601's limited range, chroma the mean of each 2 x 2 pixels.

    Args:
        picture: uint8 [H, W, 3]. smallest: side to which a smaller picture is filled up, px.

    Returns:
        uint8 [1.5 h, w], the planes Y, U, V one after the other; w and h are multiples of 16, as x264 reads past the
        ends of other rows and its packets then depend on what lies there (and of less than 4, PyAV looks for chroma
        in the wrong place), filled up with the last row and column.
    """
    height, width = picture.shape[:2]
    right, below = (max(side + -side % 16, smallest) - side for side in (width, height))
    if right or below:
        picture = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)
        height, width = picture.shape[:2]
    planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)  # its chroma is that of every other pixel: replaced
    half = cv2.cvtColor(cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA),
                        cv2.COLOR_RGB2YCrCb)
    chroma = planes.reshape(-1)[height * width:].reshape(2, height // 2, width // 2)
    for plane, channel in zip(chroma, (2, 1), strict=True):
        # From the full range to the limited one, 128 in the middle.
        cv2.convertScaleAbs(cv2.extractChannel(half, channel), dst=plane, alpha=224 / 255, beta=128 * (1 - 224 / 255))
    return planes


def to_picture(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """YUV 4:2:0 back to RGB, each chroma value for 2 x 2 pixels; cropped to uint8 [height, width, 3]."""
    return cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420)[:height, :width]


def _fit(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return frame
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)


def _check(bit_rate: float, quality: float, rate: float, speed: str, keyframes: int, lost: float,
           corrupt: float) -> None:
    if (bit_rate > 0) == (quality >= 0):
        raise DataError(f"codec: bit_rate is {bit_rate} and quality {quality}; one of them is needed")
    if quality > QUALITIES:
        raise DataError(f"codec.quality is {quality}; from 0 to {QUALITIES}")
    if not 0 < rate < 1000:
        raise DataError(f"codec.rate is {rate}; above 0, to 1000 frames per second")
    if speed not in SPEEDS:
        raise DataError(f"codec.speed is {speed!r}; one of {', '.join(SPEEDS)}")
    if keyframes < 0:
        raise DataError(f"codec.keyframes is {keyframes}; from 1 frame, or 0")
    for field, chance in (("lost", lost), ("corrupt", corrupt)):
        if not 0 <= chance <= 1:
            raise DataError(f"codec.{field} is {chance}, no probability")


def _words(*, codec: str, bit_rate: int = 0, quality: int = -1, rate: float = 25.0, lost: float = 0.0,
           corrupt: float = 0.0, **_: Any) -> str:
    how = f"{bit_rate / rate / 1000:.1f} kbit a frame" if bit_rate else f"quality {quality} of {QUALITIES}"
    harm = "".join(f", {chance:.0%} of packets {what}" for chance, what in ((lost, "lost"), (corrupt, "damaged"))
                   if chance)
    return f"{codec} at {how}{harm}"


WORDS = {"codec": _words}
