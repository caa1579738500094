"""IConFace's mix of Real-ESRGAN's second order and BSRGAN, with a strength from 0 to 16.

The paper gives the two families and how often a strength is drawn (0-3: .5, 4-8: .3, 9-16: .2, even inside a bucket),
not what strength does. Our choice: **strength 4 is both families as published**, because their factor is 4; elsewhere
it is the factor by which the side shrinks to the target (at least 1), and it scales every range of a table:

    g = strength / 4 up to 4, then its square root: 0 at strength 0, 1 at 4, 2 at 16
    a = min(1, strength / 4)

    blur widths, the square roots of variances     times g; kernels' sides too, never smaller than published
    JPEG's loss, 100 - quality                     times g, quality not below 20
    noise levels, Poisson scale, the square root   times g up to 4, then its square root: on fewer pixels a face suffers
    of one over electrons                          more from the same noise
    chances of sharpening, second blur, sinc,      times a
    halving, JPEG, camera noise
    sides of the resizes of second order           to the power a
    sinc's cut-off                                 its distance from pi times a
    BSRGAN's resize by chance                      1 + (factor - 1) strength / 4

So strength 0 is nearly clean (JPEG of quality 100), and 16 ends at 32 px of 512. In the table stand the ranges of
strength 4; a plan bears the strength in its name: `iconface-07`.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from anchorface.degradation.plan import Operation, Value
from anchorface.degradation.profiles import bsrgan, second_order
from anchorface.degradation.ranges import Chance, Choice, Draws, LogUniform, Profile, Range, Uniform, Whole

PUBLISHED = 4
"""The strength at which both families are as published."""
STRONGEST = 16
LOWEST_QUALITY = 20
BUCKETS = ((range(4), 0.5), (range(4, 9), 0.3), (range(9, 17), 0.2))
FAMILIES = {"second_order": second_order.PROFILES[0], "bsrgan": bsrgan.PROFILES[0]}


def iconface(draws: Draws) -> list[Operation]:
    """One of the two families at a strength."""
    strength = int(draws("strength.value"))
    name = "second_order" if draws("family.second_order") else "bsrgan"
    table = {key.removeprefix(f"{name}."): value for key, value in draws.ranges.items() if key.startswith(f"{name}.")}
    hand = Draws(at_strength(table, strength), draws.rng, draws.size)
    operations = FAMILIES[name].family(hand)
    draws.seen += [(f"{name}.{key}", value) for key, value in hand.seen]
    draws.name = f"iconface-{strength:02d}"
    return operations


def iconface_at(strength: int) -> Profile:
    """The profile at one strength, 0..16: for a strip of strengths.

    Raises:
        ConfigurationError: another strength.
    """
    profile, = PROFILES
    return replace(profile, name=f"iconface-{strength:02d}",
                   ranges={**profile.ranges, "strength.value": Choice((strength,))})


def at_strength(ranges: Mapping[str, Range], strength: int) -> dict[str, Range]:
    """A table of either family at a strength: see above."""
    return {key: _scaled(key, value, strength / PUBLISHED) for key, value in ranges.items()}


def _scaled(key: str, old: Range, share: float) -> Range:
    """A range at a share of the published strength."""
    if share == 1:
        return old
    part = min(1.0, share)
    gain, grain = (share, share) if share < 1 else (math.sqrt(share), math.sqrt(math.sqrt(share)))
    step, parameter = key.split(".")
    what = parameter.split("_")[0]
    if isinstance(old, Chance):
        return Chance(old.probability * part) if (step, what) in _GROWING_CHANCES else old
    if isinstance(old, Choice):
        return old
    low, high = old.low, old.high
    match what:
        case "shrink":
            return Uniform(max(1.0, low * share), max(1.0, high * share))
        case "factor":
            return Uniform(1 + (low - 1) * share, 1 + (high - 1) * share)
        case "sigma" if step != "sharpen":
            return Uniform(low * gain, high * gain)
        case "level" | "scale":
            return Uniform(low * grain, high * grain)
        case "variance":
            return Uniform(low * gain**2, high * gain**2)
        case "electrons" if grain > 0:
            return LogUniform(low / grain**2, high / grain**2)
        case "kernel" if gain > 1 and step != "sharpen":
            least, most = (2 * round((side * gain - 1) / 2) + 1 for side in (low, high))
            return Whole(least, most, 2)
        case "quality":
            least, most = (max(LOWEST_QUALITY, round(100 - (100 - quality) * gain)) for quality in (low, high))
            return Whole(least, most)
        case "up" | "down":
            return Uniform(low**part, high**part)
        case "cutoff":
            return Uniform(*(math.pi - (math.pi - cutoff) * part for cutoff in (low, high)))
    return old


_GROWING_CHANCES = {("sharpen", "chance"), ("blur1", "sinc"), ("blur2", "chance"), ("blur2", "sinc"), ("final", "sinc"),
                    ("halve", "chance"), ("jpeg", "chance"), ("camera", "chance")}


RANGES: dict[str, Range] = {
    "strength.value": Choice(tuple(range(STRONGEST + 1)), tuple(
        share / len(bucket) for bucket, share in BUCKETS for _ in bucket)),
    "family.second_order": Chance(0.5),
    **{f"{name}.{key}": value for name, one in FAMILIES.items() for key, value in one.ranges.items()},
}
LIMITS: dict[str, tuple[Value, ...]] = {
    # A recipe in JSON names a strength in quotes.
    "strength.value": (*range(STRONGEST + 1), *map(str, range(STRONGEST + 1))),
    **{f"{name}.{key}": limit for name, one in FAMILIES.items() for key, limit in one.limits.items()},
}

PROFILES = (Profile(name="iconface", family=iconface, ranges=RANGES, limits=LIMITS,
                    source="IConFace, supplement: both families and the buckets; what strength scales: our choice"),)
