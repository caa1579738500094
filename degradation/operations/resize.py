"""Other sizes. Images: uint8 [H, W, 3]."""

from collections.abc import Mapping

import cv2
import numpy as np

from anchorface.degradation import cubic
from anchorface.records.errors import DataError

INTERPOLATIONS = {"linear": cv2.INTER_LINEAR_EXACT, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC,
                  "nearest": cv2.INTER_NEAREST_EXACT}
"""OpenCV's; cubic is its flag for what `degradation.cubic` does instead."""
_ON_FRAMES = {**INTERPOLATIONS, "linear": cv2.INTER_LINEAR}
LARGEST = 16384
"""Longest side of a result, px."""


def resize(image: np.ndarray, *, height: int, width: int, interpolation: str = "linear") -> np.ndarray:
    """Resize without low-pass, except for `area` (the formula's blur stands for it).

    Args:
        image: uint8 [H, W, 3].
        height, width: of the result, px. In a plan there stands `side` instead; see `degradation.replay`.
        interpolation: linear, area, cubic (Keys, a = -0.75) or nearest; linear and cubic to the nearest whole level of
            the exact sum, so that they are the same on every processor.

    Raises:
        DataError: an impossible size or an unknown interpolation.
    """
    return _resized(image, height, width, interpolation, INTERPOLATIONS)


def resize_frame(image: np.ndarray, *, height: int, width: int, interpolation: str = "linear") -> np.ndarray:
    """`resize` for a film's frame: linear in half the time, at most a level apart and a tenth of one on average.

    Arguments and errors as of `resize`.
    """
    return _resized(image, height, width, interpolation, _ON_FRAMES)


def _resized(image: np.ndarray, height: int, width: int, interpolation: str, known: Mapping[str, int]) -> np.ndarray:
    check(height=height, width=width, interpolation=interpolation)
    if image.shape[:2] == (height, width):
        return image
    if interpolation == "cubic":
        return cubic.resized(image, height, width)
    return cv2.resize(image, (width, height), interpolation=known[interpolation])


def check(*, height: int, width: int, interpolation: str) -> None:
    """Refuse what `resize` cannot make.

    Raises:
        DataError: an impossible size or an unknown interpolation.
    """
    for field, value in (("height", height), ("width", width)):
        if value != int(value) or not 1 <= value <= LARGEST:
            raise DataError(f"resize.{field} is {value}; whole px from 1 to {LARGEST}")
    if interpolation not in INTERPOLATIONS:
        raise DataError(f"resize.interpolation is {interpolation!r}; one of {', '.join(INTERPOLATIONS)}")


def _words(*, side: int, before: int, interpolation: str = "linear") -> str:
    how = "" if interpolation == "linear" else f" ({interpolation})"
    if side > before:
        return f"enlarged {side / before:.1f} times to {side} px{how}"
    return f"shrunk {before / side:.1f} times to {side} px{how}"


OPERATIONS = (resize,)
WORDS = {"resize": _words}
