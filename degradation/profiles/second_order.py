"""Real-ESRGAN's second order: blur, resize, noise and JPEG twice, with ringing at the end.

    sharpen -> (blur -> resize -> noise -> JPEG) -> (blur -> resize -> noise) -> {JPEG, resize to a quarter -> sinc}

where the last two come in random order. There the published pipeline ends, at a quarter of the side; the picture is
then enlarged to the size that it had, as restoration papers do (our choice, and its interpolation too).
Ranges are stated for 512 px; how they scale stands in `degradation.profiles.steps`.
"""

import math

from anchorface.degradation.plan import Operation
from anchorface.degradation.profiles.limits import limits
from anchorface.degradation.profiles.steps import (
    INTERPOLATIONS,
    SHAPES,
    blur,
    blur_ranges,
    enlarged_back,
    length,
    noise,
    noise_ranges,
    odd_side,
    resized,
    sinc,
)
from anchorface.degradation.ranges import REFERENCE_SIZE, Chance, Choice, Draws, Profile, Range, Uniform, Whole

MODES = ("up", "down", "keep")


def second_order(draws: Draws) -> list[Operation]:
    """Two rounds of damage, the second at a quarter of the side, and back to size."""
    full, target = float(REFERENCE_SIZE), REFERENCE_SIZE / draws("target.shrink")
    operations = [sharpen(draws)] if draws("sharpen.chance") else []

    operations.append(blur(draws, "blur1", full))
    first = full * factor(draws, "resize1")
    operations += resized(draws, first, draws("resize1.interpolation"))
    operations += [noise(draws, "noise1"), Operation.of("jpeg", quality=draws("jpeg1.quality"))]

    if draws("blur2.chance"):
        operations.append(blur(draws, "blur2", first))
    second = target * factor(draws, "resize2")
    operations += resized(draws, second, draws("resize2.interpolation"))
    operations.append(noise(draws, "noise2"))

    jpeg = Operation.of("jpeg", quality=draws("jpeg2.quality"))
    jpeg_first = draws("final.jpeg_first")
    to_target = resized(draws, target, draws("final.interpolation"))
    if draws("final.sinc"):
        to_target.append(sinc(draws, draws("final.kernel"), draws("final.cutoff"), target))
    operations += [jpeg, *to_target] if jpeg_first else [*to_target, jpeg]
    return operations + enlarged_back(draws, draws("back.interpolation"))


def sharpen(draws: Draws) -> Operation:
    """The unsharp mask that stands before everything."""
    full = float(REFERENCE_SIZE)
    return Operation.of("sharpen", amount=draws("sharpen.amount"), sigma=length(draws, draws("sharpen.sigma"), full),
                        kernel=odd_side(draws, draws("sharpen.kernel"), full), threshold=draws("sharpen.threshold"))


def factor(draws: Draws, step: str) -> float:
    """By how much a side grows in a resize of the stage."""
    mode = draws(f"{step}.mode")
    return 1.0 if mode == "keep" else draws(f"{step}.{mode}")


RANGES: dict[str, Range] = {
    "target.shrink": Uniform(4, 4),
    "sharpen.chance": Chance(1), "sharpen.amount": Uniform(0.5, 0.5), "sharpen.sigma": Uniform(8, 8),
    "sharpen.kernel": Whole(51, 51), "sharpen.threshold": Uniform(10, 10),
    **blur_ranges("blur1", (0.2, 3)),
    "resize1.mode": Choice(MODES, (0.2, 0.7, 0.1)), "resize1.up": Uniform(1, 1.5), "resize1.down": Uniform(0.15, 1),
    "resize1.interpolation": Choice(INTERPOLATIONS),
    **noise_ranges("noise1", (1, 30), (0.05, 3)),
    "jpeg1.quality": Whole(30, 95),
    "blur2.chance": Chance(0.8),
    **blur_ranges("blur2", (0.2, 1.5)),
    "resize2.mode": Choice(MODES, (0.3, 0.4, 0.3)), "resize2.up": Uniform(1, 1.2), "resize2.down": Uniform(0.3, 1),
    "resize2.interpolation": Choice(INTERPOLATIONS),
    **noise_ranges("noise2", (1, 25), (0.05, 2.5)),
    "jpeg2.quality": Whole(30, 95),
    "final.jpeg_first": Chance(0.5), "final.interpolation": Choice(INTERPOLATIONS), "final.sinc": Chance(0.8),
    "final.kernel": Whole(7, 21, 2), "final.cutoff": Uniform(math.pi / 3, math.pi),
    "back.interpolation": Choice(("linear",)),
}

LIMITS = limits(RANGES, shape=SHAPES, mode=MODES)

PROFILES = (Profile(name="real-esrgan", family=second_order, ranges=RANGES, limits=LIMITS,
                    source="Real-ESRGAN, options/train_realesrgan_x4plus.yml and its model code"),)
