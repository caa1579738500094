"""What an old print is made of and what time does to it. Images: uint8 [H, W, 3]."""

import math

import cv2
import numpy as np

from anchorface.degradation.light import (
    LIGHT,
    by_strips,
    centred,
    levels_of,
    scale_light,
    smooth_field,
    steps,
    waves,
    within,
)
from anchorface.records.errors import DataError

BLACK = 2.2
"""Density of a print's black: a 160th of the light that its white gives back."""
STAIN = np.array([0.12, 0.38, 1.0])
"""How much red, green and blue light a yellow-brown stain takes away, as densities (our choice, after old albumen)."""


def fade(image: np.ndarray, *, cyan: float, magenta: float, yellow: float) -> np.ndarray:
    """Dyes bleached by light and time: each keeps a share of its density, black stays no black.

    Density is -log10 of light, at most 2.2 in a print; cyan stands for red light, magenta for green, yellow for blue.

    Args:
        image: uint8 [H, W, 3].
        cyan, magenta, yellow: share of the dye's density that is lost, 0 to 1.

    Raises:
        DataError: an impossible share.
    """
    lost = {"cyan": cyan, "magenta": magenta, "yellow": yellow}
    for dye, share in lost.items():
        within(f"fade.{dye}", share, 0, 1)
    density = np.minimum(-np.log10(np.maximum(LIGHT, 1e-6)), BLACK)
    tables = [levels_of(10.0 ** (-density * (1 - share))) if share else np.arange(256, dtype=np.uint8)
              for share in lost.values()]
    return cv2.LUT(image, np.stack(tables, axis=-1)[None])


def yellow(image: np.ndarray, *, density: float) -> np.ndarray:
    """Yellowed paper and gelatine: an even stain that takes away blue most, green less, red least.

    Args:
        image: uint8 [H, W, 3].
        density: of the stain for blue light, 0 to 3.

    Raises:
        DataError: an impossible density.
    """
    within("yellow.density", density, 0, 3)
    tables = [levels_of(LIGHT * 10.0 ** (-density * share)) for share in STAIN]
    return cv2.LUT(image, np.stack(tables, axis=-1)[None])


def stains(image: np.ndarray, *, density: float, grain: float, seed: int) -> np.ndarray:
    """Blotches of damp: the stain of `yellow`, where a smooth field is high.

    Args:
        image: uint8 [H, W, 3].
        density: for blue light where the field is 1, 0 to 3; it grows evenly with the field from 0.5 on.
        grain: px from one knot of the field to the next, 1 to 10,000.
        seed: of the field, see `light.smooth_field`.

    Raises:
        DataError: an impossible number.
    """
    within("stains.density", density, 0, 3)
    within("stains.grain", grain, 1, 1e4, "px")
    field = smooth_field(seed, image.shape, grain)
    # In steps of 1/64 of the field's unit: a look-up instead of three powers.
    depth = np.arange(256) / 32
    tables = [(10.0 ** (-density * share * depth)).astype(np.float32)[None] for share in STAIN]

    def gain(rows: slice) -> np.ndarray:
        index = steps(field[rows], 64, -32)
        return cv2.merge([cv2.LUT(index, table) for table in tables])

    return scale_light(image, gain)


def film_grain(image: np.ndarray, *, strength: float, grain: float, seed: int) -> np.ndarray:
    """Grain of a black-and-white film: the same in all channels, coarser than a pixel, strongest in the middle tones.

    Args:
        image: uint8 [H, W, 3].
        strength: standard deviation at mid grey, in levels, 0 to 128; elsewhere 2 sqrt(v (1 - v)) times that, with v
            the value 0..1.
        grain: size of a clump, px, 1 to 1,000.
        seed: of the field, see `light.smooth_field`.

    Raises:
        DataError: an impossible number.
    """
    within("film_grain.strength", strength, 0, 128, "levels")
    within("film_grain.grain", grain, 1, 1000, "px")
    field = smooth_field(seed, image.shape, grain)
    values = np.arange(256) / 255
    amplitude = (strength * 2 * np.sqrt(values * (1 - values))).astype(np.float32)[None]

    def work(rows: slice, part: np.ndarray) -> np.ndarray:
        grains = cv2.merge([field[rows]] * 3)
        return cv2.add(part, cv2.multiply(cv2.LUT(part, amplitude), grains), dtype=cv2.CV_8U)

    return by_strips(image, work)


