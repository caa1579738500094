"""What else is seen in a face: age, sharpness, brightness, a perceptual hash.

In: aligned crops uint8 [112, 112, 3] RGB and dates. Out: years, plain numbers, a 64-bit integer.
"""

from datetime import date

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.runtime import run, session
from faces.weights import find

OLDEST = 120.0


def age_from_dates(birth_date: date | None, taken: date | None) -> float | None:
    """Years between birth and the photograph; None where a date is missing or the dates cannot both be true."""
    if birth_date is None or taken is None:
        return None
    years = (taken - birth_date).days / 365.2425
    return years if 0.0 <= years <= OLDEST else None


class AgeNetwork:
    """Age by a network, coarsely (errors of six to eight years): only when asked for.

    Raises:
        WeightsError: the file is not there.
    """

    def __init__(self, name: str = "genderage_v1", threads: int = 1) -> None:
        self.name = name
        self.session = session(find(name, "age"), threads)

    def ages(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Years [B] for aligned crops uint8 [B, 112, 112, 3] RGB: one hundred yes/no answers, counted."""
        if len(crops) == 0:
            return np.zeros(0, np.float32)
        out = run(self.session, crops.transpose(0, 3, 1, 2).astype(np.float32))[0]
        return out[:, 2:202].reshape(-1, 100, 2).argmax(axis=2).sum(axis=1).astype(np.float32)


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of the grey crop, in squared 8-bit levels: higher is sharper."""
    return float(cv2.Laplacian(_grey(crop), cv2.CV_64F).var())


def brightness(crop: NDArray[np.uint8]) -> float:
    """Mean of the crop, 0..255."""
    return float(crop.mean())


def light(crop: NDArray[np.uint8]) -> tuple[float, float]:
    """Where the light comes from: (right - left) / (right + left) of the halves' luminance; likewise downwards."""
    grey = _grey(crop).astype(np.float64)
    rows, columns = grey.shape[0] // 2, grey.shape[1] // 2
    left, right = grey[:, :columns].mean(), grey[:, -columns:].mean()
    top, bottom = grey[:rows].mean(), grey[-rows:].mean()
    return float((right - left) / max(right + left, 1.0)), float((bottom - top) / max(bottom + top, 1.0))


def smile(landmarks: NDArray[np.float64]) -> float:
    """Mouth width over eye distance of five points [5, 2]; turning the head shrinks both alike."""
    eyes, mouth = landmarks[1] - landmarks[0], landmarks[4] - landmarks[3]
    return float(np.linalg.norm(mouth) / max(float(np.linalg.norm(eyes)), 1e-6))


def clipped(crop: NDArray[np.uint8]) -> float:
    """Share of pixels whose luminance is nearly black (at most 4) or burnt out (at least 251), 0..1."""
    grey = _grey(crop)
    return float(((grey <= 4) | (grey >= 251)).mean())


def perceptual_hash(crop: NDArray[np.uint8]) -> int:
    """The 64-bit difference hash: is each of 8 x 9 cells darker than its right neighbour?"""
    cells = cv2.resize(_grey(crop), (9, 8), interpolation=cv2.INTER_AREA)
    bits = (cells[:, :-1] < cells[:, 1:]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_distance(one: int, other: int) -> int:
    """How many of 64 bits differ; 0 for equal pictures, about 32 for unrelated ones."""
    return (one ^ other).bit_count()


def _grey(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)
