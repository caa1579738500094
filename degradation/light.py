"""Linear light in 16 bits, and fields over a picture, for what happens before a picture is encoded.

Light: uint16, 0 is none and 65535 the brightest that an 8-bit sRGB picture can show. Two look-ups cost about a third
of a JPEG pass, and saturation at 65535 is the clipping of highlights. Images: uint8 [H, W, 3].
"""

import cv2
import numpy as np

from degradation.operations.noise import NORMAL, words
from records.errors import DataError

WHITE = 65535


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    """Encoded values 0..1 to light 0..1 (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: np.ndarray) -> np.ndarray:
    """Light 0..1 to encoded values 0..1."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


LIGHT = srgb_to_linear(np.arange(256) / 255)
"""Light of each 8-bit level, 0..1, float64 [256]."""
_TO_LIGHT = np.rint(LIGHT * WHITE).astype(np.uint16)
_FROM_LIGHT = np.rint(linear_to_srgb(np.arange(WHITE + 1) / WHITE) * 255).astype(np.uint8)
_NORMAL = NORMAL.astype(np.float32)
_COSINE = np.cos(np.arange(65536) * (2 * np.pi / 65536)).astype(np.float32)


def to_light(image: np.ndarray) -> np.ndarray:
    """Levels to light, uint16."""
    return cv2.LUT(image, _TO_LIGHT[None])


def from_light(light: np.ndarray) -> np.ndarray:
    """Light, uint16, to levels."""
    return cv2.LUT(light, _FROM_LIGHT[None])


def levels_of(light: np.ndarray) -> np.ndarray:
    """Light 0..1 of any float type, clipped, to levels: for look-up tables."""
    return np.rint(linear_to_srgb(np.clip(light, 0, 1)) * 255).astype(np.uint8)


def scale_light(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Multiply the light of every pixel.

    Args:
        gain: float32 [H, W] for all channels alike, or [H, W, 3]; from 0. Light above white is lost.
    """
    gain = cv2.merge([gain, gain, gain]) if gain.ndim == 2 else gain
    return from_light(cv2.multiply(to_light(image), gain, dtype=cv2.CV_16U))


def fractions(seed: int, *shape: int) -> np.ndarray:
    """Even random numbers in 0..1 from the words of a seed, float64 [*shape]."""
    return ((words(seed, int(np.prod(shape))) + 0.5) / 65536).reshape(shape)


def normal_field(seed: int, height: int, width: int) -> np.ndarray:
    """White standard normal noise, float32 [height, width]."""
    return cv2.LUT(words(seed, height * width).reshape(height, width), _NORMAL[None])


def smooth_field(seed: int, height: int, width: int, grain: float) -> np.ndarray:
    """Normal noise between whose knots lie `grain` px, float32 [height, width]; its standard deviation is about 0.8.

    The knots, standard normal, are joined by cubic curves; grain from 1 px, where it is white noise.
    """
    if grain <= 1:
        return normal_field(seed, height, width)
    knots = normal_field(seed, int(np.ceil(height / grain)) + 1, int(np.ceil(width / grain)) + 1)
    return cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)


def waves(across: np.ndarray, down: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """cos(2 pi (across + down + offset)) over the picture, float32 [H, W].

    Args:
        across, down: float64 [W] and [H], in turns; together the phase of each pixel. Counted in whole 65536ths of a
            turn, so that it costs a look-up and is the same on every machine.
    """
    columns, rows = (np.rint(turns % 1.0 * 65536).astype(np.int64).astype(np.uint16)
                     for turns in (across + offset, down))
    return cv2.LUT(rows[:, None] + columns[None], _COSINE[None])


def centred(length: int) -> np.ndarray:
    """Places of the pixels of a row or a column from its middle, px, float64 [length]."""
    return np.arange(length) - (length - 1) / 2


def paint(image: np.ndarray, mask: np.ndarray, colour: tuple[float, float, float],
          shade: np.ndarray | None = None) -> np.ndarray:
    """Lay a colour over the picture, mixed in 8-bit levels.

    Args:
        mask: float32 [H, W], 0 leaves the picture, 1 covers it.
        colour: levels of red, green, blue. shade: float32 [H, W] that multiplies the colour.
    """
    left = 1 - mask
    cover = mask if shade is None else mask * shade
    return cv2.add(cv2.multiply(image, cv2.merge([left, left, left]), dtype=cv2.CV_32F),
                   cv2.merge([cover * np.float32(level) for level in colour]), dtype=cv2.CV_8U)


def within(what: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Refuse a parameter outside its possible range.

    Args:
        what: `operation.field`.

    Raises:
        DataError: names the field and the range; also for what is no number.
    """
    if isinstance(value, str) or not low <= value <= high:
        raise DataError(f"{what} is {value!r}; from {low:g} to {high:g}{' ' + unit if unit else ''}")
