"""A screen photographed once more. Images: uint8 [H, W, 3]."""

import math

import cv2
import numpy as np

from anchorface.degradation.light import WHITE, by_strips, centred, from_light, scale_light, to_light, waves, within
from anchorface.records.errors import DataError

EDGES = {"lamp": 2, "window": 8}
"""Exponent of the reflection's falling off: a lamp is soft, a window has an edge."""


def moire(image: np.ndarray, *, pitch: float, angle: float, depth: float, bend: float) -> np.ndarray:
    """The screen's subpixels, sampled by the camera's pixels: near one to a pixel they beat, as colour stripes.

    In linear light a pixel of channel c (0, 1, 2) is multiplied by
    (1 + depth cos(2 pi (u / pitch + c / 3))) (1 + depth / 2 cos(2 pi v / pitch)),
    u along the screen's rows of red, green and blue stripes and v across them. It is the cosines' values at the middles
    of the camera's pixels, so what is too fine for it comes out as moiré.

    Args:
        image: uint8 [H, W, 3].
        pitch: from one screen pixel to the next, px of the camera, 0.1 to 1,000.
        angle: of the screen's rows against the picture's, degrees.
        depth: of the modulation that the lens leaves, 0 to 1.
        bend: px by which the rows are bent at the corner, as by a lens or a curved screen, -100 to 100.

    Raises:
        DataError: an impossible number.
    """
    within("moire.pitch", pitch, 0.1, 1000, "px")
    within("moire.angle", angle, -360, 360, "degrees")
    within("moire.depth", depth, 0, 1)
    within("moire.bend", bend, -100, 100, "px")
    height, width = image.shape[:2]
    turn = math.radians(angle)
    x, y = centred(width), centred(height)
    corner = max(x[0] ** 2 + y[0] ** 2, 1.0)
    bent_x, bent_y = (bend * places**2 / corner for places in (x, y))
    along_x, along_y = (x * math.cos(turn) + bent_x) / pitch, (y * math.sin(turn) + bent_y) / pitch
    down_x, down_y = (x * -math.sin(turn) + bent_x) / pitch, (y * math.cos(turn) + bent_y) / pitch

    def gain(rows: slice) -> np.ndarray:
        lines = 1 + np.float32(depth / 2) * waves(down_x, down_y[rows])
        return cv2.merge([lines * (1 + np.float32(depth) * waves(along_x, along_y[rows], channel / 3))
                          for channel in range(3)])

    return scale_light(image, gain)


def glare(image: np.ndarray, *, x: float, y: float, width: float, height: float, strength: float, veil: float,
          kind: str) -> np.ndarray:
    """Light reflected by the glass, added in linear light: a bright spot, and a veil over everything.

    Args:
        image: uint8 [H, W, 3].
        x, y: middle of the spot, share of the picture's width and height, -2 to 3.
        width, height: from its middle to where it is down to a third, px, 0.1 to 100,000.
        strength: light at its middle, 0 to 10 times white.
        veil: light added everywhere, 0 to 1 times white.
        kind: lamp (soft) or window (with edges).

    Raises:
        DataError: an impossible number or kind.
    """
    within("glare.x", x, -2, 3)
    within("glare.y", y, -2, 3)
    within("glare.width", width, 0.1, 1e5, "px")
    within("glare.height", height, 0.1, 1e5, "px")
    within("glare.strength", strength, 0, 10)
    within("glare.veil", veil, 0, 1)
    if kind not in EDGES:
        raise DataError(f"glare.kind is {kind!r}; one of {', '.join(EDGES)}")
    down, across = (
        np.exp(-np.minimum(np.abs((np.arange(count) + 0.5 - place * count) / reach), 100) ** EDGES[kind])
        .astype(np.float32) for count, place, reach in ((image.shape[0], y, height), (image.shape[1], x, width)))

    def work(rows: slice, part: np.ndarray) -> np.ndarray:
        added = np.float32(WHITE * strength) * down[rows, None] * across[None] + np.float32(WHITE * veil)
        return from_light(cv2.add(to_light(part), cv2.merge([added, added, added]), dtype=cv2.CV_16U))

    return by_strips(image, work)


OPERATIONS = (moire, glare)
WORDS = {
    "moire": "moire of a screen with {pitch:.3f} px pitch at {angle:.1f} degrees",
    "glare": "glare of a {kind}, {strength:.0%} of white",
}
