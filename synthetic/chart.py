"""The flat chart on which a whole head is drawn: an equal-area picture of all directions from its centre.

A head is star-shaped: every direction from its centre meets its surface once, so shape, colour and gloss are
pictures over directions. Lambert's azimuthal equal-area projection about the nose direction puts all
directions in the unit disc, has its only singular point at the back of the head, and needs no trigonometry.

Axes: x to the viewer's right, y up, z towards the viewer. Lengths in decimetres (a head is about 2.3 tall).
Chart arrays: float32 [n, n]; row 0 is up (v = +1), column 0 is the viewer's left (u = -1).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

WINDOW = 0.66  # the face lies inside |u|, |v| < WINDOW: features are only worked out there


def ramp(value: np.ndarray | np.float32, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """Smooth step from 0 at `low` to 1 at `high` (`low` may be the larger of the two)."""
    t = np.clip((value - low) * (1.0 / (high - low)), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def bump(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], spread: tuple[float, float]) -> np.ndarray:
    """Gaussian hill of height 1 at `centre` with standard deviations `spread`."""
    return np.exp(-0.5 * (((x - centre[0]) / spread[0]) ** 2 + ((y - centre[1]) / spread[1]) ** 2))


def blend(colour: np.ndarray, ink: np.ndarray | tuple[float, ...], share: np.ndarray) -> None:
    """Mix `ink`, [3] or like `colour`, into `colour` [h, w, 3] in place, by `share` [h, w] in 0..1."""
    ink = np.asarray(ink, dtype=np.float32)
    for k in range(3):  # channel by channel is four times faster than one broadcast over three
        channel = colour[..., k]
        channel += (ink[..., k] - channel) * share


def brighten(colour: np.ndarray, factor: np.ndarray) -> None:
    """Multiply `colour` [h, w, 3] by `factor` [h, w] in place."""
    for k in range(3):
        colour[..., k] *= factor


@lru_cache(maxsize=4)
def directions(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit direction of every chart cell.

    Args:
        n: side of the chart in cells.
    Returns:
        x, y, z: float32 [n, n] each, read-only.
    """
    axis = (np.arange(n, dtype=np.float32) + 0.5) * (2.0 / n) - 1.0
    u, v = np.meshgrid(axis, -axis)
    # Beyond the disc there is no direction; the rim stands in, so that smooth filters have a neighbour there.
    length = np.sqrt(u * u + v * v)
    shrink = np.minimum(1.0, 0.9999 / np.maximum(length, 1e-6))
    u, v = u * shrink, v * shrink
    square = u * u + v * v
    side = 2.0 * np.sqrt(np.maximum(1.0 - square, 0.0))
    out = (u * side, v * side, 1.0 - 2.0 * square)
    for array in out:
        array.setflags(write=False)
    return out


def window(n: int) -> slice:
    """The rows (and the columns) of an [n, n] chart that hold the face."""
    low = int(n * (1.0 - WINDOW) / 2.0)
    return slice(low, n - low)


def cells(points: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where points lie on the chart.

    Args:
        points: float32 [3, ...], x, y, z.
        n: side of the chart in cells.
    Returns:
        column, row: float32 [...], in cells (0 is the middle of the first cell); distance from the centre.
    """
    x, y, z = points
    distance = np.sqrt(x * x + y * y + z * z)
    scale = (0.5 * n) / np.sqrt(np.maximum(2.0 * distance * (distance + z), 1e-9))
    middle = 0.5 * n - 0.5
    return x * scale + middle, middle - y * scale, distance
