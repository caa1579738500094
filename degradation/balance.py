"""Drawing plans so that their severities follow a wanted distribution.

The severity of a plan is measured: the PSNR, in dB, of a small fixed set of clean faces degraded by it (less is worse).
A profile draws what it draws; to get a histogram of severities instead, a bin is drawn by its share, then plans until
one falls into it. So inside a bin plans are distributed as the profile's own are there.

For speed a plan is measured by its twin: the same numbers drawn for the size of the set's faces, 64 px say, where
lengths scale with the side and a face is as damaged as the large one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from anchorface.degradation.plan import Plan
from anchorface.degradation.profiles import draw, with_overrides
from anchorface.degradation.ranges import REFERENCE_SIZE, Profile
from anchorface.degradation.replay import apply, check_image
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.seeds import rng as generator

UNCHANGED = 100.0
"""Severity of a plan that changes nothing, dB; a bin can end there, where a PSNR is infinite."""
TRIES = 4000
"""Plans drawn at most until one falls into the bin. A bin with one plan in 400 is missed once in 20,000 draws."""
CALIBRATION = 256


@dataclass(frozen=True)
class Severity:
    """A wanted distribution of severities: bins (lowest dB, highest dB, share). Inside a bin nothing is asked for.

    Raises:
        ConfigurationError: bins that are empty or overlap, or shares that do not add up to 1; the bin is named.
    """

    bins: tuple[tuple[float, float, float], ...]

    def __post_init__(self) -> None:
        for place, row in enumerate(self.bins):
            if not (isinstance(row, tuple) and len(row) == 3) or not all(
                    isinstance(value, int | float) and math.isfinite(value) for value in row):
                raise ConfigurationError(f"severity, bin {place}: {row!r} is not (lowest dB, highest dB, share)")
            low, high, share = row
            if not low < high or share < 0:
                raise ConfigurationError(f"severity, bin {place}: {low} to {high} dB with share {share} is no bin")
            if place and low < self.bins[place - 1][1]:
                raise ConfigurationError(f"severity, bin {place}: begins at {low} dB, inside the bin before it")
        if not math.isclose(total := sum(row[2] for row in self.bins), 1.0, abs_tol=1e-6):
            raise ConfigurationError(f"severity: the shares add up to {total:g}, not to 1")

    def draw(self, rng: np.random.Generator) -> int:
        """The number of a bin, by the shares."""
        ends = np.cumsum([share for _, _, share in self.bins])
        return int(np.searchsorted(ends / ends[-1], rng.random(), side="right"))

    def holds(self, place: int, decibels: float) -> bool:
        """Whether bin `place` holds a severity."""
        low, high, _ = self.bins[place]
        return low <= decibels < high or decibels == high == UNCHANGED


def severity(plan: Plan, images: Sequence[np.ndarray]) -> float:
    """PSNR of a set of clean faces degraded by a plan, dB: of their mean squared error taken together.

    Args:
        images: uint8 [H, W, 3] each, best of the plan's size; `UNCHANGED` if none of them changes.

    Raises:
        DataError: no image, or one of another kind.
    """
    check_set(images)
    error = sum(cv2.norm(apply(image, plan), image, cv2.NORM_L2SQR) for image in images)
    count = sum(image.size for image in images)
    return UNCHANGED if error == 0 else min(UNCHANGED, 10 * math.log10(255**2 * count / error))


def draw_balanced(name: str | Profile, rng: np.random.Generator, size: int = REFERENCE_SIZE, *, target: Severity,
                  images: Sequence[np.ndarray], overrides: Mapping[str, Any] | None = None, tries: int = TRIES,
                  ) -> Plan:
    """Draw a plan so that the severities of many follow `target`; a pure function of its arguments.

    Args:
        name, rng, size, overrides: as in `draw`.
        target: the wanted distribution.
        images: the fixed set, square faces uint8 [S, S, 3] of one side; four of 64 px cost about a millisecond a try.
        tries: plans measured at most.

    Returns:
        A plan for `size`, whose twin for S px has a severity in the bin that was drawn.

    Raises:
        ConfigurationError: no plan of the profile fell into the bin in so many tries; the bin is named. And as `draw`.
        DataError: images that are no such set.
    """
    chosen = with_overrides(name, overrides)
    side = check_set(images)
    place = target.draw(rng)
    for _ in range(tries):
        seed = int(rng.integers(2**63))
        if target.holds(place, severity(draw(chosen, _seeded(seed), side), images)):
            return draw(chosen, _seeded(seed), size)
    raise _unreachable(chosen, target, place, f"none of {tries} plans fell into it")


def acceptance(name: str | Profile, *, target: Severity, images: Sequence[np.ndarray],
               overrides: Mapping[str, Any] | None = None, count: int = CALIBRATION) -> tuple[float, ...]:
    """The share of the profile's own plans that falls into each bin: 1 / share is the mean number of tries there.

    Done once before a long run, it finds what cannot be reached. Args as in `draw_balanced`; count: plans measured.

    Raises:
        ConfigurationError: a bin is asked for that none of the plans falls into; names it and says what is reached.
    """
    chosen = with_overrides(name, overrides)
    side = check_set(images)
    reached = [severity(draw(chosen, generator(0, "severity", position), side), images) for position in range(count)]
    shares = tuple(sum(target.holds(place, one) for one in reached) / count for place in range(len(target.bins)))
    for place, share in enumerate(shares):
        if target.bins[place][2] > 0 and share == 0:
            low, high = np.percentile(reached, (1, 99))
            raise _unreachable(chosen, target, place, f"98 % of its plans lie between {low:.1f} and {high:.1f} dB")
    return shares


def check_set(images: Sequence[np.ndarray]) -> int:
    """The side of the faces in a set, px.

    Raises:
        DataError: no image, one of another kind, or sides that differ.
    """
    if not len(images):
        raise DataError("severity: images is empty; a few clean faces are needed")
    for image in images:
        check_image(image)
    shapes = {image.shape[:2] for image in images}
    if len(shapes) > 1 or any(height != width for height, width in shapes):
        raise DataError(f"severity: images of one square size are needed, not {sorted(shapes)}")
    return int(images[0].shape[0])


def _seeded(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _unreachable(chosen: Profile, target: Severity, place: int, why: str) -> ConfigurationError:
    low, high, share = target.bins[place]
    return ConfigurationError(f"severity, bin {place} ({low:g} to {high:g} dB, share {share:g}): profile "
                              f"{chosen.name!r} does not reach it: {why}")
