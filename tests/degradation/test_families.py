"""The families draw what their papers state: every range, every branch, every order; and the plans hold it."""

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from scipy import ndimage, stats

from anchorface.degradation import Plan, apply, draw, explain, profile, profiles
from anchorface.degradation.operations.blur import blur
from anchorface.degradation.operations.resize import resize
from anchorface.degradation.profiles.bsrgan import order
from anchorface.degradation.profiles.iconface import at_strength, iconface_at
from anchorface.degradation.ranges import Chance, Choice, Draws, Whole
from anchorface.records import ConfigurationError, rng
from anchorface.synthetic import State, identity, render
from tests.degradation.drawn import chance_of, seen
from tests.degradation.scene import damage_apart, picture

NAMES = ["restoreformer", "restoreformer++", "real-esrgan", "bsrgan", "iconface"]
PLANS = 10_000
RARE = 1e-4
"""Below this probability a drawn sample contradicts its distribution; about 730 are judged, with fixed seeds."""


@pytest.mark.parametrize("name", [name for name in profiles() if name != "iconface"])
def test_drawn_numbers_follow_the_stated_distributions(name):
    chosen = profile(name)
    values = seen(chosen, PLANS)
    for key, stated in chosen.ranges.items():
        if key in values:
            assert chance_of(values[key], stated) > RARE, f"{key}: {stated}"
        else:  # every range is drawn, a rare branch seldom; only behind a chance of zero none is
            assert chosen.ranges[f"{key.rpartition('.')[0]}.chance"] == Chance(0.0), key


@pytest.mark.parametrize("strength", [2, 11])
def test_a_mixed_plan_draws_from_both_tables_at_its_strength(strength):
    chosen = iconface_at(strength)
    values = seen(chosen, 3000)
    # Nothing is halved whose target is a half.
    assert all(strength <= 2 and "halve" in key for key in set(chosen.ranges) - set(values))
    assert chance_of(values["family.second_order"], Chance(0.5)) > RARE
    for prefix in ("second_order.", "bsrgan."):
        table = {key.removeprefix(prefix): one for key, one in chosen.ranges.items() if key.startswith(prefix)}
        for key, stated in at_strength(table, strength).items():
            if prefix + key in values:
                assert chance_of(values[prefix + key], stated) > RARE, f"{key}: {stated}"


def test_strengths_come_in_the_published_buckets():
    drawn = [draw("iconface", rng(0, "bucket", place), 64) for place in range(1500)]
    strengths = np.array([int(plan.profile.removeprefix("iconface-")) for plan in drawn])
    counts = [((low <= strengths) & (strengths <= high)).sum() for low, high in ((0, 3), (4, 8), (9, 16))]
    assert sum(counts) == len(drawn) and set(strengths) == set(range(17))
    assert stats.chisquare(counts, np.array([0.5, 0.3, 0.2]) * len(drawn)).pvalue > RARE


def check_table(name: str, stated: Mapping[str, Any]) -> None:
    for key, numbers in stated.items():
        one = profile(name).ranges[key]
        found = one.probability if isinstance(one, Chance) else (
            dict(zip(one.values, one.weights, strict=True)) if isinstance(one, Choice) else (one.low, one.high))
        assert found == numbers, key


def test_the_published_numbers_of_real_esrgan_stand_in_the_table():
    shapes = {"round gaussian": 0.45, "oval gaussian": 0.25, "round generalised": 0.12, "oval generalised": 0.03,
              "round plateau": 0.12, "oval plateau": 0.03}
    check_table("real-esrgan", {
        "blur1.shape": shapes, "blur2.shape": shapes, "blur1.sinc": 0.1, "blur2.sinc": 0.1, "blur2.chance": 0.8,
        "blur1.sigma": (0.2, 3), "blur2.sigma": (0.2, 1.5), "blur1.kernel": (7, 21), "blur2.kernel": (7, 21),
        "blur1.generalised_flat": (0.5, 1), "blur1.generalised_sharp": (1, 4), "blur2.plateau_sharp": (1, 2),
        "blur1.cutoff_narrow": (math.pi / 3, math.pi), "blur1.cutoff_wide": (math.pi / 5, math.pi),
        "resize1.mode": {"up": 0.2, "down": 0.7, "keep": 0.1}, "resize1.up": (1, 1.5), "resize1.down": (0.15, 1),
        "resize2.mode": {"up": 0.3, "down": 0.4, "keep": 0.3}, "resize2.up": (1, 1.2), "resize2.down": (0.3, 1),
        "noise1.gaussian": 0.5, "noise1.level": (1, 30), "noise1.scale": (0.05, 3), "noise1.grey": 0.4,
        "noise2.gaussian": 0.5, "noise2.level": (1, 25), "noise2.scale": (0.05, 2.5), "noise2.grey": 0.4,
        "jpeg1.quality": (30, 95), "jpeg2.quality": (30, 95), "final.sinc": 0.8, "final.kernel": (7, 21),
        "final.cutoff": (math.pi / 3, math.pi), "final.jpeg_first": 0.5, "target.shrink": (4, 4)})
    assert profile("real-esrgan").ranges["blur1.kernel"] == Whole(7, 21, 2), "odd sides"


