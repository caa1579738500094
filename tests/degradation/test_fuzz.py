"""Whatever the shape and whatever the plan: levels of the same shape, or one of our errors, on every path."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from anchorface.degradation import (
    ClipPlan,
    Plan,
    apply,
    apply_batch,
    apply_clip,
    clip_profiles,
    draw,
    draw_clip,
    profiles,
)
from anchorface.degradation.plan import VERSION
from anchorface.records import ConfigurationError, DataError, rng
from tests.degradation.scene import clip, picture

OURS = (DataError, ConfigurationError)
SIDES = st.integers(1, 40) | st.integers(1, 300) | st.sampled_from((1, 2, 3, 15, 16, 17, 97, 128, 301))
POSITIONS = st.integers(0, 2**32 - 1)
SIZES = st.sampled_from((16, 17, 64, 129, 512))
NUMBERS = (-1, 0, 1, 2, 0.5, -7.5, 255, 1e-300, 1e300, -1e300, 10**12, -(10**12), 2**70, -(2**70), 10**400,
           float("nan"), float("inf"), float("-inf"))
STRANGE = (*NUMBERS, "", "linear", "no such word", "7", True, False, None, [], {}, [1, 2], [[1]], {"x": 1})


def thorough(examples: int) -> settings:
    """The same examples in every run."""
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def filled(kind: str, shape: tuple[int, int], position: int) -> np.ndarray:
    """A picture of one kind, uint8 [*shape, 3]."""
    if kind == "scene":
        return picture(*shape)
    if kind == "rough":
        return rng(0, "fuzz", position).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return np.full((*shape, 3), 255 * (kind == "white"), np.uint8)


def check(image: np.ndarray, plan: Plan) -> None:
    before = image.copy()
    result = apply(image, plan)
    # Eight bits hold no level outside 0..255.
    assert result.dtype == np.uint8 and result.shape == image.shape, plan.to_json()
    assert np.array_equal(image, before) and not np.shares_memory(result, image)


@pytest.mark.parametrize("name", profiles())
@thorough(8)
@given(shape=st.tuples(SIDES, SIDES), size=SIZES, position=POSITIONS,
       kind=st.sampled_from(("scene", "rough", "black", "white")))
def test_every_profile_takes_every_shape(name, shape, size, position, kind):
    check(filled(kind, shape, position), draw(name, rng(0, "fuzz", position), size))


LARGE = st.sampled_from((1, 2, 40, 1024, 2047, 2048))


@thorough(14)
@given(name=st.sampled_from(profiles()), shape=st.tuples(st.sampled_from((1023, 2048)), LARGE), turned=st.booleans(),
       size=st.sampled_from((64, 512, 2048)), position=POSITIONS)
def test_large_pictures_are_taken(name, shape, turned, size, position):
    check(picture(*(shape[::-1] if turned else shape)), draw(name, rng(1, "fuzz", position), size))


@pytest.mark.parametrize("name", clip_profiles())
@thorough(8)
@given(shape=st.tuples(st.integers(1, 90), st.integers(1, 90)), frames=st.integers(1, 4), size=SIZES,
       position=POSITIONS)
def test_every_clip_profile_takes_every_shape_and_length(name, shape, frames, size, position):
    clean = np.stack([np.roll(picture(*shape), place, axis=1) for place in range(frames)])
    made = apply_clip(clean, draw_clip(name, rng(2, "fuzz", position), frames, size))
    assert made.dtype == np.uint8 and made.shape == clean.shape


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value in a tree of lists and dictionaries."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [way for key in keys for way in ((*above, key), *places(tree[key], (*above, key)))]


def at(tree: Any, way: Sequence[Any]) -> Any:
    """What lies at the end of a way."""
    return functools.reduce(lambda holder, step: holder[step], way, tree)


@st.composite
def damaged(draws: st.DrawFn, plan: Plan | ClipPlan) -> str:
    """The plan's JSON with one to three things in it changed."""
    tree: Any = json.loads(plan.to_json())
    for _ in range(draws(st.sampled_from((1, 1, 1, 2, 3)))):
        change = draws(st.sampled_from((*("scaled",) * 5, "other", "other", "gone", "twice", "named", "version")))
        # Plans of clips are mostly numbers of frames: half of the time, only what lies high in the tree.
        deepest = 99 if change == "scaled" else draws(st.sampled_from((3, 99)))
        ways = [way for way in places(tree) if len(way) <= deepest
                and (change != "scaled" or type(at(tree, way)) in (int, float))]
        if not ways:
            break
        *above, key = draws(st.sampled_from(ways))
        holder = at(tree, above)
        match change:
            case "scaled":
                holder[key] *= draws(st.sampled_from((-1, 0, 0.99, 1.01, 1, 2, 1000)))
            case "gone":
                del holder[key]
            case "twice" if isinstance(holder, list):
                holder.insert(draws(st.integers(0, len(holder))), holder[key])
            case "named" if isinstance(holder, dict):
                holder[draws(st.sampled_from(("name", "image", "side", "frames", "", "größe")))] = holder.pop(key)
            case "version" if isinstance(tree, dict):
                tree["version"] = draws(st.sampled_from((VERSION - 1, VERSION + 1, *STRANGE)))
            case _:
                holder[key] = draws(st.sampled_from(STRANGE))
    text = json.dumps(tree)
    if draws(st.integers(0, 9)) == 0:
        start, left_out = draws(st.integers(0, len(text))), draws(st.integers(0, 3))
        text = text[:start] + draws(st.text('0x-.,"[]{}:e\\ \x00ä', max_size=3)) + text[start + left_out:]
    return text


