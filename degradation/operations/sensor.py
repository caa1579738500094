"""What a sensor and its settings do, in linear light. Images: uint8 [H, W, 3], sRGB."""

import math

import cv2
import numpy as np

from anchorface.degradation.fields import words
from anchorface.degradation.light import (
    LIGHT,
    WHITE,
    by_strips,
    from_light,
    levels_of,
    normal,
    scale_light,
    to_light,
    within,
)

NEUTRAL = 6504.0
"""Colour temperature of sRGB's white, kelvin: there nothing changes."""


def sensor_noise(image: np.ndarray, *, iso: float, seed: int, full_well: float = 12000.0,
                 read_noise: float = 3.0) -> np.ndarray:
    """Shot and read noise of a sensor at this sensitivity, normal, independent in every channel and pixel.

    White is `full_well` electrons at ISO 100 and 100 / iso times as many above. With n electrons the variance is
    n + read_noise^2: the photons' own and the amplifier's. What leaves 0..white is clipped.

    Args:
        image: uint8 [H, W, 3].
        iso: 25 to 1,000,000.
        seed: of the field; words as in `noise`, one for each pixel and channel.
        full_well: electrons at white and ISO 100, 100 to 1,000,000; about 6,000 for a telephone's small pixels, 12,000
            for a compact camera's, 50,000 for a large sensor's.
        read_noise: standard deviation in electrons, 0 to 1,000; the same at every ISO (an "ISO-invariant" sensor).

    Raises:
        DataError: an impossible number.

    Source: the Poisson-Gaussian model of raw data (Foi et al. 2008, "Practical Poissonian-Gaussian noise modeling"),
    its shot noise normal; electrons and defaults are our choice.
    """
    within("sensor_noise.iso", iso, 25, 1e6)
    within("sensor_noise.full_well", full_well, 100, 1e6, "electrons")
    within("sensor_noise.read_noise", read_noise, 0, 1000, "electrons")
    height, width = image.shape[:2]
    electrons = full_well * 100 / iso
    deviation = (np.sqrt(LIGHT * electrons + read_noise**2) * (WHITE / electrons)).astype(np.float32)
    field = words(seed, height * width * 3).reshape(height, width, 3)

    def work(rows: slice, part: np.ndarray) -> np.ndarray:
        noise = cv2.multiply(normal(field[rows]), cv2.LUT(part, deviation[None]))
        return from_light(cv2.add(to_light(part), noise, dtype=cv2.CV_16U))

    return by_strips(image, work)


def banding(image: np.ndarray, *, period: float, amplitude: float, phase: float) -> np.ndarray:
    """Mains flicker under a rolling shutter: rows get more and less light by turns.

    Args:
        image: uint8 [H, W, 3].
        period: rows from one bright band to the next, 1 to 100,000 px.
        amplitude: share of the light by which a row deviates at most, 0 to 1.
        phase: of row 0 from the bright band, degrees.

    Raises:
        DataError: an impossible number.
    """
    within("banding.period", period, 1, 1e5, "px")
    within("banding.amplitude", amplitude, 0, 1)
    within("banding.phase", phase, -360, 360, "degrees")
    height, width = image.shape[:2]
    light = (1 + amplitude * np.cos(2 * np.pi * np.arange(height) / period + math.radians(phase))).astype(np.float32)
    return scale_light(image, lambda rows: np.repeat(light[rows, None], width, axis=1))


def exposure(image: np.ndarray, *, stops: float) -> np.ndarray:
    """More or less light: twice as much for each stop; highlights clip.

    Args:
        image: uint8 [H, W, 3].
        stops: -10 to 10.

    Raises:
        DataError: an impossible number.
    """
    within("exposure.stops", stops, -10, 10, "stops")
    return cv2.LUT(image, levels_of(LIGHT * 2.0**stops)[None])


def white_balance(image: np.ndarray, *, temperature: float, tint: float = 0.0) -> np.ndarray:
    """A scene under light of this colour temperature, taken with a camera set to daylight.

    Args:
        image: uint8 [H, W, 3].
        temperature: kelvin, 1,667 to 25,000. 6504 changes nothing, less is orange, more is blue. The luminance of
            white stays.
        tint: stops by which green is weakened against red and blue, -2 to 2: positive is magenta, negative green as
            of old fluorescent tubes.

    Raises:
        DataError: an impossible number.
    """
    within("white_balance.temperature", temperature, 1667, 25000, "kelvin")
    within("white_balance.tint", tint, -2, 2, "stops")
    gains = light_of(temperature) * np.array([1, 2.0**-tint, 1]) if tint else light_of(temperature)
    gains = gains / (gains @ LUMINANCE)
    return cv2.LUT(image, np.stack([levels_of(LIGHT * gain) for gain in gains], axis=-1)[None])


LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_FROM_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


def light_of(temperature: float) -> np.ndarray:
    """Red, green and blue light of a black body, (1, 1, 1) at 6504 K; float64 [3], of luminance about 1.

    Source: the Planckian locus by the cubic splines of Kim et al. (US patent 7024034, 2002); sRGB's matrix.
    """
    return np.maximum(_black_body(temperature), 0.0) / _black_body(NEUTRAL)


def _black_body(kelvin: float) -> np.ndarray:
    t = 1000 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin <= 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin <= 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    return _FROM_XYZ @ np.array([x / y, 1.0, (1 - x - y) / y])


OPERATIONS = (sensor_noise, banding, exposure, white_balance)
WORDS = {
    "sensor_noise": "sensor noise of ISO {iso:.0f}",
    "banding": "flicker bands every {period:.0f} rows, {amplitude:.0%} of the light",
    "exposure": "exposed by {stops:+z.1f} stops",
    "white_balance": "white balance for {temperature:.0f} K",
}
