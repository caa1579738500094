"""Damage in graded steps: one kind of degradation at a time, from weak to strong, as plans.

In: a ladder's name and a face's position. Out: (strength, Plan) for each step, the same for the same arguments.
"""

from collections.abc import Iterator

import numpy as np

from anchorface.degradation import Operation, Plan, draw
from anchorface.degradation.profiles.iconface import iconface_at
from anchorface.records.errors import ConfigurationError
from anchorface.records.seeds import derive, rng

GRADED: dict[str, tuple[float, ...]] = {
    "gaussian blur": (0.5, 1.0, 2.0, 4.0, 8.0), "downsampling": (2.0, 4.0, 8.0, 16.0),
    "jpeg": (20.0, 50.0, 70.0, 85.0, 95.0), "noise": (5.0, 10.0, 20.0, 40.0, 60.0),
    "iconface": (0.0, 4.0, 8.0, 12.0, 16.0),
}
"""Strengths (our choice): sigma in px, times smaller, 100 - quality, 8-bit levels, IConFace's strength."""
DRAWN: dict[str, int] = {"refldm-moderate": 4, "refldm-severe": 4}
"""Profiles without a strength of their own, and how many plans each face gets; their strength is the PSNR lost."""
LADDERS = (*GRADED, *DRAWN)


def plans(ladder: str, side: int, seed: int, position: int) -> Iterator[tuple[float, Plan]]:
    """The steps of a ladder for one face.

    Args:
        ladder: one of LADDERS.
        side: of the crop, in pixels.
        seed, position: of the draws; position counts faces.

    Returns:
        Strength (NaN where it is to be measured) and plan of each step.

    Raises:
        ConfigurationError: an unknown ladder.
    """
    if ladder not in LADDERS:
        raise ConfigurationError(f"no ladder of degradations {ladder!r}; known: {', '.join(LADDERS)}")
    for step in range(DRAWN.get(ladder, 0)):
        yield float("nan"), draw(ladder, rng(seed, f"norm/{ladder}/{step}", position), side)
    for strength in GRADED.get(ladder, ()):
        if ladder == "iconface":
            yield strength, draw(iconface_at(int(strength)), rng(seed, f"norm/{ladder}/{strength}", position), side)
        else:
            noise = derive(seed, f"norm/{ladder}/{strength}", position) % 2**31
            yield strength, Plan(profile=ladder, size=side, operations=_operations(ladder, strength, side, noise))


def _operations(ladder: str, strength: float, side: int, seed: int) -> tuple[Operation, ...]:
    if ladder == "gaussian blur":
        kernel = 2 * int(np.ceil(3 * strength)) + 1
        return (Operation.of("blur", sigma_x=strength, sigma_y=strength, angle=0.0, kernel=max(3, kernel)),)
    if ladder == "downsampling":
        return (Operation.of("resize", side=int(side / strength), interpolation="area"),
                Operation.of("resize", side=side, interpolation="cubic"))
    if ladder == "jpeg":
        return (Operation.of("jpeg", quality=int(100 - strength)),)
    return (Operation.of("noise", level=strength, seed=seed),)
