"""The first-order formula: the numbers in a plan are those that the profile's table states, at any size."""

import cv2
import numpy as np
import pytest
from scipy import stats

from anchorface.degradation import Plan, apply, profile, profiles
from anchorface.degradation.profiles.first_order import first_order
from tests.degradation.scene import damage_apart, picture, plans

FORMULA = [name for name in profiles() if profile(name).family is first_order]
PLAIN = ["codeformer", "codeformer-large", "diffbir", "faceme", "refldm-train", "refldm-moderate", "refldm-severe"]


def numbers(drawn: list[Plan], operation: str, parameter: str) -> np.ndarray:
    """One parameter of the first operation of that name, over plans."""
    return np.array([
        next(step for step in plan.operations if step.name == operation).values[parameter] for plan in drawn])


def uniform(values: np.ndarray, low: float, high: float) -> float:
    """p of the Kolmogorov-Smirnov test against the uniform distribution between the ends."""
    assert values.min() >= low - 1e-4 and values.max() <= high + 1e-4
    return float(stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plan_holds_numbers_of_the_stated_ranges(name):
    ranges, drawn = profile(name).ranges, plans(name, 2000)
    sigma, shrink, noise, quality = (ranges[key] for key in ("blur.sigma", "resize.shrink", "noise.level",
                                                            "jpeg.quality"))
    assert all([step.name for step in plan.operations] == ["blur", "resize", "noise", "jpeg", "resize"]
               for plan in drawn)
    first, second = numbers(drawn, "blur", "sigma_x"), numbers(drawn, "blur", "sigma_y")
    oval = first != second
    assert uniform(first, sigma.low, sigma.high) > 1e-3
    assert uniform(second[oval], sigma.low, sigma.high) > 1e-3
    assert stats.binomtest(int(oval.sum()), len(oval), 0.5).pvalue > 1e-3
    assert abs(stats.spearmanr(first[oval], second[oval]).statistic) < 0.12
    assert uniform(numbers(drawn, "blur", "angle")[oval], 0, 180) > 1e-3
    assert (numbers(drawn, "blur", "kernel") == 41).all()
    assert uniform(numbers(drawn, "noise", "level"), noise.low, noise.high) > 1e-3
    counts = np.bincount(numbers(drawn, "jpeg", "quality").astype(int), minlength=quality.high + 1)[quality.low:]
    assert len(counts) == quality.high - quality.low + 1 and stats.chisquare(counts).pvalue > 1e-3
    side = numbers(drawn, "resize", "side")
    for factor in np.linspace(shrink.low, shrink.high, 6)[1:-1]:
        expected = (shrink.high - 512 / np.ceil(512 / factor)) / (shrink.high - shrink.low)
        assert abs((side < np.ceil(512 / factor)).mean() - expected) < 0.045


def test_the_published_numbers_stand_in_the_tables():
    # sigma, shrink factor, noise in levels, JPEG quality: papers as each profile's source says.
    published = {
        "gfpgan": ((0.1, 10), (0.8, 8), (0, 20), (60, 100)),
        "codeformer": ((0.1, 10), (1, 12), (0, 15), (60, 100)),
        "codeformer-large": ((1, 15), (4, 30), (0, 20), (30, 80)),
        "difface": ((0.1, 15), (0.8, 32), (0, 20), (30, 100)),
        "diffbir": ((0.1, 12), (1, 12), (0, 15), (30, 100)),
        "faceme": ((0.2, 10), (1, 16), (0, 15), (30, 100)),
        "refldm-train": ((0, 16), (1, 32), (0, 20), (30, 100)),
        "refldm-moderate": ((0, 8), (1, 8), (0, 15), (60, 100)),
        "refldm-severe": ((8, 16), (8, 32), (0, 20), (30, 100)),
    }
    for name, stated in published.items():
        ranges = [profile(name).ranges[key] for key in ("blur.sigma", "resize.shrink", "noise.level", "jpeg.quality")]
        assert tuple((one.low, one.high) for one in ranges) == stated, name


def test_colour_changes_come_as_often_as_published():
    drawn = plans("gfpgan", 4000)
    for operation, share in (("shift_colour", 0.3), ("grey", 0.01), ("hue", 0.3), ("brightness", 0.3)):
        count = sum(any(step.name == operation for step in plan.operations) for plan in drawn)
        assert stats.binomtest(count, len(drawn), share).pvalue > 1e-3
    orders = {tuple(s.name for s in p.operations if s.name in ("hue", "brightness", "contrast")) for p in drawn}
    assert len(orders) == 7, "three jitters in every order, or none"


@pytest.mark.parametrize("name", FORMULA)
def test_a_smaller_face_is_as_damaged(name):
    assert abs(damage_apart(name, picture(512), 12)) < 1.5


def test_severe_is_worse_than_moderate():
    image = cv2.GaussianBlur(picture(128), (0, 0), 2.0)

    def damage(name: str) -> float:
        errors = [apply(image, plan).astype(float) - image for plan in plans(name, 20, 128)]
        return float(np.mean(np.square(errors)))

    assert damage("refldm-severe") > 1.5 * damage("refldm-moderate")
