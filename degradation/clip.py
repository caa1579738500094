"""Clips: `draw_clip` a ClipPlan, `apply_clip` it, `explain` it. Clips: uint8 [T, H, W, 3], RGB.

A ClipPlan knows the operations of a Plan, each carried out on every frame with that frame's numbers, and two that act
on the clip as a whole: `codec` (see `degradation.codecs`) and `show`, whose `frame` says for each frame which one is
seen in its place, so that frames are dropped and repeated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorface.degradation import codecs
from anchorface.degradation.clip_plan import ClipOperation, ClipPlan
from anchorface.degradation.clip_ranges import ClipDraws, ClipProfile
from anchorface.degradation.operations import FUNCTIONS
from anchorface.degradation.operations.resize import resize_frame
from anchorface.degradation.plan import Operation, Plan
from anchorface.degradation.profiles import MINIMUM_SIZE
from anchorface.degradation.profiles.clips import PROFILES
from anchorface.degradation.ranges import REFERENCE_SIZE, named
from anchorface.degradation.replay import carried, check_image
from anchorface.records.errors import ConfigurationError, DataError

CLIP_OPERATIONS = ("codec", "show")
ON_FRAMES = {**FUNCTIONS, "resize": resize_frame}
"""What carries out the operations of pictures on a frame."""
_PROFILES = {one.name: one for one in PROFILES}


def clip_profiles() -> tuple[str, ...]:
    """The names that `draw_clip` knows."""
    return tuple(_PROFILES)


def clip_profile(name: str) -> ClipProfile:
    """The clip profile of that name.

    Raises:
        ConfigurationError: there is none.
    """
    return named(name, _PROFILES, " for clips")


def draw_clip(name: str | ClipProfile, rng: np.random.Generator, frames: int, size: int = REFERENCE_SIZE,
              overrides: Mapping[str, Any] | None = None, rate: float = 25.0) -> ClipPlan:
    """Draw every number of the degradation of one clip.

    Args:
        name: one of `clip_profiles()`, or a profile of your own.
        rng: where the numbers come from; `records.rng(seed, "degradation", position)` in a run.
        frames: how many frames the clip has.
        size: side of the frames that the plan is for, px.
        overrides: ranges to use instead of the profile's own, as in `Profile.with_ranges`.
        rate: frames per second of the clip.

    Returns:
        The plan.

    Raises:
        ConfigurationError: an unknown profile, range or codec, an impossible range, no frames, or a size below 16 px.
    """
    chosen = clip_profile(name) if isinstance(name, str) else name
    if overrides:
        chosen = chosen.with_ranges(overrides)
    if size < MINIMUM_SIZE:
        raise ConfigurationError(f"degradation for {size} px: the smallest size is {MINIMUM_SIZE} px")
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise ConfigurationError(f"degradation of a clip of {frames!r} frames: a positive whole number is needed")
    operations = tuple(chosen.family(ClipDraws(chosen.ranges, rng, size, frames, rate)))
    for operation in operations:
        if operation.name == "codec":
            codecs.check_codec(operation.values["codec"])
    return ClipPlan(profile=chosen.name, size=size, frames=frames, rate=rate, operations=operations)


def apply_clip(frames: np.ndarray, plan: ClipPlan) -> np.ndarray:
    """Degrade a clip as the plan says; the clip itself is left as it is.

    Args:
        frames: uint8 [T, H, W, 3], RGB, with T the plan's count of frames; H and W are any, as in `apply`.
        plan: from `draw_clip` or `ClipPlan.from_json`.

    Returns:
        uint8 [T, H, W, 3], RGB. The same clip and plan give the same pixels.

    Raises:
        DataError: a clip of another kind or length, or an operation that this version does not know; the field is
            named.
        ConfigurationError: a codec that the installed PyAV lacks.
    """
    check_clip(frames, plan)
    result, shape, made = list(frames), frames.shape[1:3], np.empty(frames.shape, np.uint8)
    for stage in stages(result, plan, made):
        result = stage.after
    sizes = sorted({frame.shape[:2] for frame in result} - {shape})
    if sizes:
        raise DataError(f"clip plan {plan.digest} ends at {list(sizes[0])}, not at the frames' {list(shape)}")
    for place, frame in enumerate(result):
        if frame.base is not made:
            made[place] = frame
    return made


@dataclass(frozen=True)
class Stage:
    """A part of a plan carried out. operation: on the whole clip, or None for a run of operations frame by frame.
    run: what was carried out. before, after: the frames, uint8 [H, W, 3]."""

    operation: ClipOperation | None
    run: tuple[ClipOperation, ...]
    before: list[np.ndarray]
    after: list[np.ndarray]


def stages(frames: list[np.ndarray], plan: ClipPlan, into: np.ndarray | None = None) -> Iterator[Stage]:
    """Carry the plan out: each operation on the whole clip, and each run of operations between two of them.

    Args:
        frames: the clip. plan: of as many frames. into: uint8 [T, H, W, 3] that the frames of a last run are written
            to where they fit.
    """
    shape = (frames[0].shape[0], frames[0].shape[1])
    run: list[ClipOperation] = []
    for operation in (*plan.operations, None):
        if operation is not None and operation.name not in CLIP_OPERATIONS:
            run.append(operation)
            continue
        if run:
            before, frames = frames, _run(frames, run, plan, shape, into if operation is None else None)
            yield Stage(None, tuple(run), before, frames)
            run = []
        if operation is not None:
            before, frames = frames, _whole(frames, operation, plan)
            yield Stage(operation, (operation,), before, frames)


def check_clip(frames: np.ndarray, plan: ClipPlan) -> None:
    """Refuse what is not uint8 [T, H, W, 3] with the plan's count of frames.

    Raises:
        DataError: says what it is instead.
    """
    if not isinstance(frames, np.ndarray):
        raise DataError(f"clip: a NumPy array is needed, not {type(frames).__name__}")
    if frames.ndim != 4 or len(frames) == 0:
        raise DataError(f"clip: uint8 [T, H, W, 3] with at least one frame is needed, not {frames.dtype} "
                        f"{list(frames.shape)}")
    check_image(frames[0])
    if len(frames) != plan.frames:
        raise DataError(f"clip of {len(frames)} frames: the plan {plan.digest} is for {plan.frames} frames")


def _run(frames: Sequence[np.ndarray], run: Sequence[ClipOperation], plan: ClipPlan, shape: tuple[int, int],
         into: np.ndarray | None) -> list[np.ndarray]:
    """A run of operations on each frame; one that comes again with the same numbers is made once."""
    made: dict[tuple[int, tuple[Operation, ...]], np.ndarray] = {}
    result = []
    for place, frame in enumerate(frames):
        one = Plan(profile=plan.profile, size=plan.size, operations=tuple(step.at(place) for step in run))
        key = id(frame), one.operations
        if key not in made:
            made[key] = carried(frame, one.operations, one, shape, ON_FRAMES)
        after = made[key]
        if into is not None and after.shape == into.shape[1:]:
            # At once, while it is in the processor's cache.
            into[place] = after
            after = into[place]
        result.append(after)
    return result


def _whole(frames: Sequence[np.ndarray], operation: ClipOperation, plan: ClipPlan) -> list[np.ndarray]:
    """An operation on the whole clip."""
    values = operation.values
    try:
        if operation.name == "codec":
            return codecs.codec(frames, **{"rate": plan.rate, **values})
        return show(frames, **values)
    except (TypeError, KeyError) as error:
        raise DataError(f"clip plan {plan.digest}: {operation.name} with {values}: {error}") from error


def show(frames: Sequence[np.ndarray], *, frame: Sequence[int]) -> list[np.ndarray]:
    """Other frames in the frames' places.

    Args:
        frames: the clip. frame: for each place the frame that is seen there, counted from 0.
    """
    if any(isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < len(frames) for one in frame):
        raise DataError(f"show.frame is {frame}; places from 0 to {len(frames) - 1} are needed")
    return [frames[one] for one in frame]
