"""What a lens does. Images: uint8 [H, W, 3]. The optical axis meets the middle of the picture."""

import math

import cv2
import numpy as np

from anchorface.degradation.convolution import convolve
from anchorface.degradation.light import centred, scale_light, within

LONGEST = 500
"""Longest blur, px: far more than any lens or hand leaves of a face."""


def defocus(image: np.ndarray, *, radius: float) -> np.ndarray:
    """Out of focus: the mean over a disc.

    Args:
        image: uint8 [H, W, 3].
        radius: of the circle of confusion, px, 0 to 500.

    Raises:
        DataError: an impossible radius.
    """
    within("defocus.radius", radius, 0, LONGEST, "px")
    return image if radius < 0.5 else convolve(image, disc(radius))


def disc(radius: float) -> np.ndarray:
    """An even disc, float32 [odd, odd], sum 1: a pixel weighs what the rim, taken as straight, leaves of it."""
    half = max(0, math.ceil(radius - 0.5))
    across = np.arange(-half, half + 1)
    weights = np.clip(radius + 0.5 - np.hypot(across[None], across[:, None]), 0, 1)
    return (weights / weights.sum()).astype(np.float32)


def motion(image: np.ndarray, *, length: float, angle: float) -> np.ndarray:
    """Camera or head moved evenly along a straight line during the exposure.

    Args:
        image: uint8 [H, W, 3].
        length: of the path, px, 0 to 500.
        angle: of the path against the picture's x axis, degrees, clockwise as seen.

    Raises:
        DataError: an impossible length or angle.
    """
    within("motion.length", length, 0, LONGEST, "px")
    within("motion.angle", angle, -360, 360, "degrees")
    return image if length <= 0 else convolve(image, streak(length, angle))


def streak(length: float, angle: float) -> np.ndarray:
    """A line as wide as a pixel, float32 [odd, odd], sum 1: the path's points shared among their four pixels."""
    half = math.ceil(length / 2)
    count = max(2, math.ceil(length * 8))
    places = ((np.arange(count) + 0.5) / count - 0.5) * length
    x, y = (half + places * turn for turn in (math.cos(math.radians(angle)), math.sin(math.radians(angle))))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    weights = np.zeros((2 * half + 2, 2 * half + 2))
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        share = np.abs(1 - right - (x - left)) * np.abs(1 - below - (y - top))
        np.add.at(weights, (top + below, left + right), share)
    return (weights[:-1, :-1] / weights[:-1, :-1].sum()).astype(np.float32)


def vignette(image: np.ndarray, *, field_angle: float) -> np.ndarray:
    """Less light towards the corners by the cosine-fourth law, in linear light.

    Args:
        image: uint8 [H, W, 3].
        field_angle: at which the corner is seen from the axis, degrees, 0 to 80; light there is cos^4 of it.

    Raises:
        DataError: an impossible angle.
    """
    within("vignette.field_angle", field_angle, 0, 80, "degrees")
    height, width = image.shape[:2]
    y, x = centred(height), centred(width)
    # cos^4 = 1 / (1 + tan^2)^2, and the tangent grows evenly from the axis to the corner.
    grow = math.tan(math.radians(field_angle)) ** 2 / max(x[0] ** 2 + y[0] ** 2, 0.25)
    across, down = (1 + grow * x**2).astype(np.float32), (grow * y**2).astype(np.float32)

    def gain(rows: slice) -> np.ndarray:
        square = across[None] + down[rows, None]
        return 1 / (square * square)

    return scale_light(image, gain)


def fringe(image: np.ndarray, *, red: float, blue: float) -> np.ndarray:
    """Lateral chromatic aberration: red and blue are magnified otherwise than green.

    Args:
        image: uint8 [H, W, 3].
        red, blue: how far the corner of that channel moves outwards, px, -100 to 100; pictures of less than 3 px stay.

    Raises:
        DataError: an impossible distance.
    """
    within("fringe.red", red, -100, 100, "px")
    within("fringe.blue", blue, -100, 100, "px")
    height, width = image.shape[:2]
    corner = math.hypot(width - 1, height - 1) / 2
    if corner < 1.5:
        return image
    channels = list(cv2.split(image))
    for place, moved in ((0, red), (2, blue)):
        scale = 1 / max(0.1, 1 + moved / corner)
        back = np.array([[scale, 0, (1 - scale) * (width - 1) / 2], [0, scale, (1 - scale) * (height - 1) / 2]])
        channels[place] = cv2.warpAffine(channels[place], back, (width, height), borderMode=cv2.BORDER_REPLICATE,
                                         flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return cv2.merge(channels)


OPERATIONS = (defocus, motion, vignette, fringe)
WORDS = {
    "defocus": "out of focus by a disc of {radius:.1f} px",
    "motion": "motion blur of {length:.1f} px at {angle:.0f} degrees",
    "vignette": "corners darkened as at {field_angle:.0f} degrees from the axis",
    "fringe": "colour fringes of {red:+z.1f} px (red) and {blue:+z.1f} px (blue) at the corner",
}
