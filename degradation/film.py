"""Films in and out of files: frames uint8 [T, H, W, 3], RGB. Sound is left out."""

import io
from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
import numpy as np

from anchorface.records.errors import PhotoError, StorageError
from anchorface.records.storage import read_bytes

MOST_BYTES = 2**31
"""Frames of one film in memory, at most: 2 GiB are 114 seconds of 512 px at 25 a second."""
SMALLEST_SIDE = 16


def read_film(uri: str) -> tuple[np.ndarray, float]:
    """All frames of a film, as they are stored (no turning), and how many there are per second.

    Returns:
        uint8 [T, H, W, 3], RGB, and frames per second.

    Raises:
        PhotoError: `unreadable`, `not a film`, `too many frames`, `too small`, or `size changes`.
    """
    try:
        content = read_bytes(uri)
    except StorageError as error:
        raise PhotoError("unreadable", uri, str(error)) from error
    try:
        with av.open(io.BytesIO(content), "r") as film:
            if not film.streams.video:
                raise PhotoError("not a film", uri, "no stream of pictures in it")
            stream = film.streams.video[0]
            stream.thread_type = "NONE"
            frames = list(_frames(film, stream, uri))
            rate = float(stream.average_rate or 25)
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, PhotoError):
            raise
        raise PhotoError("not a film", uri, str(error)) from error
    if not frames:
        raise PhotoError("not a film", uri, "no frame in it")
    return np.stack(frames), rate


def film_bytes(frames: np.ndarray, rate: float) -> bytes:
    """Frames as an MP4: H.264 of constant quality 8, hardly visible loss (our choice).

    Args:
        frames: uint8 [T, H, W, 3], RGB. rate: frames per second.
    """
    height, width = frames.shape[1:3]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001),
                                 options={"crf": "8", "preset": "veryfast", "threads": "1"})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        for picture in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        film.mux(stream.encode())
    return file.getvalue()


def _frames(film: av.container.InputContainer, stream: av.VideoStream, uri: str) -> Iterator[np.ndarray]:
    size, total = None, 0
    for frame in film.decode(stream):
        picture = frame.to_ndarray(format="rgb24")
        size, total = size or picture.shape, total + picture.nbytes
        if min(picture.shape[:2]) < SMALLEST_SIDE:
            raise PhotoError("too small", uri, f"{picture.shape[1]} x {picture.shape[0]}; sides of at least "
                                               f"{SMALLEST_SIDE} px are needed")
        if picture.shape != size:
            raise PhotoError("size changes", uri, f"from {list(size[:2])} to {list(picture.shape[:2])}")
        if total > MOST_BYTES:
            raise PhotoError("too many frames", uri, f"more than {MOST_BYTES // 2**30} GiB of pixels; cut it first")
        yield picture