def test_the_published_numbers_of_bsrgan_stand_in_the_table():
    check_table("bsrgan", {
        "halve.chance": 0.25, "blur.round": 0.5, "blur.kernel": (7, 25), "blur.sigma_full": (0, 2.8),
        "blur.sigma_halved": (0, 2.4), "blur.variance_full": (0, 8), "blur.variance_halved": (0, 6),
        "shrink.any": 0.75, "shrink.factor_full": (1, 8), "shrink.factor_halved": (1, 4),
        "decimate.sigma_full": (0.1, 2.4), "decimate.sigma_halved": (0.1, 1.2), "decimate.kernel": (25, 25),
        "noise.kind": {"colour": 0.4, "grey": 0.4, "correlated": 0.2}, "noise.level": (2, 25),
        "correlated.level": (25, 25), "jpeg.chance": 0.9, "jpeg.quality": (30, 95), "camera.chance": 0.25,
        "final.quality": (30, 95), "target.shrink": (4, 4)})


def test_the_published_numbers_of_restoreformer_stand_in_the_tables():
    shared = {"blur.sigma": (0.1, 10), "resize.shrink": (0.8, 8), "noise.level": (0, 20), "jpeg.quality": (60, 100),
              "blur.kernel": (39, 41), "blur.round": 0.5}
    check_table("restoreformer", {**shared, "grey.chance": 0, "shift.chance": 0, "jitter.chance": 0})
    check_table("restoreformer++", {
        **shared, "misplaced.chance": 0.2, "misplaced.shift": (-32, 32), "uneven.chance": 0.1,
        "uneven.side": (128, 256), "haze.chance": 0.008, "haze.alpha": (0.75, 0.95), "grey.chance": 0.008,
        "uneven.edge": (0, 0)})


def test_a_plan_of_second_order_holds_what_was_drawn_in_the_published_order():
    chosen = profile("real-esrgan")
    last_two, blurs = set(), []
    for place in range(400):
        draws = Draws(chosen.ranges, rng(0, "second", place), 512)
        steps = chosen.family(draws)
        drawn = dict(draws.seen)
        names = [step.name for step in steps]
        one, two = (place for place, name in enumerate(names) if name == "jpeg")
        assert [steps[place].values["quality"] for place in (one, two)] == [
            drawn["jpeg1.quality"], drawn["jpeg2.quality"]]
        first = steps[:one]
        kernel = first[1]
        blurs.append(kernel.name)
        assert names[0] == "sharpen" and kernel.values["kernel"] == drawn["blur1.kernel"]
        if kernel.name == "blur":
            assert kernel.values["sigma_x"] == drawn["blur1.sigma"] or not drawn["blur1.shape"].startswith("round")
            assert (kernel.values["sigma_x"] == kernel.values["sigma_y"]) == drawn["blur1.shape"].startswith("round")
            assert kernel.values.get("kind", "gaussian") == drawn["blur1.shape"].split(" ")[1]
        for stage, part in (("1", first), ("2", steps[one:])):
            noise = next(step for step in part if step.name in ("noise", "poisson"))
            kind, what = ("noise", "level") if drawn[f"noise{stage}.gaussian"] else ("poisson", "scale")
            assert (noise.name, noise.values[what]) == (kind, drawn[f"noise{stage}.{what}"])
            assert noise.values["grey"] == drawn[f"noise{stage}.grey"]
        sides = [step.values["side"] for step in steps if step.name == "resize"]
        assert sides[-2:] == [128, 512] and all(38 <= side <= 768 for side in sides)
        at_target = max(place for place, step in enumerate(steps[:-1]) if step.name == "resize")
        # A resize that changes nothing does not stand in a plan.
        if drawn["resize2.mode"] != "keep" and len(sides) > 2 + (drawn["resize1.mode"] != "keep"):
            assert (two < at_target) == drawn["final.jpeg_first"]
            last_two.add(two < at_target)
        rings = "sinc" in names[two - (0 if drawn["final.jpeg_first"] else 1):]
        assert rings == drawn["final.sinc"]
    assert last_two == {True, False}
    assert stats.binomtest(blurs.count("sinc"), len(blurs), 0.1).pvalue > RARE


