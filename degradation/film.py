"""Films in and out of files: frames uint8 [T, H, W, 3], RGB, upright, each with its time. Sound is left out."""

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorface.records.decoding.film import Frames, open_film_file
from anchorface.records.errors import PhotoError
from anchorface.records.film_writing import FilmWriter
from anchorface.records.films import USUAL_RATE, FilmLimits

MOST_BYTES = 2**31
"""Frames of one film in memory, at most: 2 GiB are 114 seconds of 512 px at 25 a second."""
LIMITS = FilmLimits(seconds=600.0)


def read_film(uri: str) -> tuple[np.ndarray, NDArray[np.float64]]:
    """All frames of a film, upright, and when each is shown.

    Returns:
        uint8 [T, H, W, 3], RGB, and float64 [T]: seconds from the first frame, rising.

    Raises:
        PhotoError: `unreadable`, `size changes`, `too many frames`, or a cause of records.decoding.film.Frames.
    """
    with open_film_file(uri) as file:
        return _read(file, uri)


def _read(file: Any, uri: str) -> tuple[np.ndarray, NDArray[np.float64]]:
    film = Frames(file, uri, LIMITS)
    frames: list[np.ndarray] = []
    seconds, total = [], 0
    try:
        while (found := film.next()) is not None:
            second, picture = found
            total += picture.nbytes
            if frames and picture.shape != frames[0].shape:
                before = list(frames[0].shape[:2])
                raise PhotoError("size changes", uri, f"from {before} to {list(picture.shape[:2])}")
            if total > MOST_BYTES:
                raise PhotoError("too many frames", uri, f"more than {MOST_BYTES // 2**30} GiB of pixels; cut it first")
            frames.append(picture.copy())  # the memory of the original is filled again
            seconds.append(second)
    finally:
        film.close()
    return np.stack(frames), np.array(seconds)


def rate_of(seconds: NDArray[np.float64]) -> float:
    """Frames per second of a film, by the usual time between two frames (the nearest of rates such as 25 or 30000 /
    1001); 25 for a single frame.
    """
    if len(seconds) < 2:
        return USUAL_RATE
    return float(Fraction(float(1 / np.median(np.diff(seconds)))).limit_denominator(1001))


def film_bytes(frames: np.ndarray, rate: float | Sequence[float] | NDArray[np.float64]) -> bytes:
    """Frames as an MP4 (records.film_writing).

    Args:
        frames: uint8 [T, H, W, 3], RGB. rate: frames per second, or each frame's time in seconds, rising.
    """
    seconds = np.arange(len(frames)) / rate if isinstance(rate, int | float) else np.asarray(rate, np.float64)
    file = io.BytesIO()
    with FilmWriter(file, (frames.shape[2], frames.shape[1]), rate_of(seconds)) as film:
        for picture, second in zip(frames, seconds.tolist(), strict=True):
            film.add(picture, second)
    return file.getvalue()