def paper(image: np.ndarray, *, strength: float, grain: float, kind: str, seed: int) -> np.ndarray:
    """Texture of the paper in raking light: it gives back more and less light, in linear light.

    Args:
        image: uint8 [H, W, 3].
        strength: share of the light by which it varies, 0 to 1: of one standard deviation of `light.smooth_field`
            (fibre), of the amplitude (silk).
        grain: px from one knot or one bump to the next, 1 to 1,000.
        kind: fibre (irregular) or silk (the hexagonal honeycomb pressed into portrait papers of the 1970s).
        seed: of the fibres; for silk it turns the honeycomb.

    Raises:
        DataError: an impossible number or kind.
    """
    within("paper.strength", strength, 0, 1)
    within("paper.grain", grain, 1, 1000, "px")
    height, width = image.shape[:2]
    if kind == "fibre":
        field = smooth_field(seed, image.shape, grain)
        return scale_light(image, lambda rows: np.maximum(1 + np.float32(strength) * field[rows], 0))
    if kind != "silk":
        raise DataError(f"paper.kind is {kind!r}; fibre or silk")
    columns, lines = _honeycomb(height, width, grain, int(seed) % 60)

    def gain(rows: slice) -> np.ndarray:
        first, second, third = (waves(across, down[rows]) for across, down in zip(columns, lines, strict=True))
        return 1 + np.float32(strength / 3) * (first + second + third)

    return scale_light(image, gain)


def _honeycomb(height: int, width: int, grain: float, angle: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Turns along x and along y of three waves at 60 degrees to each other, whose sum has its tops at the bumps."""
    # Rows of bumps lie sqrt(3)/2 of a bump's distance apart.
    period = grain * math.sqrt(3) / 2
    turns = [math.radians(angle + step) for step in (0, 60, 120)]
    return ([centred(width) * (math.cos(turn) / period) for turn in turns],
            [centred(height) * (math.sin(turn) / period) for turn in turns])


def halftone(image: np.ndarray, *, lines: float, angle: float, hardness: float) -> np.ndarray:
    """Printed in dots: each channel against its own screen of thresholds, 30 degrees from the next channel's.

    A threshold is the rank, 0..1, of the mean of two waves at right angles, so that even tones keep their mean. The
    result is 0.5 + hardness (v - threshold), clipped, with v the value 0..1.

    Args:
        image: uint8 [H, W, 3].
        lines: of dots in the height of the picture, 1 to 10,000.
        angle: of the red (cyan ink) channel's screen, degrees; green and blue follow at +30 and +60. A grey picture
            (all channels alike) is printed with one screen in one ink.
        hardness: 1 hardly dots, 10 hard dots, 0.1 to 100.

    Raises:
        DataError: an impossible number.
    """
    within("halftone.lines", lines, 1, 10000)
    within("halftone.angle", angle, -360, 360, "degrees")
    within("halftone.hardness", hardness, 0.1, 100)
    height, width = image.shape[:2]
    turns = [math.radians(angle + step) for step in (0, 30, 60)]
    if np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2]):
        turns = turns[:1]
    x, y = centred(width) * (lines / height), centred(height) * (lines / height)

    def work(rows: slice, part: np.ndarray) -> np.ndarray:
        ranks = []
        for turn in turns:
            screen = (waves(x * math.cos(turn), y[rows] * math.sin(turn))
                      + waves(x * -math.sin(turn), y[rows] * math.cos(turn)))
            ranks.append(cv2.LUT(steps(screen, 63.75, 127.5), _RANKS[None]))
        threshold = cv2.merge(ranks if len(ranks) == 3 else ranks * 3)
        return cv2.addWeighted(part, hardness, threshold, -hardness, 127.5)

    return by_strips(image, work)


def _ranks() -> np.ndarray:
    """Threshold, in levels, for each of 256 values of the wave from -2 to 2: the share of all phases that is lower."""
    wave = np.cos(2 * np.pi * (np.arange(256) + 0.5) / 256)
    every = np.sort((wave[:, None] + wave[None]).ravel())
    return np.rint(np.searchsorted(every, np.arange(256) / 63.75 - 2) / every.size * 255).astype(np.uint8)


_RANKS = _ranks()

OPERATIONS = (fade, yellow, stains, film_grain, paper, halftone)
WORDS = {
    "fade": "dyes faded by {cyan:.0%} cyan, {magenta:.0%} magenta, {yellow:.0%} yellow",
    "yellow": "yellowed by a density of {density:.2f}",
    "stains": "stains of density {density:.2f}",
    "film_grain": "film grain of {strength:.1f} levels, {grain:.1f} px",
    "paper": "{kind} paper, {strength:.0%} of the light",
    "halftone": "halftone of {lines:.0f} lines at {angle:.0f} degrees",
}
