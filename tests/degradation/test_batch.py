"""Plans on a batch of tensors give what they give image by image on the CPU path."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from degradation import Operation, Plan, apply, apply_batch, draw, profiles
from degradation.batch import ON_CPU, ON_DEVICE, jpeg, where
from degradation.batch.fields import words
from degradation.batch.stack import Stack
from degradation.operations import FUNCTIONS
from degradation.operations import noise as cpu_noise
from records import DataError, rng
from tests.degradation.scene import picture, plans

SHAPES = ((96, 80), (33, 47), (64, 64), (1, 1), (7, 3), (16, 5), (50, 64))
BAR, WORST = 1.5, 4.0
"""Absolute difference from the CPU path, 8-bit levels: mean of a profile, and of any one image. A blur that is a tenth
of a level apart is more after a JPEG, where some coefficients then round the other way."""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images() -> list[np.ndarray]:
    """Scenes and smooth random colours, of many shapes."""
    draws = np.random.default_rng(0)
    rough = [draws.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in SHAPES]
    return [cv2.GaussianBlur(one, (0, 0), 1.0) if place % 2 else picture(*SHAPES[place])
            for place, one in enumerate(rough)]


def both_ways(name: str, values: list[dict], given: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each image through the batched operation and alone through the CPU path's; the spare canvas is rubbish."""
    height, width = max(len(one) for one in given), max(one.shape[1] for one in given)
    canvas = np.random.default_rng(1).integers(0, 256, (len(given), height, width, 3)).astype(np.uint8)
    for place, one in zip(canvas, given, strict=True):
        place[:one.shape[0], :one.shape[1]] = one
    stack = Stack(torch.from_numpy(canvas).permute(0, 3, 1, 2).contiguous(), [one.shape[:2] for one in given])
    result = ON_DEVICE[name](stack, values)
    return [(result.pixels[place, :, :height, :width].permute(1, 2, 0).numpy(), FUNCTIONS[name](one, **values[place]))
            for place, (one, (height, width)) in enumerate(zip(given, result.sizes, strict=True))]


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Absolute differences, in levels."""
    assert first.shape == second.shape
    return np.abs(first.astype(int) - second.astype(int))


def batch(name: str, size: int, count: int) -> tuple[torch.Tensor, list[Plan]]:
    face = torch.from_numpy(picture(size))
    return torch.stack([face.roll(11 * place, 0) for place in range(count)]), plans(name, count, size)


def test_words_are_those_of_the_cpu_path():
    seeds = [0, 1, 12345, 2**32 - 1, 2**63 + 5, 2**100 + 7]
    for count in (1, 15, 16, 1001):
        made = words(seeds, count, torch.device("cpu")).numpy()
        assert all(np.array_equal(row, cpu_noise.words(seed, count)) for row, seed in zip(made, seeds, strict=True))


@pytest.mark.parametrize(("name", "values"), [
    ("noise", [{"level": 3.0 * place, "seed": 77 * place, "grey": place % 2} for place in range(7)]),
    ("brightness", [{"factor": factor} for factor in (0.5, 0.7, 1.3, 1.5, 0.0, 1.0, 0.9)]),
    ("contrast", [{"factor": factor} for factor in (0.5, 0.7, 1.3, 1.5, 0.0, 1.0, 0.9)]),
    ("shift_colour", [{"red": 3.5, "green": -20.0, "blue": 0.3}] * 7),
    ("grey", [{}] * 7),
    *[("resize", [{"height": height, "width": width, "interpolation": how} for height, width in (
        (48, 40), (100, 200), (37, 55), (5, 3), (20, 21), (8, 3), (96, 33))]) for how in ("linear", "nearest")],
])
def test_whole_number_operations_have_the_same_bytes(name, values):
    for batched, alone in both_ways(name, values, images()):
        assert np.array_equal(batched, alone)


@pytest.mark.parametrize(("name", "values"), [
    ("blur", [{"sigma_x": first, "sigma_y": second, "angle": angle, "kernel": kernel} for
              first, second, angle, kernel in ((3, 3, 0, 41), (2, 5, 30, 41), (10, 10, 0, 41), (1, 1, 0, 3),
                                               (2, 3, 10, 21), (4, 4, 0, 21), (0.0, 2, 45, 13))]),
    ("saturation", [{"factor": factor} for factor in (0.5, 0.7, 1.3, 1.5, 0.0, 1.0, 0.9)]),
    ("hue", [{"turn": turn} for turn in (-36, 36, 10, -5, 0, 1, 180)]),
    *[("resize", [{"height": height, "width": width, "interpolation": how} for height, width in (
        (48, 40), (100, 200), (37, 55), (5, 3), (20, 21), (8, 3), (96, 33))]) for how in ("area", "cubic")],
])
def test_float_operations_are_a_level_apart_at_most(name, values):
    for batched, alone in both_ways(name, values, images()):
        difference = apart(batched, alone)
        assert difference.max() <= 1 and difference.mean() <= 0.35


def test_jpeg_is_libjpegs_slow_transform_bit_for_bit():
    given, qualities = images(), (1, 30, 50, 75, 90, 95, 100)
    made = both_ways("jpeg", [{"quality": quality} for quality in qualities], given)
    for (batched, _), one, quality in zip(made, given, qualities, strict=True):
        coded = cv2.imencode(".jpg", cv2.cvtColor(one, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        assert np.array_equal(batched, cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
    assert np.mean([apart(batched, alone).mean() for batched, alone in made]) <= BAR


def test_jpegs_transform_is_the_cosine_transform():
    rows, columns = np.mgrid[0:8, 0:8]
    cosines = np.cos((2 * columns + 1) * rows * np.pi / 16) * np.where(rows == 0, 0.5**0.5, 1)
    assert np.abs(np.array(jpeg.TRANSFORM) / 8192 - cosines * 2**0.5).max() < 5e-4


@pytest.mark.parametrize("name", profiles())
def test_every_profile_is_within_the_bar_of_the_cpu_path(name):
    differences = []
    for size, count in ((128, 6), (256, 2)):
        faces, drawn = batch(name, size, count)
        differences += [apart(batched.numpy(), apply(face.numpy(), plan)).mean()
                        for batched, face, plan in zip(apply_batch(faces, drawn), faces, drawn, strict=True)]
    assert np.mean(differences) <= BAR and max(differences) <= WORST


def test_a_mixed_batch_equals_its_images_alone():
    names = profiles()
    drawn = [draw(name, rng(1, "mixed", place), 64) for place, name in enumerate(names)]
    faces = torch.from_numpy(picture(64, 48)).expand(len(names), -1, -1, -1)
    together = apply_batch(faces, drawn)
    assert together.shape == faces.shape and together.dtype == torch.uint8 and together.is_contiguous()
    for batched, face, plan in zip(together, faces, drawn, strict=True):
        assert apart(batched.numpy(), apply_batch(face[None], [plan])[0].numpy()).mean() < 0.01


def test_images_are_left_as_they_are():
    faces, drawn = batch("gfpgan", 64, 3)
    before = faces.clone()
    result = apply_batch(faces, [drawn[0], drawn[1], Plan(profile="none", size=64, operations=())])
    result += 1
    assert torch.equal(faces, before)


def test_every_operation_is_in_one_table():
    assert set(ON_DEVICE) | ON_CPU == set(FUNCTIONS) and not set(ON_DEVICE) & ON_CPU


def test_where_tells_device_from_cpu_and_names_what_it_does_not_know():
    def plan(name: str) -> Plan:
        return Plan(profile="made", size=32, operations=(Operation.of(name),))
    assert where(plan("jpeg")) == {"jpeg": "device"}
    assert all(where(plan(name)) == {name: "cpu"} for name in ON_CPU)
    with pytest.raises(DataError, match="sharpen_nothing"):
        where(plan("sharpen_nothing"))
    with pytest.raises(DataError, match="sharpen_nothing"):
        apply_batch(torch.zeros((1, 32, 32, 3), dtype=torch.uint8), [plan("sharpen_nothing")])


@pytest.mark.parametrize(("faces", "count", "said"), [
    (np.zeros((1, 8, 8, 3), np.uint8), 1, "torch tensor"),
    (torch.zeros((1, 8, 8, 3)), 1, "float32"),
    (torch.zeros((1, 3, 8, 8), dtype=torch.uint8), 1, r"\[1, 3, 8, 8\]"),
    (torch.zeros((8, 8, 3), dtype=torch.uint8), 1, r"\[8, 8, 3\]"),
    (torch.zeros((1, 0, 8, 3), dtype=torch.uint8), 1, r"\[1, 0, 8, 3\]"),
    (torch.zeros((2, 8, 8, 3), dtype=torch.uint8), 1, "1 for 2 images"),
])
def test_images_of_another_kind_and_too_few_plans_are_refused(faces, count, said):
    with pytest.raises(DataError, match=said):
        apply_batch(faces, plans("gfpgan", count, 16))


@pytest.mark.parametrize("operation", [
    Operation.of("jpeg"), Operation.of("jpeg", quality=50, colour=1), Operation.of("resize", interpolation="linear"),
    Operation.of("resize", side=9, interpolation="magic"), Operation.of("jpeg", quality=0),
])
def test_parameters_that_an_operation_does_not_take_are_refused(operation):
    plan = Plan(profile="made", size=16, operations=(operation, Operation.of("resize", side=16)))
    with pytest.raises(DataError, match=operation.name):
        apply_batch(torch.zeros((1, 16, 16, 3), dtype=torch.uint8), [plan])


def test_a_plan_that_ends_at_another_size_is_refused():
    plan = Plan(profile="made", size=16, operations=(Operation.of("resize", side=8),))
    with pytest.raises(DataError, match=r"\[8, 8\]"):
        apply_batch(torch.zeros((1, 16, 16, 3), dtype=torch.uint8), [plan])


def test_the_cpu_path_starts_without_torch():
    code = "import sys, degradation; degradation.apply_batch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
