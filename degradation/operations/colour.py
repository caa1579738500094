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
    table = np.stack([to_bytes(_LEVELS + shift) for shift in (red, green, blue)], axis=-1)
    return cv2.LUT(image, table[None])


def grey(image: np.ndarray) -> np.ndarray:
    """Luma in all three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def brightness(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Multiply by `factor`."""
    return cv2.LUT(image, to_bytes(_LEVELS * factor))


def contrast(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Blend with the mean luma: 0 is flat, 1 unchanged."""
    mean = float(np.dot(cv2.mean(image)[:3], LUMA))
    return cv2.LUT(image, to_bytes(_LEVELS * factor + (1.0 - factor) * mean))


def saturation(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Blend with the grey picture: 0 is grey, 1 unchanged."""
    matrix = factor * np.eye(3) + (1.0 - factor) * np.array(LUMA)[None]
    return cv2.transform(image, matrix)


def hue(image: np.ndarray, *, turn: float) -> np.ndarray:
    """Rotate the hue by `turn` degrees."""
    values = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2HSV)
    values[..., 0] = (values[..., 0] + np.float32(turn)) % np.float32(360)
    return to_bytes(cv2.cvtColor(values, cv2.COLOR_HSV2RGB) * np.float32(255))


OPERATIONS = (shift_colour, grey, brightness, contrast, saturation, hue)
WORDS = {
    "shift_colour": "colour shifted by {red:+.0f} {green:+.0f} {blue:+.0f} levels",
    "grey": "grey",
    "brightness": "brightness times {factor:.2f}",
    "contrast": "contrast times {factor:.2f}",
    "saturation": "saturation times {factor:.2f}",
    "hue": "hue turned by {turn:+.0f} degrees",
}
