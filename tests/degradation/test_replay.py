"""A degradation is data: it survives JSON, does the same everywhere, and says what is wrong with it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anchorface.degradation import Operation, Plan, apply, draw, profile, profiles
from anchorface.degradation.ranges import Chance, Profile, Uniform
from anchorface.records import ConfigurationError, DataError, rng
from tests.degradation.scene import picture, plans, sha

ROOT = Path(__file__).resolve().parents[2]

APART = """
import sys, hashlib, cv2
from anchorface.degradation import Plan, apply
from tests.degradation.scene import picture, sha
cv2.setNumThreads(int(sys.argv[1]))
for line in sys.stdin:
    print(sha(apply(picture(96), Plan.from_json(line))))
"""


@pytest.mark.parametrize("name", profiles())
def test_a_plan_survives_json(name):
    drawn = plans(name, 30, 128)
    for plan in drawn:
        again = Plan.from_json(plan.to_json())
        assert again == plan and again.digest == plan.digest and hash(again) == hash(plan)
        assert again.to_json() == plan.to_json()
        assert [type(value) for step in again.operations for _, value in step.parameters] == [
            type(value) for step in plan.operations for _, value in step.parameters]
        assert all(type(value) in (int, float, str) for step in plan.operations for _, value in step.parameters)
        assert len(plan.to_json()) < 4000
    assert len({plan.digest for plan in drawn}) > 25, "a short chain may come twice"


@pytest.mark.parametrize("name", profiles())
def test_the_same_generator_draws_the_same_plan_and_another_another(name):
    assert draw(name, rng(3, "again", 1), 96) == draw(name, rng(3, "again", 1), 96)
    assert draw(name, rng(3, "again", 1), 96) != draw(name, rng(3, "again", 2), 96)


@pytest.mark.parametrize("threads", [1, 4])
def test_other_processes_and_thread_counts_give_the_same_pixels(threads):
    chosen = [plan for name in profiles() for plan in plans(name, 2, 96)]
    result = subprocess.run(
        [sys.executable, "-c", APART, str(threads)], input="\n".join(plan.to_json() for plan in chosen),
        capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    here = [sha(apply(picture(96), plan)) for plan in chosen]
    differ = {plan.profile for plan, one, two in zip(chosen, here, result.stdout.split(), strict=True) if one != two}
    assert not differ


@pytest.mark.parametrize("name", profiles())
def test_apply_leaves_the_image_alone_and_repeats_itself(name):
    image = picture(96)
    before = image.copy()
    for plan in plans(name, 3, 96):
        first = apply(image, plan)
        assert first.dtype == np.uint8 and first.shape == image.shape and first.flags["C_CONTIGUOUS"]
        assert not np.shares_memory(first, image)
        assert np.array_equal(first, apply(image, plan)) and np.array_equal(image, before)
        assert np.array_equal(first, apply(np.asfortranarray(image), plan)), "memory layout is no matter"


def test_a_plan_without_operations_gives_a_copy():
    image = picture(32)
    result = apply(image, Plan(profile="none", size=32, operations=()))
    assert np.array_equal(result, image) and not np.shares_memory(result, image)


def test_ranges_can_be_overridden_by_key_and_wrong_keys_are_named():
    plan = draw("gfpgan", rng(0, "x"), overrides={"jpeg.quality": [33, 33], "grey.chance": 1})
    assert [step.values["quality"] for step in plan.operations if step.name == "jpeg"] == [33]
    assert any(step.name == "grey" for step in plan.operations)
    assert profile("gfpgan").ranges["grey.chance"] == Chance(0.01), "the profile itself stays as it is"
    for overrides, said in (({"jpeg.qualty": [1, 2]}, r"jpeg\.qualty.*jpeg\.quality"),
                            ({"jpeg.quality": [90, 30]}, r"jpeg\.quality.*90 to 30"),
                            ({"jpeg.quality": "high"}, r"jpeg\.quality.*high"),
                            ({"noise.level": [0, float("inf")]}, r"noise\.level"),
                            ({"noise.level": [0, float("nan")]}, r"noise\.level"),
                            ({"grey.chance": 1.5}, r"grey\.chance.*1\.5")):
        with pytest.raises(ConfigurationError, match=said):
            draw("gfpgan", rng(0, "x"), overrides=overrides)
    with pytest.raises(ConfigurationError, match=r"mine.*blur\.sigma.*3 to 1"):
        Profile(name="mine", family=lambda draws: [], ranges={"blur.sigma": Uniform(3, 1)}, source="our choice")


def test_unknown_profiles_and_sizes_are_refused_with_the_reason():
    with pytest.raises(ConfigurationError, match=r"gfpgam.*did you mean gfpgan"):
        draw("gfpgam", rng(0, "x"))
    with pytest.raises(ConfigurationError, match="smallest size"):
        draw("gfpgan", rng(0, "x"), 8)


@pytest.mark.parametrize(("image", "said"), [
    (picture(32).astype(np.float32), "float32"), (picture(32)[..., 0], r"\[32, 32\]"),
    (picture(32)[..., :2], r"\[32, 32, 2\]"), (picture(32)[:0], r"\[0, 32, 3\]"),
    (np.full((8, 8, 3), np.nan), "float64"), (picture(32).tolist(), "list"), (None, "NoneType")])
def test_images_of_another_kind_are_refused_and_described(image, said):
    with pytest.raises(DataError, match=f"image.*{said}"):
        apply(image, draw("gfpgan", rng(0, "x"), 32))


@pytest.mark.parametrize(("text", "said"), [
    ("no json", "not a degradation plan"), (None, "not a degradation plan"), ("[" * 100_000, "not a degradation plan"),
    ("[]", "not a degradation plan"), ("{}", "version"),
    ('{"version":1,"profile":"p","size":64,"operations":[]}', "version 1"),
    ('{"version":2,"profile":"p","size":0,"operations":[]}', "size is 0"),
    ('{"version":2,"profile":"p","size":64.5,"operations":[]}', "size is 64.5"),
    ('{"version":2,"profile":"p","size":64,"operations":[["jpeg",{"quality":NaN}]]}', r"jpeg\.quality is nan"),
    ('{"version":2,"profile":"p","size":64,"operations":[["jpeg",{"quality":true}]]}', r"jpeg\.quality is True"),
    ('{"version":2,"profile":"p","size":64,"operations":[["jpeg",{"quality":[1]}]]}', r"jpeg\.quality is \[1\]"),
    ('{"version":2,"profile":"p","size":64,"operations":[["jpeg"]]}', "not a degradation plan"),
    ('{"version":2,"size":64,"operations":[]}', "profile")])
def test_what_is_no_plan_is_refused_and_the_field_named(text, said):
    with pytest.raises(DataError, match=said):
        Plan.from_json(text)


@pytest.mark.parametrize("step", [Operation.of("sharper"), Operation.of("jpeg", loss=3), Operation.of("jpeg")])
def test_an_operation_that_cannot_be_carried_out_is_named(step):
    with pytest.raises(DataError, match=step.name):
        apply(picture(32), Plan(profile="mine", size=32, operations=(step,)))


@pytest.mark.parametrize("side", [0, -3, 10**9, 2.5e300, "half"])
def test_a_resize_beyond_all_measure_is_refused(side):
    plan = Plan(profile="mine", size=32, operations=(Operation.of("resize", side=side),))
    with pytest.raises(DataError, match=r"resize\.side"):
        apply(picture(32), plan)


def test_a_plan_that_ends_at_another_size_is_refused():
    plan = Plan(profile="mine", size=32, operations=(Operation.of("resize", side=16),))
    with pytest.raises(DataError, match=r"ends at \[16, 16\]"):
        apply(picture(32), plan)


def test_a_plan_for_one_size_serves_images_of_others():
    plan = Plan(profile="mine", size=64, operations=(Operation.of("resize", side=16), Operation.of("resize", side=64)))
    tall = picture(200, 100)
    assert apply(tall, plan).shape == (200, 100, 3)
    assert apply(picture(1, 5), plan).shape == (1, 5, 3)


def test_plans_are_drawn_and_carried_out_without_codecs_of_films_and_without_pillow():
    code = """
import sys, numpy as np
from anchorface.degradation import apply, draw, draw_clip
from anchorface.records import rng
apply(np.zeros((64, 64, 3), np.uint8), draw("real-esrgan", rng(0, "start"), 64))
there = {"av", "PIL", "torch"} & {name.split(".")[0] for name in sys.modules}
assert not there, there
draw_clip("vfhq", rng(0, "start"), 2, 64)
assert "av" in sys.modules, "where a codec is asked for"
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, env=environment, capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
