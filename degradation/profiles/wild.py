"""Everything that pictures of people meet, in one mix.

    something before the face, rarely -> a bad photograph, often -> one of the kinds of `kind` -> passed on, sometimes

Its table holds the tables of all kinds behind their names (`cctv.jpeg.quality`), so that each number can be overridden
here too. Weights are our choice: most old and shared pictures came through messengers or bad cameras; the formulas of
the papers keep a fifth, so that nothing of theirs is unknown to what learns from this mix.
"""

from anchorface.degradation.plan import Operation
from anchorface.degradation.profiles import bsrgan, first_order, second_order
from anchorface.degradation.profiles.camera import FULL, photograph, stored
from anchorface.degradation.profiles.camera import PROFILES as CAMERA
from anchorface.degradation.profiles.photographs import PROFILES as PHOTOGRAPHS
from anchorface.degradation.profiles.photographs import from_either_side
from anchorface.degradation.profiles.steps import length
from anchorface.degradation.ranges import Chance, Choice, Draws, LogUniform, Profile, Range, Uniform, Whole

WEIGHTS = {"camera": 0.18, "messenger": 0.2, "old_print": 0.16, "video_call": 0.1, "cctv": 0.1, "screen": 0.08,
           "gfpgan": 0.06, "refldm-train": 0.04, "real-esrgan": 0.05, "bsrgan": 0.03}
BEFORE = ("messenger", "screen")
"""Kinds that may come upon a bad photograph; the others have a camera, or its formula, of their own."""
SUBJECTS = ("hand", "object")

_KINDS: dict[str, Profile] = {one.name: one for one in (
    *CAMERA, *PHOTOGRAPHS, *first_order.PROFILES, *second_order.PROFILES, *bsrgan.PROFILES) if one.name in WEIGHTS}


def wild(draws: Draws) -> list[Operation]:
    """One of the kinds, and what comes before and after."""
    operations = [occlusion(draws)] if draws("occlude.chance") else []
    kind = draws("kind")
    if kind in BEFORE and draws("before.chance"):
        operations += part(draws, "camera")
    operations += part(draws, kind)
    if kind != "messenger" and draws("passed_on.chance"):
        operations.append(stored(draws, "jpeg", draws("passed_on.quality"), FULL))
    return operations


def part(draws: Draws, kind: str) -> list[Operation]:
    """A whole plan of one kind, drawn from its part of the table."""
    start = f"{kind}."
    table = {key.removeprefix(start): value for key, value in draws.ranges.items() if key.startswith(start)}
    hand = Draws(table, draws.rng, draws.size)
    operations = _KINDS[kind].family(hand)
    draws.seen += [(start + key, value) for key, value in hand.seen]
    return operations


def occlusion(draws: Draws) -> Operation:
    """A hand from below or aside, or a thing at the rim, in skin's or any colour."""
    kind = draws("occlude.kind")
    if kind == "hand":
        shade = draws("occlude.skin")
        red, green, blue = (round(low + shade * (high - low)) for low, high in ((92, 236), (60, 194), (44, 170)))
    else:
        red, green, blue = (draws("occlude.level") for _ in range(3))
    return Operation.of(
        "occlude", kind=kind, x=from_either_side(draws, "occlude", "x"), y=draws("occlude.y"),
        size=max(0.5, length(draws, draws(f"occlude.{kind}_width"), FULL)), angle=draws(f"occlude.{kind}_angle"),
        softness=length(draws, draws("occlude.softness"), FULL), red=red, green=green, blue=blue, seed=draws.seed())


RANGES: dict[str, Range] = {
    "kind": Choice(tuple(WEIGHTS), tuple(WEIGHTS.values())),
    "occlude.chance": Chance(0.08), "occlude.kind": Choice(SUBJECTS),
    # Below the eyes or beside them, so that a face is left; a palm is half as wide as a face.
    "occlude.x": Uniform(0, 0.38), "occlude.x_opposite": Chance(0.5), "occlude.y": Uniform(0.65, 1.0),
    "occlude.hand_width": Uniform(45, 75), "occlude.hand_angle": Uniform(-125, -55),
    "occlude.object_width": Uniform(50, 130), "occlude.object_angle": Uniform(0, 360),
    "occlude.softness": LogUniform(0.8, 6), "occlude.skin": Uniform(0, 1), "occlude.level": Uniform(10, 240),
    "before.chance": Chance(0.5), "passed_on.chance": Chance(0.2), "passed_on.quality": Whole(40, 90),
    **{f"{name}.{key}": value for name, one in _KINDS.items() for key, value in one.ranges.items()},
}

PROFILES = (photograph("wild", wild, RANGES, {
    "kind": tuple(WEIGHTS), "occlude.kind": SUBJECTS,
    **{f"{name}.{key}": value for name, one in _KINDS.items() for key, value in one.limits.items()}}),)
