"""Cubic resizing (Keys, a = -0.75; beyond the border lies the outermost pixel) with the same bytes on every processor.

OpenCV hands a cubic resize to Intel's library, whose single-precision sums end in other bits with AVX-512 than with
AVX2: one value in 10^5 to 10^6 then rounds to another level. What decides here are single multiplications and additions
of NumPy, which IEEE 754 defines to the last bit.
"""

from functools import lru_cache

import cv2
import numpy as np

APART = 2.0**-18
"""Levels per px of the longer side by which OpenCV's sum may lie beside the exact one: four times what was seen without
Intel's library, which is far nearer."""
LEAST_APART = 2.0**-10
DECIMALS = 5
"""Of a level, to which an exact sum is rounded first, so that a tie is one: about a single precision's last bit."""


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A uint8 picture [H, W] or [H, W, C] at another size: the exact sum, rounded to whole levels (half to even)."""
    near = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    near = cv2.threshold(near, 0, 0, cv2.THRESH_TOZERO, dst=near)[1]
    apart = max(LEAST_APART, APART * max(image.shape[:2]))
    below, above = (cv2.convertScaleAbs(near, beta=beta) for beta in (-apart, apart))
    # OpenCV leaves out a last axis of one channel.
    result = above.reshape(height, width, *image.shape[2:])
    doubtful = np.flatnonzero(below != above)
    if doubtful.size:
        exact = np.round(_sums(image, doubtful, height, width), DECIMALS)
        result.reshape(-1)[doubtful] = np.clip(np.rint(exact), 0, 255)
    return result


def resized_field(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """A float32 field [H, W] at another size, in single precision."""
    for length in (height, width):
        places, weights = taps(len(field), length)
        weights = weights.astype(np.float32)[..., None]
        curves = field[places[0]] * weights[0]
        for place, weight in zip(places[1:], weights[1:], strict=True):
            part = field[place]
            part *= weight
            curves += part
        field = cv2.transpose(curves)
    return field


@lru_cache(64)
def taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a line of `after` px takes its values from in one of `before`, and weights: int64, float64 [4, after]."""
    first, rest = np.divmod((2 * np.arange(after) + 1) * before - after, 2 * after)
    behind = rest / (2 * after)
    weights = np.stack([_far(1 + behind), _near(behind), _near(1 - behind), _far(2 - behind)])
    return np.clip(first + np.arange(-1, 3)[:, None], 0, before - 1), weights


def _near(distance: np.ndarray) -> np.ndarray:
    return (1.25 * distance - 2.25) * distance * distance + 1


def _far(distance: np.ndarray) -> np.ndarray:
    return ((-0.75 * distance + 3.75) * distance - 6) * distance + 3


def _sums(image: np.ndarray, places: np.ndarray, height: int, width: int) -> np.ndarray:
    """The sums at some places of the flattened result, float64."""
    channels = image[0, 0].size
    rows, within = np.divmod(places, width * channels)
    columns, channel = np.divmod(within, channels)
    (from_row, row_weights), (from_column, column_weights) = (
        [side[:, chosen] for side in taps(before, after)]
        for before, after, chosen in ((image.shape[0], height, rows), (image.shape[1], width, columns)))
    flat = image.reshape(-1)
    from_row, from_column = from_row * image[0].size, from_column * channels + channel
    total = np.zeros(places.size)
    for row, weight in zip(from_row, row_weights, strict=True):
        along = np.zeros(places.size)
        for column, share in zip(from_column, column_weights, strict=True):
            along += share * flat[row + column]
        total += weight * along
    return total
