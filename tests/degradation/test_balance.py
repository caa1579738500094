"""A recipe asks for a distribution over severity and gets it."""

import cv2
import numpy as np
import pytest
from scipy import stats

from anchorface.degradation import Operation, Plan, apply, draw, profiles
from anchorface.degradation.balance import UNCHANGED, Severity, acceptance, draw_balanced, severity
from anchorface.degradation.profiles import profile
from anchorface.degradation.ranges import Draws
from anchorface.records import ConfigurationError, DataError, rng
from tests.degradation.scene import picture


def faces(side: int) -> tuple[np.ndarray, ...]:
    """Two pictures of an oval with eyes and a mouth before a shaded wall."""
    y, x = np.mgrid[0:512, 0:512]
    light = 20 + x // 8 + y // 16 + 90 * ((x - 256) ** 2 + (y - 230) ** 2 / 1.7 < 150**2)
    for eye in (200, 312):
        light += 60 * ((x - eye) ** 2 + (y - 200) ** 2 < 30**2)
    light -= 70 * ((abs(x - 256) < 60) & (abs(y - 330) < 14))
    large = np.stack([light, light * 0.8, light * 0.7 + 20], axis=2).clip(0, 255).astype(np.uint8)
    face = cv2.resize(cv2.GaussianBlur(large, (0, 0), 2), (side, side), interpolation=cv2.INTER_AREA)
    return face, np.ascontiguousarray(face[::-1, ::-1])


FACES = faces(48)
TARGET = Severity(((20.0, 27.0, 0.5), (27.0, 30.0, 0.3), (30.0, 45.0, 0.2)))
COUNT = 200


@pytest.fixture(scope="module")
def balanced() -> list[Plan]:
    return [draw_balanced("refldm-train", rng(0, "balanced", n), 48, target=TARGET, images=FACES) for n in range(COUNT)]


def _histogram(plans: list[Plan]) -> np.ndarray:
    edges = [TARGET.bins[0][0], *(high for _, high, _ in TARGET.bins)]
    return np.histogram([severity(plan, FACES) for plan in plans], edges)[0]


def test_the_asked_distribution_of_severity_is_what_comes(balanced):
    asked = np.array([share for _, _, share in TARGET.bins]) * COUNT
    counts = _histogram(balanced)
    assert counts.sum() == COUNT
    assert stats.chisquare(counts, asked).pvalue > 1e-3
    own = _histogram([draw("refldm-train", rng(0, "own", n), 48) for n in range(COUNT)])
    assert stats.chisquare(own, asked * own.sum() / COUNT).pvalue < 1e-6, "the profile's own plans are others"


def test_a_balanced_plan_is_a_function_of_its_arguments(balanced):
    for n in (0, 7):
        assert draw_balanced("refldm-train", rng(0, "balanced", n), 48, target=TARGET, images=FACES) == balanced[n]
    assert len({plan.digest for plan in balanced}) == COUNT
    assert {plan.profile for plan in balanced} == {"refldm-train"}


def test_a_large_plan_is_as_severe_as_its_small_twin():
    large = faces(192)
    mild = Severity(((30.0, 40.0, 1.0),))
    harsh = Severity(((20.0, 27.0, 1.0),))
    made = [[draw_balanced("refldm-train", rng(1, "twin", n), 192, target=target, images=FACES) for n in range(12)]
            for target in (mild, harsh)]
    assert all(plan.size == 192 for plans in made for plan in plans)
    mild_dB, harsh_dB = ([severity(plan, large) for plan in plans] for plans in made)
    assert np.mean(mild_dB) > np.mean(harsh_dB) + 3
    assert np.mean(np.array(mild_dB) > 28) > 0.8 and np.mean(np.array(harsh_dB) < 29) > 0.8


@pytest.mark.parametrize("name", profiles())
def test_twins_of_two_sizes_are_drawn_with_the_same_numbers(name):
    for n in range(20):
        seen = []
        for size in (48, 512):
            draws = Draws(profile(name).ranges, rng(0, "twins", n), size)
            profile(name).family(draws)
            seen.append(draws.seen)
        assert seen[0] == seen[1]


def test_severity_is_the_psnr_of_all_faces_together():
    plan = Plan(profile="mine", size=48, operations=(Operation.of("brightness", factor=0.7),))
    error = np.mean([(apply(face, plan).astype(float) - face) ** 2 for face in FACES])
    assert severity(plan, FACES) == pytest.approx(10 * np.log10(255**2 / error))
    nothing = Plan(profile="mine", size=48, operations=())
    assert severity(nothing, FACES) == UNCHANGED
    assert Severity(((20.0, UNCHANGED, 1.0),)).holds(0, UNCHANGED)


def test_the_acceptance_is_the_profiles_own_share_of_each_bin():
    shares = acceptance("refldm-train", target=TARGET, images=FACES)
    assert len(shares) == 3 and all(0 < share < 1 for share in shares) and sum(shares) <= 1
    own = _histogram([draw("refldm-train", rng(2, "own", n), 48) for n in range(COUNT)]) / COUNT
    assert np.abs(np.array(shares) - own).max() < 0.15
    mild = Severity(((30.0, 45.0, 1.0),))
    gentle = acceptance("refldm-train", target=mild, images=FACES, count=64,
                        overrides={"blur.sigma": [0, 0.5], "resize.shrink": [1, 1.5], "noise.level": [0, 9]})
    assert gentle[0] > 0.9 > shares[2]


def test_an_unreachable_bin_is_named_before_the_run_and_while_drawing():
    target = Severity(((20.0, 30.0, 0.5), (70.0, 90.0, 0.5)))
    with pytest.raises(ConfigurationError, match=r"bin 1 \(70 to 90 dB.*'refldm-train'.*between"):
        acceptance("refldm-train", target=target, images=FACES, count=32)
    with pytest.raises(ConfigurationError, match=r"bin 1 \(70 to 90 dB.*none of 20 plans"):
        for n in range(20):
            draw_balanced("refldm-train", rng(0, "x", n), 48, target=target, images=FACES, tries=20)


@pytest.mark.parametrize(("bins", "said"), [
    ((), "add up to 0"), (((10, 20, 0.5),), "add up to 0.5"), (((20, 10, 1),), "bin 0.*20 to 10"),
    (((10, 20, 0.5), (15, 30, 0.5)), "bin 1.*inside"), (((10, 20, -0.5), (20, 30, 1.5)), "bin 0"),
    (((10, float("inf"), 1),), "bin 0"), (((10, 20),), "bin 0"), ((10, 20, 1), "bin 0.*10 is not"),
    ((("low", 20, 1),), "bin 0")])
def test_bins_that_are_none_are_refused(bins, said):
    with pytest.raises(ConfigurationError, match=said):
        Severity(bins)


@pytest.mark.parametrize(("images", "said"), [
    ((), "empty"), ((picture(48), picture(32)), "one square size"), ((picture(48, 32),), "one square size"),
    ((picture(48).astype(float),), "float64")])
def test_sets_of_faces_that_are_none_are_refused(images, said):
    with pytest.raises(DataError, match=said):
        draw_balanced("refldm-train", rng(0, "x"), 48, target=TARGET, images=images)