@thorough(500)
@given(data=st.data(), name=st.sampled_from(profiles()), position=POSITIONS)
def test_a_damaged_plan_is_refused_or_does_something(data, name, position):
    text = data.draw(damaged(draw(name, rng(3, "fuzz", position), 32)))
    try:
        check(picture(33, 20), Plan.from_json(text))
        event("done")
    except OURS as error:
        assert isinstance(error, ValueError) and str(error)
        event("refused")


@thorough(150)
@given(data=st.data(), name=st.sampled_from(clip_profiles()), position=POSITIONS)
def test_a_damaged_plan_of_a_clip_is_refused_or_does_something(data, name, position):
    text = data.draw(damaged(draw_clip(name, rng(4, "fuzz", position), 3, 32)))
    clean = clip(data.draw(st.sampled_from((3, 3, 3, 2, 4))), 32)
    try:
        made = apply_clip(clean, ClipPlan.from_json(text))
        assert made.dtype == np.uint8 and made.shape == clean.shape
        event("done")
    except OURS as error:
        assert isinstance(error, ValueError) and str(error)
        event("refused")


@thorough(200)
@given(text=st.text(max_size=40) | st.recursive(
    st.sampled_from(STRANGE), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(("version", "profile", "size", "frames", "rate", "operations")), inner, max_size=6),
    max_leaves=8).map(json.dumps))
def test_what_is_no_plan_at_all_is_refused(text):
    for kind in (Plan, ClipPlan):
        with pytest.raises(DataError):
            kind.from_json(text)


def refusal(path: Any, *given: Any) -> str | None:
    """What a path says to a plan that it refuses; None where it carries it out."""
    try:
        path(*given)
    except OURS as error:
        return str(error)
    return None


@thorough(400)
@given(data=st.data(), name=st.sampled_from(profiles()), position=POSITIONS)
def test_an_impossible_number_is_named_by_pictures_and_batches_alike(data, name, position):
    tree: Any = json.loads(draw(name, rng(5, "fuzz", position), 24).to_json())
    steps = [step for step in tree["operations"] if step[1]]
    step = data.draw(st.sampled_from(steps))
    key = data.draw(st.sampled_from(sorted(step[1])))
    step[1][key] = data.draw(st.sampled_from((*NUMBERS, "no such word")))
    try:
        plan = Plan.from_json(json.dumps(tree))
    except DataError as error:
        assert key in str(error)
        return
    image = picture(24)
    one = refusal(apply, image, plan)
    batch = refusal(apply_batch, torch.from_numpy(np.stack([image, image])), [plan, draw(name, rng(6, "fuzz"), 24)])
    assert (one is None) == (batch is None), (one, batch)
    event("refused" if one else "done")
    for said in filter(None, (one, batch)):
        named = key.removeprefix("inside_").removeprefix("outside_")
        assert step[0] in said or named in said or "ends at" in said, said
