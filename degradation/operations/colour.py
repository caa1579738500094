"""Colour and light, pixel by pixel. Images: uint8 [H, W, 3]."""

import cv2
import numpy as np

LUMA = (0.299, 0.587, 0.114)
_LEVELS = np.arange(256, dtype=np.float64)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Floating-point levels to uint8, rounded and clipped; `values` may be written to."""
    np.rint(values, out=values)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


def shift_colour(image: np.ndarray, *, red: float, green: float, blue: float) -> np.ndarray:
    """Add a constant to each channel, in 8-bit levels."""
    return affine(image, np.eye(3), (red, green, blue))


def grey(image: np.ndarray) -> np.ndarray:
    """Luma in all three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def brightness(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Multiply by `factor`."""
    return affine(image, factor * np.eye(3))


def contrast(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Blend with the mean luma: 0 is flat, 1 unchanged."""
    mean = float(np.dot(cv2.mean(image)[:3], LUMA))
    return affine(image, factor * np.eye(3), ((1.0 - factor) * mean,) * 3)


def saturation(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Blend with the grey picture: 0 is grey, 1 unchanged."""
    return affine(image, factor * np.eye(3) + (1.0 - factor) * np.array(LUMA)[None])


def hue(image: np.ndarray, *, turn: float) -> np.ndarray:
    """Rotate the hue by `turn` degrees."""
    # The levels stay as they are: hue does not depend on the scale, saturation and value return as they came.
    values = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    values = cv2.add(values, (float(turn % 360.0), 0.0, 0.0, 0.0), dst=values)
    return cv2.convertScaleAbs(cv2.cvtColor(values, cv2.COLOR_HSV2RGB, dst=values))


def affine(image: np.ndarray, matrix: np.ndarray, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """matrix @ (red, green, blue) + shift at every pixel, in 8-bit levels, rounded and clipped.

    Args:
        image: uint8 [H, W, 3]. matrix: [3, 3]. shift: levels.
    """
    return cv2.transform(image, np.column_stack([matrix, shift]))


OPERATIONS = (shift_colour, grey, brightness, contrast, saturation, hue)
WORDS = {
    "shift_colour": "colour shifted by {red:+z.0f} {green:+z.0f} {blue:+z.0f} levels",
    "grey": "grey",
    "brightness": "brightness times {factor:.2f}",
    "contrast": "contrast times {factor:.2f}",
    "saturation": "saturation times {factor:.2f}",
    "hue": "hue turned by {turn:+z.0f} degrees",
}