def test_bsrgan_takes_every_order_that_keeps_the_last_resize_after_the_first():
    draws = Draws({}, rng(0, "order", 0), 512)
    counts: dict[tuple[int, ...], int] = defaultdict(int)
    for _ in range(40_000):
        counts[tuple(order(draws))] += 1
    assert len(counts) == math.factorial(7) // 2
    assert all(sorted(one) == list(range(7)) and one.index(2) < one.index(3) for one in counts)
    assert stats.chisquare(list(counts.values())).pvalue > RARE, "all as often"


def test_a_plan_of_bsrgan_has_its_steps_in_the_drawn_order():
    chosen = profile("bsrgan").with_ranges({"jpeg.chance": 1, "camera.chance": 1, "halve.chance": 0,
                                            "shrink.any": 1, "shrink.factor_full": [5, 8]})
    noises = {"noise", "correlated_noise"}
    before = defaultdict(int)
    for place in range(600):
        steps = chosen.family(Draws(chosen.ranges, rng(0, "bsrgan", place), 512))
        names = ["noise" if step.name in noises else step.name for step in steps]
        assert names[-2:] == ["jpeg", "resize"] and steps[-1].values["side"] == 512
        assert steps[-3].name != "resize" or steps[-3].values["side"] == 128
        assert sorted(names) == sorted(["blur", "blur", "resize", "resize", "noise", "jpeg", "camera_noise", "jpeg",
                                        "resize"])
        for one in ("jpeg", "noise", "blur"):
            before[one] += names.index(one) < names.index("camera_noise")
    assert stats.binomtest(before["jpeg"], 600, 1 / 2).pvalue > RARE
    assert stats.binomtest(before["noise"], 600, 1 / 2).pvalue > RARE
    assert stats.binomtest(before["blur"], 600, 2 / 3).pvalue > RARE, "the first of two"


