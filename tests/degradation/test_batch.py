"""Plans on a batch of tensors give what they give image by image on the CPU path."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from anchorface.degradation import Operation, Plan, apply, apply_batch, draw, profiles
from anchorface.degradation.batch import ON_CPU, ON_DEVICE, jpeg, where
from anchorface.degradation.batch.fields import words
from anchorface.degradation.batch.stack import Stack
from anchorface.degradation.operations import FUNCTIONS
from anchorface.degradation.operations import noise as cpu_noise
from anchorface.records import DataError, rng
from tests.degradation.scene import picture, plans

SHAPES = ((96, 80), (33, 47), (64, 64), (1, 1), (7, 3), (16, 5), (50, 64))
BAR, WORST = 1.5, 8.0
"""Absolute difference from the CPU path, 8-bit levels: mean of a profile, and of any one image. A level on one pixel in
a hundred grows in the coders after it: coefficients round the other way, and WebP predicts each block from the last."""


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
    ("poisson", [{"scale": 0.3 * place, "seed": place, "grey": place % 2} for place in range(7)]),
    ("correlated_noise", [{"red": 3.0 * place, "green": 5.0, "blue": 9.0, "red_green": 0.3, "red_blue": -0.2,
                           "green_blue": 0.5, "seed": place} for place in range(7)]),
    ("shift", [{"x": 5 * place - 9, "y": 31 - 7 * place} for place in range(7)]),
    ("haze", [{"alpha": 0.1 * place + 0.3} for place in range(7)]),
    ("vignette", [{"field_angle": 8.0 * place} for place in range(7)]),
    ("sensor_noise", [{"iso": 400.0 * (place + 1), "seed": place, "full_well": 12000.0, "read_noise": 3.0} for place in
                      range(7)]),
    ("banding", [{"period": 10.0 + place, "amplitude": 0.1 * place, "phase": 30.0 * place} for place in range(7)]),
    ("exposure", [{"stops": 0.5 * place - 2} for place in range(7)]),
    ("white_balance", [{"temperature": 2000.0 + 1200 * place, "tint": 0.2 * place} for place in range(7)]),
    ("bit_depth", [{"bits": place + 1} for place in range(7)]),
    ("fade", [{"cyan": 0.1 * place, "magenta": 0.05 * place, "yellow": 0.02 * place} for place in range(7)]),
    ("yellow", [{"density": 0.1 * place} for place in range(7)]),
    ("glare", [{"x": 0.2 * place, "y": 0.5, "width": 10.0 + place, "height": 20.0, "strength": 0.2 * place,
                "veil": 0.01 * place, "kind": ("lamp", "window")[place % 2]} for place in range(7)]),
    ("interlace", [{"offset": 1.3 * place - 3} for place in range(7)]),
    ("blocks", [{"block": 2.0 + 3 * place, "share": 0.15 * place, "seed": place} for place in range(7)]),
    ("brightness", [{"factor": factor} for factor in (0.5, 0.7, 1.3, 1.5, 0.0, 1.0, 0.9)]),
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
    ("camera_noise", [{"electrons": 500.0 * (place + 1), "read": 3.0 + place, "red_gain": 1.9, "blue_gain": 1.4,
                       "seed": place} for place in range(7)]),
    ("defocus", [{"radius": 0.3 * place} for place in range(7)]),
    ("motion", [{"length": 1.5 * place, "angle": 20.0 * place} for place in range(7)]),
    ("fringe", [{"red": 0.5 * place - 1, "blue": 1.5 - 0.4 * place} for place in range(7)]),
    ("film_grain", [{"strength": 4.0 * place, "grain": 1 + 0.5 * place, "seed": place} for place in range(7)]),
    *[("paper", [{"strength": 0.03 * place, "grain": 1.0 + place, "kind": kind, "seed": 17 * place} for place in
                 range(7)]) for kind in ("fibre", "silk")],
    ("halftone", [{"lines": 20.0 + 5 * place, "angle": 13.0 * place, "hardness": 2.0 + place} for place in range(7)]),
    ("moire", [{"pitch": 1.1 + 0.3 * place, "angle": 3.0 * place, "depth": 0.05 * place, "bend": 1.0 * place} for place
               in range(7)]),
    ("saturation", [{"factor": factor} for factor in (0.5, 0.7, 1.3, 1.5, 0.0, 1.0, 0.9)]),
    ("contrast", [{"factor": factor} for factor in (0.5, 0.7, 1.3, 1.5, 0.0, 1.0, 0.9)]),
    ("hue", [{"turn": turn} for turn in (-36, 36, 10, -5, 0, 1, 180)]),
    *[("resize", [{"height": height, "width": width, "interpolation": how} for height, width in (
        (48, 40), (100, 200), (37, 55), (5, 3), (20, 21), (8, 3), (96, 33))]) for how in ("area", "cubic")],
])
def test_float_operations_are_a_level_apart_at_most(name, values):
    for batched, alone in both_ways(name, values, images()):
        difference = apart(batched, alone)
        assert difference.max() <= 1 and difference.mean() <= 0.35


def test_sharpening_is_near_though_a_level_decides_where_it_acts():
    values = [{"amount": 0.5, "sigma": 1 + place / 2, "kernel": 11, "threshold": 10.0} for place in range(7)]
    for batched, alone in both_ways("sharpen", values, images()):
        difference = apart(batched, alone)
        assert difference.max() <= 8 and difference.mean() <= 0.35


@pytest.mark.parametrize(("subsampling", "factors"), [
    ("444", 0x111111), ("422", 0x211111), ("420", 0x221111), ("440", 0x121111), ("411", 0x411111)])
def test_jpeg_is_libjpegs_slow_transform_bit_for_bit(subsampling, factors):
    given, qualities = images(), (1, 30, 50, 75, 90, 95, 100)
    made = both_ways("jpeg", [{"quality": quality, "subsampling": subsampling} for quality in qualities], given)
    for (batched, _), one, quality in zip(made, given, qualities, strict=True):
        coded = cv2.imencode(".jpg", cv2.cvtColor(one, cv2.COLOR_RGB2BGR), [
            cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors])[1]
        assert np.array_equal(batched, cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB))
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
    code = "import sys; from anchorface import degradation; degradation.apply_batch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
