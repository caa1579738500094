"""Noise of the formula kind. Images: uint8 [H, W, 3].

A field of noise is stated by a seed, and its bits by a published generator: Philox 4x64-10 with the seed as key and
the counter from zero, as NumPy's `Philox(key=seed).random_raw` gives it, cut into 16-bit words in little-endian order;
word i belongs to value i of the field, row by row. A word w stands for the quantile (w + 0.5) / 65536 of the wanted
distribution. So a field costs one look-up per value, is the same on every machine, and an accelerator can make it.
"""

import cv2
import numpy as np
from scipy.special import ndtri

NORMAL = ndtri((np.arange(65536) + 0.5) / 65536)
"""The standard normal quantile of each 16-bit word, float64 [65536]; its standard deviation is 0.99997."""


def words(seed: int, count: int) -> np.ndarray:
    """The first `count` 16-bit words of the field with this seed, uint16 [count]."""
    raw = np.random.Philox(key=int(seed)).random_raw(-(-count // 4))
    return raw.astype("<u8", copy=False).view("<u2")[:count]


def noise(image: np.ndarray, *, level: float, seed: int, grey: int = 0) -> np.ndarray:
    """White Gaussian noise, rounded to whole levels.

    Args:
        image: uint8 [H, W, 3].
        level: standard deviation in 8-bit levels.
        seed: of the field, see above.
        grey: 1 for the same noise in all channels, 0 for independent channels.
    """
    table = np.rint(NORMAL * level).astype(np.int16)
    shape = image.shape[:2] if grey else image.shape
    field = np.take(table, words(seed, int(np.prod(shape)))).reshape(shape)
    if grey:
        field = cv2.merge([field, field, field])
    return cv2.add(image, field, dtype=cv2.CV_8U)


def _words(*, level: float, seed: int, grey: int = 0) -> str:
    return f"{'grey ' if grey else ''}noise of {level:.1f} levels"


OPERATIONS = (noise,)
WORDS = {"noise": _words}