@pytest.mark.parametrize("factor", [2, 4])
def test_a_blur_and_a_linear_resize_are_the_shifted_kernel_and_every_nth_pixel(factor):
    image = cv2.GaussianBlur(picture(128), (0, 0), 1.0)
    sigma = 0.5 * factor
    across = np.arange(25) - 12
    bell = np.exp(-0.5 * (across / sigma) ** 2)
    # A shift by half the block less half a pixel, read linearly between the weights.
    moved = np.interp(across + (factor - 1) / 2, across, bell, right=0)
    shifted = np.outer(moved, moved) / moved.sum() ** 2
    wanted = ndimage.convolve(image.astype(float), shifted[..., None], mode="mirror")[::factor, ::factor]
    blurred = blur(image, sigma_x=sigma, sigma_y=sigma, angle=0.0, kernel=25)
    found = resize(blurred, height=128 // factor, width=128 // factor)
    inside = (slice(4, -4), slice(4, -4))
    difference = np.abs(found.astype(float) - wanted)[inside]
    assert difference.mean() < 0.5 and difference.max() < 3


@pytest.mark.parametrize("size", [512, 128])
@pytest.mark.parametrize("name", NAMES)
def test_plans_replay_and_survive_json(name, size):
    images = (picture(size), picture(97, 61))
    for place in range(4 if size == 128 else 2):
        plan = draw(name, rng(0, "replay", place), size)
        again = Plan.from_json(plan.to_json())
        assert again == plan and explain(again).startswith(f"{plan.profile} at {size} px: ")
        for image in images:
            result = apply(image, plan)
            assert result.shape == image.shape and np.array_equal(result, apply(image, again))


@pytest.mark.parametrize("name", ["restoreformer++", "real-esrgan", "bsrgan", "iconface"])
def test_a_smaller_face_is_about_as_damaged(name):
    assert abs(damage_apart(name, picture(512), 16)) < 2.0


def test_pictures_get_worse_with_the_strength():
    image = np.ascontiguousarray(render(identity(3), State(), 128).image)

    def psnr(strength: int) -> float:
        chosen, values = iconface_at(strength), []
        for place in range(12):
            # The same positions, half of each family, at every strength.
            plan = draw(chosen, rng(0, "strength", place), 128, {"family.second_order": place % 2})
            assert plan.profile == f"iconface-{strength:02d}"
            values.append(10 * np.log10(255**2 / np.mean((apply(image, plan).astype(float) - image) ** 2)))
        return float(np.mean(values))

    means = [psnr(strength) for strength in range(17)]
    assert all(after < before + 0.1 for before, after in pairwise(means)), means
    assert all(after < before for before, after in zip(means, means[2:], strict=False)), means
    assert means[0] > 38 and means[0] - means[4] > 12 and means[4] - means[16] > 3, means


def test_strength_four_is_as_published():
    for name in ("real-esrgan", "bsrgan"):
        table = profile(name).ranges
        assert at_strength(table, 4) == dict(table)


@pytest.mark.parametrize(("name", "overrides", "said"), [
    ("real-esrgan", {"blur1.sigma": [-1, 3]}, r"blur1\.sigma.*-1 to 3 leaves 0"),
    ("real-esrgan", {"jpeg2.quality": [30, 101]}, r"jpeg2\.quality.*101"),
    ("real-esrgan", {"jpeg2.quality": [0, 40]}, r"jpeg2\.quality.*0 to 40"),
    ("real-esrgan", {"resize1.mode": {"sideways": 1}}, r"resize1\.mode.*sideways.*up, down, keep"),
    ("real-esrgan", {"blur1.shape": {"square": 1}}, r"blur1\.shape.*square.*round gaussian"),
    ("real-esrgan", {"blur1.shape": {"round plateau": -1}}, r"blur1\.shape.*-1"),
    ("real-esrgan", {"final.interpolation": {"magic": 1}}, r"final\.interpolation.*magic"),
    ("real-esrgan", {"noise1.scale": [2, 1]}, r"noise1\.scale.*2 to 1"),
    ("real-esrgan", {"noise1.grey": 1.4}, r"noise1\.grey.*1\.4"),
    ("real-esrgan", {"target.shrink": [0, 4]}, r"target\.shrink.*0 to 4"),
    ("real-esrgan", {"blur.sigma": [0, 4]}, r"blur\.sigma.*did you mean.*blur\d\.sigma"),
    ("bsrgan", {"blur.variance_full": [-2, 2]}, r"blur\.variance_full.*-2"),
    ("bsrgan", {"camera.electrons": [0, 9]}, r"camera\.electrons.*0 to 9"),
    ("bsrgan", {"noise.kind": {"pink": 1}}, r"noise\.kind.*pink"),
    ("iconface", {"strength.value": {"17": 1}}, r"strength\.value.*17"),
    ("iconface", {"bsrgan.jpeg.quality": [5, 400]}, r"bsrgan\.jpeg\.quality.*400"),
    ("restoreformer++", {"uneven.side": [0, 9999]}, r"uneven\.side"),
    ("restoreformer++", {"haze.alpha": [0.5, 1.5]}, r"haze\.alpha.*1\.5"),
    ("gfpgan", {"blur.sigma": [-3, -1]}, r"blur\.sigma.*-3 to -1"),
    ("gfpgan", {"resize.shrink": [0, 1]}, r"resize\.shrink.*0 to 1")])
def test_impossible_overrides_are_refused_and_the_key_named(name, overrides, said):
    with pytest.raises(ConfigurationError, match=f"{name}.*{said}".replace("++", r"\+\+")):
        draw(name, rng(0, "x"), overrides=overrides)


def test_a_strength_outside_the_scale_is_refused():
    for strength in (-1, 17):
        with pytest.raises(ConfigurationError, match=r"strength\.value"):
            iconface_at(strength)


def test_a_recipe_can_fix_a_strength_in_json():
    plan = draw("iconface", rng(0, "x"), overrides={"strength.value": {"13": 1}})
    assert plan.profile == "iconface-13"
