"""BSRGAN: seven kinds of damage in random order, then JPEG.

Two blurs, two resizes, noise, JPEG and a camera's noise are shuffled; the resize to the target comes after the other
one (the two change places if drawn otherwise). With a chance the picture is first halved, and the rest works for
factor 2 instead of 4. The published pipeline ends at a quarter of the side; the picture is then enlarged to the size
that it had, as restoration papers do (our choice).

Where the source blurs with a kernel shifted by half a step and takes every fourth pixel, a plan blurs with the kernel
in its place and resizes linearly to a quarter: the same weights, because a linear resize by a whole number reads the
middle of each block. Its bicubic halving with a low-pass stands in the plan as `area` (our choice), and its trained
camera model as the operation `camera_noise`, whose ranges are those of Unprocessing Images (CVPR 2019), in electrons.
Ranges are stated for 512 px; how they scale stands in `degradation.profiles.steps`.
"""

import math
from typing import Any

import numpy as np

from anchorface.degradation.plan import Operation
from anchorface.degradation.profiles.limits import limits
from anchorface.degradation.profiles.steps import INTERPOLATIONS, enlarged_back, length, odd_side, resized
from anchorface.degradation.ranges import (
    DECIMALS,
    REFERENCE_SIZE,
    Chance,
    Choice,
    Draws,
    LogUniform,
    Profile,
    Range,
    Uniform,
    Whole,
)

NOISES = ("colour", "grey", "correlated")
STEPS = 7


def bsrgan(draws: Draws) -> list[Operation]:
    """Perhaps halved, seven steps in random order, JPEG, and back to size."""
    reference, target = float(REFERENCE_SIZE), REFERENCE_SIZE / draws("target.shrink")
    operations: list[Operation] = []
    halved = draws("halve.chance") and target < reference / 2
    if halved:
        reference /= 2
        operations += resized(draws, reference, draws("halve.interpolation"))
    table = "halved" if halved else "full"

    for step in order(draws):
        if step in (0, 1):
            operations.append(blur(draws, table, reference))
        elif step == 2:
            added, reference = shrink(draws, table, reference, target)
            operations += added
        elif step == 3:
            operations += resized(draws, target, draws("final.interpolation"))
            reference = target
        elif step == 4:
            operations.append(noise(draws))
        elif step == 5 and draws("jpeg.chance"):
            operations.append(Operation.of("jpeg", quality=draws("jpeg.quality")))
        elif step == 6 and draws("camera.chance"):
            operations.append(camera(draws))
    operations.append(Operation.of("jpeg", quality=draws("final.quality")))
    return operations + enlarged_back(draws, draws("back.interpolation"))


def order(draws: Draws) -> list[int]:
    """Of the seven steps, 3 (the resize to the target) after 2 (the other resize)."""
    steps = draws.order(STEPS)
    one, other = steps.index(2), steps.index(3)
    if one > other:
        steps[one], steps[other] = 3, 2
    return steps


def blur(draws: Draws, table: str, reference: float) -> Operation:
    """A round Gaussian, or an oval one whose variances are drawn."""
    kernel = odd_side(draws, draws("blur.kernel"), reference)
    if draws("blur.round"):
        sigma = length(draws, draws(f"blur.sigma_{table}"), reference)
        return Operation.of("blur", sigma_x=sigma, sigma_y=sigma, angle=0.0, kernel=kernel)
    first, second = (length(draws, math.sqrt(draws(f"blur.variance_{table}")), reference) for _ in range(2))
    return Operation.of("blur", sigma_x=first, sigma_y=second, angle=draws("blur.angle"), kernel=kernel)


def shrink(draws: Draws, table: str, reference: float, target: float) -> tuple[list[Operation], float]:
    """The resize by chance, and the reference side after it: to any side, or blurred and every n-th pixel taken."""
    if draws("shrink.any"):
        after = reference / draws(f"shrink.factor_{table}")
        return resized(draws, after, draws("shrink.interpolation")), after
    sigma = length(draws, draws(f"decimate.sigma_{table}"), reference)
    kernel = odd_side(draws, draws("decimate.kernel"), reference)
    blurred = Operation.of("blur", sigma_x=sigma, sigma_y=sigma, angle=0.0, kernel=kernel)
    return [blurred, *resized(draws, target, "linear")], target


