"""A degradation is data: what is drawn, what it does, and that it does so again."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import stats

from degradation import Operation, Plan, apply, draw, explain, profile, profiles
from degradation.operations import anisotropic_kernel, blur, jpeg, noise
from records import ConfigurationError, DataError, rng

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden.json")


def picture(size: int) -> np.ndarray:
    """A deterministic scene with soft and sharp edges at every scale, made of integers only; uint8 [size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size] * 512 // size
    rings = ((x - 250) ** 2 + (y - 200) ** 2) // 900 % 3 * 70
    stripes = (x // 24 + y // 40) % 2 * 60
    shade = (x + 2 * y) // 12 % 128
    channels = (rings + shade // 2, stripes + shade, 255 - rings - stripes // 2)
    return np.stack(channels, axis=2).clip(0, 255).astype(np.uint8)


def sha(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def plans(name: str, count: int, size: int = 512) -> list[Plan]:
    return [draw(name, rng(0, "degradation", position), size) for position in range(count)]


def numbers(drawn: list[Plan], operation: str, parameter: str) -> np.ndarray:
    """One parameter of the first operation of that name, over plans."""
    return np.array([
        next(step for step in plan.operations if step.name == operation).values[parameter] for plan in drawn])


def uniform(values: np.ndarray, ends: tuple[float, float]) -> float:
    """p of the Kolmogorov-Smirnov test against the uniform distribution between the ends."""
    assert values.min() >= ends[0] - 1e-4 and values.max() <= ends[1] + 1e-4
    return float(stats.kstest(values, stats.uniform(ends[0], ends[1] - ends[0]).cdf).pvalue)


@pytest.mark.parametrize("name", profiles())
def test_drawn_numbers_follow_the_published_ranges(name):
    ranges, drawn = profile(name), plans(name, 3000)
    assert uniform(numbers(drawn, "blur", "sigma_x"), ranges.blur) > 1e-3
    assert uniform(numbers(drawn, "noise", "level"), ranges.noise) > 1e-3
    first, second = numbers(drawn, "blur", "sigma_x"), numbers(drawn, "blur", "sigma_y")
    oval = first != second
    assert stats.binomtest(int(oval.sum()), len(oval), 0.5).pvalue > 1e-3
    assert abs(np.corrcoef(first[oval], second[oval])[0, 1]) < 0.1
    assert uniform(numbers(drawn, "blur", "angle")[oval], (0, 180)) > 1e-3
    assert (numbers(drawn, "blur", "kernel") == 41).all()
    quality = numbers(drawn, "jpeg", "quality")
    assert (quality.min(), quality.max()) == ranges.quality
    assert stats.chisquare(np.bincount(quality.astype(int))[ranges.quality[0]:]).pvalue > 1e-3
    side = numbers(drawn, "resize", "side")
    low, high = ranges.shrink
    for factor in np.linspace(low, high, 6)[1:-1]:
        expected = (high - 512 / np.ceil(512 / factor)) / (high - low)
        assert abs((side < np.ceil(512 / factor)).mean() - expected) < 0.035


def test_colour_changes_come_as_often_as_published():
    drawn = plans("gfpgan", 4000)
    for operation, share in (("shift_colour", 0.3), ("grey", 0.01), ("hue", 0.3), ("brightness", 0.3)):
        count = sum(any(step.name == operation for step in plan.operations) for plan in drawn)
        assert stats.binomtest(count, len(drawn), share).pvalue > 1e-3
    orders = {tuple(s.name for s in p.operations if s.name in ("hue", "brightness", "contrast")) for p in drawn}
    assert len(orders) == 7, "three jitters in every order, or none"
    assert not any(len(plan.operations) > 5 for name in profiles()[1:] for plan in plans(name, 50))


@pytest.mark.parametrize("name", profiles())
def test_a_plan_survives_json(name):
    for plan in plans(name, 50, 128):
        again = Plan.from_json(plan.to_json())
        assert again == plan and again.digest == plan.digest and hash(again) == hash(plan)
        assert len(plan.to_json()) < 700
    assert len({plan.digest for plan in plans(name, 50)}) == 50


def test_golden_plans_are_drawn_and_replayed_bit_for_bit():
    golden = json.loads(GOLDEN.read_text())
    assert {Plan.from_json(case["plan"]).profile for case in golden} == set(profiles())
    for case in golden:
        plan = Plan.from_json(case["plan"])
        assert draw(plan.profile, rng(0, "golden", case["position"]), plan.size) == plan
        assert sha(apply(picture(plan.size), plan)) == case["sha256"], explain(plan)


@pytest.mark.parametrize("threads", [1, 4])
def test_other_processes_and_thread_counts_give_the_same_pixels(threads):
    chosen = [plan for name in profiles() for plan in plans(name, 3, 256)]
    script = (
        "import sys, json, hashlib, cv2, numpy as np\n"
        "from degradation import Plan, apply\n"
        "cv2.setNumThreads(int(sys.argv[1]))\n"
        "image = np.frombuffer(bytes.fromhex(sys.stdin.readline().strip()), np.uint8).reshape(256, 256, 3)\n"
        "for line in sys.stdin:\n"
        "    print(hashlib.sha256(apply(image, Plan.from_json(line)).tobytes()).hexdigest())\n")
    lines = [picture(256).tobytes().hex(), *(plan.to_json() for plan in chosen)]
    result = subprocess.run(
        [sys.executable, "-c", script, str(threads)], input="\n".join(lines), capture_output=True, text=True,
        check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert result.stdout.split() == [sha(apply(picture(256), plan)) for plan in chosen]


def test_apply_leaves_the_image_alone_and_repeats_itself():
    image = picture(128)
    before = image.copy()
    for name in profiles():
        plan = draw(name, rng(1, "again"), 128)
        first = apply(image, plan)
        assert first.dtype == np.uint8 and first.shape == image.shape and not np.shares_memory(first, image)
        assert np.array_equal(first, apply(image, plan))
    assert np.array_equal(image, before)
    empty = Plan(profile="none", size=128, operations=())
    assert not np.shares_memory(apply(image, empty), image)


@pytest.mark.parametrize("name", profiles())
def test_a_smaller_face_is_as_damaged(name):
    large = picture(512)
    small = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)

    def psnr(position: int, size: int) -> float:
        image = large if size == 512 else small
        result = apply(image, draw(name, rng(0, "damage", position), size))
        if size == 512:
            result = cv2.resize(result, (128, 128), interpolation=cv2.INTER_AREA)
        error = np.mean((result.astype(np.float64) - small) ** 2)
        return 10 * np.log10(255**2 / error)

    difference = [psnr(position, 512) - psnr(position, 128) for position in range(16)]
    assert abs(np.mean(difference)) < 1.5


def test_severe_is_worse_than_moderate():
    image = cv2.GaussianBlur(picture(128), (0, 0), 2.0)

    def damage(name: str) -> float:
        errors = [apply(image, plan).astype(float) - image for plan in plans(name, 20, 128)]
        return float(np.mean(np.square(errors)))

    assert damage("refldm-severe") > 1.5 * damage("refldm-moderate")


def test_round_blur_is_the_kernel_of_the_oval_one():
    image = picture(128)
    round_blur = blur(image, sigma_x=3.0, sigma_y=3.0, angle=0.0, kernel=41)
    same = cv2.filter2D(image, -1, anisotropic_kernel(3.0, 3.0, 0.0, 41))
    assert np.abs(round_blur.astype(int) - same).max() <= 1


def test_oval_blur_points_where_the_angle_says():
    kernel = anisotropic_kernel(6.0, 1.0, 30.0, 41)
    y, x = np.mgrid[-20:21, -20:21]
    angle = 0.5 * np.arctan2(2 * (kernel * x * y).sum(), (kernel * (x**2 - y**2)).sum())
    assert np.rad2deg(angle) == pytest.approx(30.0, abs=0.5)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(anisotropic_kernel(0.0, 0.0, 10.0, 41)).all()


def test_noise_has_the_level_in_8_bit_units():
    grey = np.full((256, 256, 3), 128, np.uint8)
    field = noise(grey, level=15.0, seed=3).astype(float) - 128
    assert field.std() == pytest.approx(15.0, rel=0.02) and abs(field.mean()) < 0.2
    assert abs(np.corrcoef(field[..., 0].ravel(), field[..., 1].ravel())[0, 1]) < 0.02


def test_jpeg_agrees_with_opencv():
    image = cv2.GaussianBlur(picture(256), (0, 0), 2)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    other = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(jpeg(image, quality=60).astype(int) - other).mean() < 1.0


def test_explain_says_every_step_in_units():
    plan = Plan(profile="gfpgan", size=512, operations=(
        Operation.of("blur", sigma_x=8.25, sigma_y=3.0, angle=34.2, kernel=41), Operation.of("resize", side=64),
        Operation.of("noise", level=12.4, seed=1), Operation.of("jpeg", quality=63), Operation.of("resize", side=512),
        Operation.of("grey"), Operation.of("contrast", factor=0.7)))
    assert explain(plan) == (
        "gfpgan at 512 px: oval blur sigma 8.2 x 3.0 px at 34 degrees, shrunk 8.0 times to 64 px, "
        "noise of 12.4 levels, JPEG quality 63, enlarged 8.0 times to 512 px, grey, contrast times 0.70")
    assert all(explain(p) for name in profiles() for p in plans(name, 20, 128))


def test_wrong_names_images_and_plans_are_refused_with_the_reason():
    with pytest.raises(ConfigurationError, match=r"gfpgam.*did you mean gfpgan"):
        draw("gfpgam", rng(0, "x"))
    with pytest.raises(ConfigurationError, match="smallest size"):
        draw("gfpgan", rng(0, "x"), 8)
    plan = draw("gfpgan", rng(0, "x"), 128)
    for image in (picture(64), picture(128).astype(np.float32), picture(128)[..., 0]):
        with pytest.raises(DataError, match=r"\[128, 128, 3\]"):
            apply(image, plan)
    for text in ("no json", "[]", "{}", plan.to_json().replace('"version":1', '"version":9'),
                 plan.to_json().replace('"side":', '"side":"all","old":')):
        with pytest.raises(DataError):
            Plan.from_json(text)
    for step in (Operation.of("sharpen"), Operation.of("jpeg", loss=3)):
        with pytest.raises(DataError, match=step.name):
            apply(picture(128), Plan(profile="mine", size=128, operations=(step,)))
