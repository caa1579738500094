"""Named profiles of the first-order face formula, and drawing a Plan from one.

    y = up( JPEG_q( (x (*) k_sigma) down_r + n_delta ) )

Ranges are stated for 512 px and uniform. For another size, blur and kernel scale by size/512 and so does the
shrink factor r (not below 1), so that a 128 px face is as damaged as the 512 px one; noise and JPEG stay as they are.
Sources: GFPGAN, CodeFormer and ReF-LDM training options (the published numbers), GFPGAN's dataset code (jitter).
"""

import difflib
from dataclasses import dataclass

import numpy as np

from degradation.plan import Number, Operation, Plan
from records.errors import ConfigurationError

REFERENCE_SIZE = 512
MINIMUM_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Ranges at 512 px. blur: sigma, px; shrink: factor r; noise: 8-bit levels; quality: JPEG, both ends included.

    kernel: side of the Gaussian's square, px; isotropic: probability of a round blur.
    shift_probability, shift: constant added per channel, 8-bit levels either way. grey_probability.
    jitter_probability: of brightness, contrast, saturation (factors) and hue (degrees), all four in random order.
    """

    blur: tuple[float, float]
    shrink: tuple[float, float]
    noise: tuple[float, float]
    quality: tuple[int, int]
    kernel: int = 41
    isotropic: float = 0.5
    shift_probability: float = 0.0
    shift: float = 20.0
    grey_probability: float = 0.0
    jitter_probability: float = 0.0
    brightness: tuple[float, float] = (0.5, 1.5)
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.0, 1.5)
    hue: tuple[float, float] = (-36.0, 36.0)


_PROFILES = {
    "gfpgan": Profile(
        blur=(0.1, 10), shrink=(0.8, 8), noise=(0, 20), quality=(60, 100),
        shift_probability=0.3, grey_probability=0.01, jitter_probability=0.3),
    "codeformer": Profile(blur=(0.1, 10), shrink=(1, 12), noise=(0, 15), quality=(60, 100)),
    "codeformer-large": Profile(blur=(1, 15), shrink=(4, 30), noise=(0, 20), quality=(30, 80)),
    "refldm-train": Profile(blur=(0, 16), shrink=(1, 32), noise=(0, 20), quality=(30, 100)),
    "refldm-moderate": Profile(blur=(0, 8), shrink=(1, 8), noise=(0, 15), quality=(60, 100)),
    "refldm-severe": Profile(blur=(8, 16), shrink=(8, 32), noise=(0, 20), quality=(30, 100)),
}


def profiles() -> tuple[str, ...]:
    """The names that `draw` knows."""
    return tuple(_PROFILES)


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in _PROFILES:
        near = difflib.get_close_matches(name, _PROFILES, n=2, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigurationError(f"no degradation profile {name!r}{hint} Known: {', '.join(_PROFILES)}")
    return _PROFILES[name]


def draw(name: str, rng: np.random.Generator, size: int = REFERENCE_SIZE) -> Plan:
    """Draw every number of one degradation.

    Args:
        name: one of `profiles()`.
        rng: where the numbers come from; `records.rng(seed, "degradation", position)` in a run.
        size: side of the image that the plan is for, px.

    Returns:
        The plan; real numbers are rounded to four decimals, so that the JSON form stays short.

    Raises:
        ConfigurationError: an unknown profile, or a size below 16 px.
    """
    ranges = profile(name)
    if size < MINIMUM_SIZE:
        raise ConfigurationError(f"degradation for {size} px: the smallest size is {MINIMUM_SIZE} px")
    operations = [
        _blur(ranges, rng, size),
        Operation.of("resize", side=_shrunk_side(_uniform(rng, ranges.shrink), size)),
        Operation.of("noise", level=_uniform(rng, ranges.noise), seed=int(rng.integers(2**32))),
        Operation.of("jpeg", quality=int(rng.integers(ranges.quality[0], ranges.quality[1] + 1))),
        Operation.of("resize", side=size),
        *_colour(ranges, rng),
    ]
    return Plan(profile=name, size=size, operations=tuple(operations))


def _uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    return round(float(rng.uniform(*ends)), 4)


def _blur(ranges: Profile, rng: np.random.Generator, size: int) -> Operation:
    scale = size / REFERENCE_SIZE
    round_blur = rng.random() < ranges.isotropic
    first = _uniform(rng, ranges.blur)
    second = first if round_blur else _uniform(rng, ranges.blur)
    # A Gaussian is its own mirror image, so half a turn covers all directions.
    angle = 0.0 if round_blur else _uniform(rng, (0.0, 180.0))
    kernel = max(3, 2 * int(ranges.kernel * scale / 2) + 1)
    return Operation.of(
        "blur", sigma_x=round(first * scale, 4), sigma_y=round(second * scale, 4), angle=angle, kernel=kernel)


def _shrunk_side(factor: float, size: int) -> int:
    # Below 1 the factor enlarges (GFPGAN's 0.8): kept as published at 512 px, never made larger for smaller images.
    scaled = max(factor * size / REFERENCE_SIZE, min(factor, 1.0))
    return max(4, int(size / scaled))


def _colour(ranges: Profile, rng: np.random.Generator) -> list[Operation]:
    operations: list[Operation] = []
    if rng.random() < ranges.shift_probability:
        red, green, blue = (_uniform(rng, (-ranges.shift, ranges.shift)) for _ in range(3))
        operations.append(Operation.of("shift_colour", red=red, green=green, blue=blue))
    if rng.random() < ranges.grey_probability:
        operations.append(Operation.of("grey"))
    if rng.random() < ranges.jitter_probability:
        numbers: list[tuple[str, dict[str, Number]]] = [
            ("brightness", {"factor": _uniform(rng, ranges.brightness)}),
            ("contrast", {"factor": _uniform(rng, ranges.contrast)}),
            ("saturation", {"factor": _uniform(rng, ranges.saturation)}),
            ("hue", {"turn": _uniform(rng, ranges.hue)}),
        ]
        operations += [Operation.of(numbers[i][0], **numbers[i][1]) for i in rng.permutation(4)]
    return operations
