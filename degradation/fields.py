"""Fields of noise.

A field of noise is stated by a seed, and its bits by a published generator: Philox 4x64-10 with the seed as key and
the counter from zero, as NumPy's `Philox(key=seed).random_raw` gives it, cut into 16-bit words in little-endian order;
word i belongs to value i of the field, row by row. A word w stands for the quantile (w + 0.5) / 65536 of the wanted
distribution. So a field costs one look-up per value, is the same on every machine, and an accelerator can make it.
"""

import math

import cv2
import numpy as np
from scipy.special import ndtri

from anchorface.records.errors import DataError

NORMAL = ndtri((np.arange(65536) + 0.5) / 65536)
"""The standard normal quantile of each 16-bit word, float64 [65536]; its standard deviation is 0.99997."""
NORMAL_SINGLE = NORMAL.astype(np.float32)


def words(seed: int, count: int) -> np.ndarray:
    """The first `count` 16-bit words of the field with this seed, uint16 [count].

    Raises:
        DataError: a seed that is not a whole number from 0 to 2^128 - 1.
    """
    if seed != int(seed) or not 0 <= seed < 2**128:
        raise DataError(f"seed is {seed}; a whole number from 0 to 2^128 - 1 is needed")
    raw = np.random.Philox(key=int(seed)).random_raw(-(-count // 4))
    return raw.astype("<u8", copy=False).view("<u2")[:count]


def look_up(table: np.ndarray, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """A field of this shape: the entry of `table` [65536] for each word. OpenCV looks up in half NumPy's time."""
    return cv2.LUT(words(seed, math.prod(shape)).reshape(shape[0], -1), table[None]).reshape(shape)