def noise(draws: Draws) -> Operation:
    """Gaussian: independent in the channels, the same in all, or of random covariance."""
    kind = draws("noise.kind")
    if kind == "correlated":
        return correlated(draws)
    level, seed = draws("noise.level"), draws.seed()
    return Operation.of("noise", level=level, seed=seed, grey=int(kind == "grey"))


def correlated(draws: Draws) -> Operation:
    """A drawn covariance: eigenvalues up to the square of a level, along random axes, all entries made positive."""
    level = draws("correlated.level")
    shares = np.array([draws("correlated.eigenvalue") for _ in range(3)])
    axes = np.linalg.svd(np.array([[draws("correlated.axis") for _ in range(3)] for _ in range(3)]))[0]
    covariance = level**2 * np.abs((axes.T * shares) @ axes)
    # Without the signs it may be no covariance; drawing from it by singular values, as the source does, draws from the
    # symmetric matrix with the absolute eigenvalues instead.
    values, vectors = np.linalg.eigh(covariance)
    covariance = (vectors * np.abs(values)) @ vectors.T
    deviations = np.sqrt(np.maximum(np.diag(covariance), 1e-8))
    shared = covariance / np.outer(deviations, deviations)
    numbers = dict(zip(("red", "green", "blue"), deviations, strict=True)) | {
        "red_green": shared[0, 1], "red_blue": shared[0, 2], "green_blue": shared[1, 2]}
    parameters: dict[str, Any] = {key: round(float(value), DECIMALS) for key, value in numbers.items()}
    return Operation.of("correlated_noise", **parameters, seed=draws.seed())


def camera(draws: Draws) -> Operation:
    """A sensor's noise."""
    return Operation.of("camera_noise", electrons=draws("camera.electrons"), read=draws("camera.read"),
                        red_gain=draws("camera.red_gain"), blue_gain=draws("camera.blue_gain"), seed=draws.seed())


def scale_ranges(table: str, factor: float) -> dict[str, Range]:
    """The ranges that depend on the factor, 4 or 2: px, and px^2 of variances."""
    return {f"blur.sigma_{table}": Uniform(0, 2 + 0.2 * factor), f"blur.variance_{table}": Uniform(0, 4 + factor),
            f"shrink.factor_{table}": Uniform(1, 2 * factor), f"decimate.sigma_{table}": Uniform(0.1, 0.6 * factor)}


RANGES: dict[str, Range] = {
    "target.shrink": Uniform(4, 4),
    "halve.chance": Chance(0.25), "halve.interpolation": Choice(INTERPOLATIONS, (4, 1, 1)),
    "blur.round": Chance(0.5), "blur.angle": Uniform(0, 180), "blur.kernel": Whole(7, 25, 2),
    **scale_ranges("full", 4), **scale_ranges("halved", 2),
    "shrink.any": Chance(0.75), "shrink.interpolation": Choice(INTERPOLATIONS), "decimate.kernel": Whole(25, 25),
    "final.interpolation": Choice(INTERPOLATIONS),
    "noise.kind": Choice(NOISES, (0.4, 0.4, 0.2)), "noise.level": Whole(2, 25),
    "correlated.level": Uniform(25, 25), "correlated.eigenvalue": Uniform(0, 1), "correlated.axis": Uniform(0, 1),
    "jpeg.chance": Chance(0.9), "jpeg.quality": Whole(30, 95),
    "camera.chance": Chance(0.25), "camera.electrons": LogUniform(83, 10000), "camera.read": Uniform(0.6, 1.6),
    "camera.red_gain": Uniform(1.9, 2.4), "camera.blue_gain": Uniform(1.5, 1.9),
    "final.quality": Whole(30, 95), "back.interpolation": Choice(("linear",)),
}

LIMITS = limits(RANGES, kind=NOISES)

PROFILES = (Profile(name="bsrgan", family=bsrgan, ranges=RANGES, limits=LIMITS,
                    source="BSRGAN, utils_blindsr.py; the camera's numbers: Unprocessing Images, and our choice"),)
