"""Linear light in 16 bits, and fields over a picture, for what happens before a picture is encoded.

Light: uint16, 0 is none and 65535 the brightest that an 8-bit sRGB picture can show. Two look-ups cost about a third
of a JPEG pass, and saturation at 65535 is the clipping of highlights. Images: uint8 [H, W, 3].
"""

from collections.abc import Callable

import cv2
import numpy as np

from anchorface.degradation.cubic import resized_field
from anchorface.degradation.fields import NORMAL_SINGLE, look_up, words
from anchorface.records.errors import DataError

WHITE = 65535
STRIP = 16384
"""Pixels that are worked on at a time, where an operation has many steps."""


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


def by_strips(image: np.ndarray, work: Callable[[slice, np.ndarray], np.ndarray]) -> np.ndarray:
    """Carry out pixelwise work strip by strip, so that what it holds meanwhile stays in the processor's cache.

    Args:
        work: gets the rows of a strip, a multiple of four but for the last, and that part of the image; gives back
            levels, uint8.
    """
    height, width = image.shape[:2]
    result = np.empty(image.shape, np.uint8)
    step = max(4, STRIP // width // 4 * 4)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        result[rows] = work(rows, image[rows])
    return result


def steps(values: np.ndarray, scale: float, middle: float) -> np.ndarray:
    """values * scale + middle as a whole number 0..255, uint8, for a look-up in a table of 256 places."""
    # NumPy, for OpenCV takes an array of four numbers for one colour.
    result = values * np.float32(scale)
    result += np.float32(middle + 0.5)
    return np.clip(result, 0, 255, out=result).astype(np.uint8)


def scale_light(image: np.ndarray, gain: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Multiply the light of every pixel.

    Args:
        gain: of some rows, float32 [rows, W] for all channels alike, or [rows, W, 3]; from 0. Light above white is
            lost.
    """
    def work(rows: slice, part: np.ndarray) -> np.ndarray:
        factor = gain(rows)
        factor = cv2.merge([factor, factor, factor]) if factor.ndim == 2 else factor
        return from_light(cv2.multiply(to_light(part), factor, dtype=cv2.CV_16U))

    return by_strips(image, work)


def fractions(seed: int, *shape: int) -> np.ndarray:
    """Even random numbers in 0..1 from the words of a seed, float64 [*shape]."""
    return ((words(seed, int(np.prod(shape))) + 0.5) / 65536).reshape(shape)


def normal(field: np.ndarray) -> np.ndarray:
    """Words, uint16 of any shape up to [H, W, 4], to standard normal numbers, float32."""
    return cv2.LUT(field, NORMAL_SINGLE[None])


def normal_field(seed: int, height: int, width: int) -> np.ndarray:
    """White standard normal noise, float32 [height, width]."""
    return look_up(NORMAL_SINGLE, seed, (height, width))


def smooth_field(seed: int, shape: tuple[int, ...], grain: float) -> np.ndarray:
    """Normal noise between whose knots lie `grain` px, float32 [H, W]; its standard deviation is about 0.8.

    The knots, standard normal, are joined by cubic curves; up to 1 px it is white noise. shape: begins with H and W.
    """
    height, width = shape[:2]
    if grain <= 1:
        return normal_field(seed, height, width)
    knots = normal_field(seed, int(np.ceil(height / grain)) + 1, int(np.ceil(width / grain)) + 1)
    return resized_field(knots, height, width)


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


def paint(image: np.ndarray, mask: np.ndarray, colour: tuple[float, float, float], strength: float = 1.0,
          shade: np.ndarray | None = None) -> np.ndarray:
    """Lay a colour over the picture, mixed in 8-bit levels.

    Args:
        mask: uint8 [H, W]; a share mask / 255 * strength of the pixel is covered.
        colour: levels of red, green, blue.
        strength: 0 to 1.
        shade: float32 [H, W] that multiplies the colour.
    """
    def work(rows: slice, part: np.ndarray) -> np.ndarray:
        if not cv2.countNonZero(mask[rows]):
            return part
        cover = mask[rows].astype(np.float32) * np.float32(strength / 255)
        left = 1 - cover
        if shade is not None:
            cover *= shade[rows]
        return cv2.add(cv2.multiply(part, cv2.merge([left, left, left]), dtype=cv2.CV_32F),
                       cv2.merge([cover * np.float32(level) for level in colour]), dtype=cv2.CV_8U)

    return by_strips(image, work)


def within(what: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Refuse a parameter outside its possible range.

    Args:
        what: `operation.field`.

    Raises:
        DataError: names the field and the range; also for what is no number.
    """
    if isinstance(value, str) or not low <= value <= high:
        raise DataError(f"{what} is {value!r}; from {low:g} to {high:g}{' ' + unit if unit else ''}")
