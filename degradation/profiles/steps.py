"""Steps that the families of second order share: kernels, resizes and noise, drawn for the picture's size on its way.

A picture changes its size several times. A family keeps two sides: `draws.side`, what the picture measures in this
plan, and the reference, what it would measure in a plan for 512 px, where the ranges are stated. A small face is as
damaged as a large one if it has no more pixels after the smallest step, so a shrinking step ends at its reference side
where this plan's side allows (`shrunk_side`), and lengths, kernels and cut-off frequencies scale by the quotient of the
two sides. Noise and JPEG stay as they are.
"""

import math

from anchorface.degradation.plan import Operation
from anchorface.degradation.profiles.first_order import shrunk_side
from anchorface.degradation.ranges import DECIMALS, REFERENCE_SIZE, Chance, Choice, Draws, Range, Uniform, Whole

SHAPES = ("round gaussian", "oval gaussian", "round generalised", "oval generalised", "round plateau", "oval plateau")
INTERPOLATIONS = ("area", "linear", "cubic")


def resized(draws: Draws, reference: float, interpolation: str) -> list[Operation]:
    """To the side that a 512 px plan has at `reference`; nothing where the picture measures it already."""
    return _to_side(draws, shrunk_side(REFERENCE_SIZE / reference, draws.size), interpolation)


def enlarged_back(draws: Draws, interpolation: str) -> list[Operation]:
    """To the size of the plan."""
    return _to_side(draws, draws.size, interpolation)


def _to_side(draws: Draws, side: int, interpolation: str) -> list[Operation]:
    if side == draws.side:
        return []
    draws.side = side
    return [Operation.of("resize", side=side, interpolation=interpolation)]


def length(draws: Draws, value: float, reference: float) -> float:
    """A length stated for the reference side, in px of the picture as it is."""
    return round(value * draws.side / reference, DECIMALS)


def odd_side(draws: Draws, kernel: int, reference: float) -> int:
    """A kernel's side in px of the picture as it is: odd, at least 3."""
    return max(3, 2 * int(kernel * draws.side / reference / 2) + 1)


def blur(draws: Draws, step: str, reference: float) -> Operation:
    """One of Real-ESRGAN's kernels: the sinc with its chance, else one of six bells. Keys begin with `step`."""
    kernel = draws(f"{step}.kernel")
    if draws(f"{step}.sinc"):
        width = "wide" if kernel >= 13 else "narrow"
        return sinc(draws, kernel, draws(f"{step}.cutoff_{width}"), reference)
    form, kind = draws(f"{step}.shape").split(" ")
    first = length(draws, draws(f"{step}.sigma"), reference)
    second, angle = first, 0.0
    if form == "oval":
        second, angle = length(draws, draws(f"{step}.sigma"), reference), draws(f"{step}.angle")
    peak: dict[str, float | str] = {}
    if kind != "gaussian":
        # Half of the exponents below a Gaussian's 1, half above: neither end of the range dominates.
        half = "flat" if draws(f"{step}.flat") else "sharp"
        peak = {"kind": kind, "beta": draws(f"{step}.{kind}_{half}")}
    return Operation.of("blur", sigma_x=first, sigma_y=second, angle=angle,
                        kernel=odd_side(draws, kernel, reference), **peak)


def sinc(draws: Draws, kernel: int, cutoff: float, reference: float) -> Operation:
    """A low-pass that rings; a cut-off beyond the smaller picture's highest frequency stops there."""
    scaled = min(math.pi, cutoff * reference / draws.side)
    return Operation.of("sinc", cutoff=round(scaled, DECIMALS), kernel=odd_side(draws, kernel, reference))


def noise(draws: Draws, step: str) -> Operation:
    """Gaussian or Poisson noise, in colour or grey."""
    gaussian = draws(f"{step}.gaussian")
    field = {"seed": draws.seed(), "grey": int(draws(f"{step}.grey"))}
    if gaussian:
        return Operation.of("noise", level=draws(f"{step}.level"), **field)
    return Operation.of("poisson", scale=draws(f"{step}.scale"), **field)


def blur_ranges(step: str, sigma: tuple[float, float]) -> dict[str, Range]:
    """The table of `blur`, with Real-ESRGAN's numbers; sigma in px."""
    return {
        f"{step}.kernel": Whole(7, 21, 2), f"{step}.sinc": Chance(0.1),
        f"{step}.cutoff_narrow": Uniform(math.pi / 3, math.pi), f"{step}.cutoff_wide": Uniform(math.pi / 5, math.pi),
        f"{step}.shape": Choice(SHAPES, (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)), f"{step}.sigma": Uniform(*sigma),
        f"{step}.angle": Uniform(0, 180), f"{step}.flat": Chance(0.5),
        f"{step}.generalised_flat": Uniform(0.5, 1), f"{step}.generalised_sharp": Uniform(1, 4),
        f"{step}.plateau_flat": Uniform(1, 1), f"{step}.plateau_sharp": Uniform(1, 2),
    }


def noise_ranges(step: str, level: tuple[float, float], scale: tuple[float, float]) -> dict[str, Range]:
    """The table of `noise`; level in 8-bit levels, scale as in the operation `poisson`."""
    return {f"{step}.gaussian": Chance(0.5), f"{step}.grey": Chance(0.4), f"{step}.level": Uniform(*level),
            f"{step}.scale": Uniform(*scale)}
