"""Noise: white, coloured, of photons, of a camera. Images: uint8 [H, W, 3].

The words of the fields: see `degradation.fields`.
"""

import math
from functools import cache

import cv2
import numpy as np
from scipy.special import gammaln

from anchorface.degradation.fields import NORMAL, NORMAL_SINGLE, look_up, words
from anchorface.degradation.light import LIGHT, srgb_to_linear, within
from anchorface.records.errors import DataError

PHOTONS = 256
"""Photons that make white in `poisson`. Real-ESRGAN counts the distinct levels of the picture and takes the next power
of two; a photograph has more than 128, which gives 256. A fixed number (our choice) makes noise a matter of its level.
"""
PHOTON_QUANTILES = 4096
"""Quantiles per level in `photon_table`: the upper 12 bits of a word."""
LARGEST = 1000.0
"""Bound of standard deviations in levels, and of `poisson`'s scale."""


_NORMAL_SQUARE = NORMAL.reshape(256, 256)
SMALL = 12
"""OpenCV's arithmetic takes a second array of up to four pixels for one colour; such pictures are added up by NumPy."""


def noise(image: np.ndarray, *, level: float, seed: int, grey: int = 0) -> np.ndarray:
    """White Gaussian noise, rounded to whole levels.

    Args:
        image: uint8 [H, W, 3].
        level: standard deviation in 8-bit levels, 0..1000.
        seed: of the field, see `degradation.fields`.
        grey: 1 for the same noise in all channels, 0 for independent channels.

    Raises:
        DataError: an impossible parameter.
    """
    within("noise.level", level, 0, LARGEST)
    # The conversion rounds half to even. A field of bytes is added in a third of the time.
    kind = cv2.CV_8S if NORMAL[-1] * level < 127 else cv2.CV_16S
    table = cv2.multiply(_NORMAL_SQUARE, float(level), dtype=kind).reshape(-1)
    shape = image.shape[:2] if _switch("noise.grey", grey) else image.shape
    return _added(image, look_up(table, seed, shape))


def poisson(image: np.ndarray, *, scale: float, seed: int, grey: int = 0) -> np.ndarray:
    """Photon noise: of a level v are left v + scale (255/256 K - v), where K counts 256/255 v photons on average.

    So the mean stays, and the standard deviation is about scale times the root of the level. The result is rounded to
    whole levels.

    Args:
        image: uint8 [H, W, 3].
        scale: 1 is the noise of 256 photons in white; 0..1000.
        seed: of the field, see `degradation.fields`; a photon count needs the upper 12 bits of a word.
        grey: 1 for the noise of the luma, the same in all channels; 0 for independent channels.

    Raises:
        DataError: an impossible parameter.

    Source: Real-ESRGAN's Poisson noise (BasicSR, `generate_poisson_noise`), with 256 photons: see `PHOTONS`.
    """
    within("poisson.scale", scale, 0, LARGEST)
    of_grey = _switch("poisson.grey", grey)
    levels = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if of_grey else image
    flat = levels.reshape(levels.shape[0], -1)
    # One look-up in the table [level, quantile] per value: OpenCV's nearest-neighbour remap is the fastest gather.
    places = cv2.merge([np.right_shift(words(seed, flat.size), 4).view(np.int16).reshape(flat.shape),
                        flat.astype(np.int16)])
    counts = cv2.remap(photon_table(), places, None, cv2.INTER_NEAREST).view(np.int8).reshape(levels.shape)
    pull, push = -scale / PHOTONS, scale * 255 / PHOTONS
    if of_grey:
        if levels.size <= SMALL:
            return _added(image, np.rint(pull * levels + push * counts).astype(np.int16))
        return _added(image, cv2.addWeighted(levels, pull, counts, push, 0, dtype=cv2.CV_16S))
    if levels.size <= SMALL:
        return np.clip(np.rint((1 + pull) * levels + push * counts), 0, 255).astype(np.uint8)
    return cv2.addWeighted(levels, 1 + pull, counts, push, 0, dtype=cv2.CV_8U)


@cache
def photon_table() -> np.ndarray:
    """Photon counts minus the level, int8 in the bytes of a uint8 [256 levels, 4096 quantiles]."""
    quantiles = (np.arange(PHOTON_QUANTILES) + 0.5) / PHOTON_QUANTILES
    counts = np.arange(2 * PHOTONS, dtype=np.float64)
    table = np.zeros((256, PHOTON_QUANTILES), np.int8)
    for level in range(1, 256):
        mean = level * PHOTONS / 255
        chances = np.exp(counts * math.log(mean) - mean - gammaln(counts + 1))
        table[level] = np.searchsorted(np.cumsum(chances), quantiles) - level
    table.setflags(write=False)
    return table.view(np.uint8)


def correlated_noise(image: np.ndarray, *, red: float, green: float, blue: float, red_green: float, red_blue: float,
                     green_blue: float, seed: int) -> np.ndarray:
    """Gaussian noise that differs between the channels and is correlated between them.

    Args:
        image: uint8 [H, W, 3].
        red, green, blue: standard deviations in 8-bit levels, 0..1000.
        red_green, red_blue, green_blue: correlations, -1..1, of a possible set.
        seed: of the field, see `degradation.fields`.

    Raises:
        DataError: an impossible parameter, or correlations that cannot be together.

    Source: BSRGAN, `add_Gaussian_noise`, third branch.
    """
    for field, value in (("red", red), ("green", green), ("blue", blue)):
        within(f"correlated_noise.{field}", value, 0, LARGEST)
    for field, value in (("red_green", red_green), ("red_blue", red_blue), ("green_blue", green_blue)):
        within(f"correlated_noise.{field}", value, -1, 1)
    mixing = np.diag([red, green, blue]) @ _root(red_green, red_blue, green_blue)
    normal = look_up(NORMAL_SINGLE, seed, image.shape)
    return cv2.add(image, cv2.transform(normal, mixing), dtype=cv2.CV_8U)


def _root(red_green: float, red_blue: float, green_blue: float) -> np.ndarray:
    """Lower triangle whose square is the matrix of these correlations, float64 [3, 3]."""
    second = math.sqrt(1 - red_green**2)
    cross = (green_blue - red_green * red_blue) / second if second > 1e-6 else 0.0
    rest = 1 - red_blue**2 - cross**2
    # Drawn correlations are rounded to four decimals, so that a set at the edge may lie a little beyond it.
    if rest < -0.01 or abs(red_green * red_blue + second * cross - green_blue) > 0.01:
        raise DataError(f"correlated_noise.green_blue is {green_blue}; impossible beside red_green {red_green} and "
                        f"red_blue {red_blue}")
    return np.array([[1, 0, 0], [red_green, second, 0], [red_blue, cross, math.sqrt(max(rest, 0.0))]])


def camera_noise(image: np.ndarray, *, electrons: float, read: float, red_gain: float, blue_gain: float,
                 seed: int) -> np.ndarray:
    """The picture as a sensor with a colour filter would take it: noise in linear light, one colour a pixel, demosaic.

    The sRGB levels are turned into light and divided by the white balance's gains; behind a red-green / green-blue
    mosaic, each pixel counts N electrons and reads N + sqrt(N + read^2) times a standard normal number; missing colours
    are interpolated, the gains given back, and light turned into sRGB again. So shadows, red and blue are noisier, and
    noise is blotchy, because it passes the interpolation. Lens, colour matrix and tone curve are left out.

    Args:
        image: uint8 [H, W, 3].
        electrons: that make white in a pixel, 1..1e6: few where little light was amplified a lot (a high ISO).
        read: the amplifier's noise, electrons (standard deviation), 0..1e6.
        red_gain, blue_gain: of the white balance, 0.1..10.
        seed: of the field, see `degradation.fields`; one word a pixel of the picture with two more pixels on all sides.

    Raises:
        DataError: an impossible parameter.

    Source: the noise model and the order of the steps of Brooks and others, Unprocessing Images (CVPR 2019), which
    BSRGAN's camera noise follows; what is left out and the bilinear demosaic are our choice.
    """
    check_camera(electrons=electrons, read=read, red_gain=red_gain, blue_gain=blue_gain, seed=seed)
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    normal = look_up(NORMAL_SINGLE, seed, padded.shape[:2])
    raw = np.empty(padded.shape[:2], np.uint16)
    gains = (red_gain, 1.0, blue_gain)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        light = LIGHT / gains[channel]
        spread = np.sqrt(light * electrons + read**2) / electrons
        site = (slice(row, None, 2), slice(column, None, 2))
        levels = padded[site][..., channel]
        values = np.take((spread * _RAW_WHITE).astype(np.float32), levels)
        values *= normal[site]
        # The half rounds where the conversion to whole numbers cuts.
        values += np.take((light * _RAW_WHITE + _RAW_BLACK + 0.5).astype(np.float32), levels)
        raw[site] = np.clip(values, 0, 65535, out=values)
    planes = cv2.split(cv2.demosaicing(raw, cv2.COLOR_BayerRGGB2RGB)[2:2 + height, 2:2 + width])
    return cv2.merge([np.take(_developed(gain), plane) for gain, plane in zip(gains, planes, strict=True)])


def check_camera(*, electrons: float, read: float, red_gain: float, blue_gain: float, seed: int) -> None:
    """Refuse what `camera_noise` cannot make.

    Raises:
        DataError: names the parameter.
    """
    for field, value, low, high in (("electrons", electrons, 1, 1e6), ("read", read, 0, 1e6),
                                    ("red_gain", red_gain, 0.1, 10), ("blue_gain", blue_gain, 0.1, 10)):
        within(f"camera_noise.{field}", value, low, high)
    words(seed, 1)


_RAW_BLACK, _RAW_WHITE = 8192.0, 32768.0
"""Black above zero and white above black in a 16-bit raw value, so that noise is cut off on neither side."""


def _developed(gain: float) -> np.ndarray:
    """The sRGB level of each 16-bit raw value after a gain, uint8 [65536]."""
    light = ((np.arange(65536, dtype=np.float64) - _RAW_BLACK) * (gain / _RAW_WHITE)).clip(0, 1)
    # Between two levels, the one that is nearer as a level: the borders lie at half levels.
    return np.searchsorted(srgb_to_linear((np.arange(255) + 0.5) / 255), light).astype(np.uint8)


def _added(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """An image and a field, int8 or int16 [H, W] or [H, W, 3], clipped to 0..255."""
    if field.ndim == 2:
        field = cv2.merge([field, field, field])
    if field.size <= SMALL:
        return np.clip(image.astype(np.int16) + field, 0, 255).astype(np.uint8)
    if field.dtype == np.int16:
        return cv2.add(image, field, dtype=cv2.CV_8U)
    # Levels less 128 are signed bytes, whose sums OpenCV clips at the same ends.
    summed = cv2.add(np.bitwise_xor(image, 128).view(np.int8), field).view(np.uint8)
    return np.bitwise_xor(summed, 128, out=summed)


def _switch(field: str, value: float) -> bool:
    if value not in (0, 1):
        raise DataError(f"{field} is {value}; 0 or 1 is needed")
    return value == 1


def _grey_words(grey: int) -> str:
    return "grey " if grey else ""


def _correlated_words(*, red: float, green: float, blue: float, red_green: float, red_blue: float, green_blue: float,
                      seed: int) -> str:
    return f"correlated noise of {red:.1f} {green:.1f} {blue:.1f} levels"


OPERATIONS = (noise, poisson, correlated_noise, camera_noise)
WORDS = {
    "noise": lambda *, level, seed, grey=0: f"{_grey_words(grey)}noise of {level:.1f} levels",
    "poisson": lambda *, scale, seed, grey=0: f"{_grey_words(grey)}photon noise times {scale:.2f}",
    "correlated_noise": _correlated_words,
    "camera_noise": "camera noise of {electrons:.0f} electrons in white, {read:.1f} read",
}
