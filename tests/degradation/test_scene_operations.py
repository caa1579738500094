"""Shift, haze, uneven damage and sharpening do what their formulas say."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from anchorface.degradation import Operation, Plan, apply, explain
from anchorface.degradation.operations.scene import haze, shift, uneven
from anchorface.degradation.operations.sharpen import sharpen
from anchorface.records import DataError
from tests.degradation.scene import picture

BRANCHES = {
    "inside": {"sigma_x": 1.0, "sigma_y": 2.0, "angle": 30.0, "kernel": 9, "alpha": 1.0, "shrink": 2.0, "level": 3.0,
               "seed": 1, "quality": 90},
    "outside": {"sigma_x": 4.0, "sigma_y": 4.0, "angle": 0.0, "kernel": 21, "alpha": 0.8, "shrink": 6.0, "level": 12.0,
                "seed": 2, "quality": 40}}
UNEVEN = {"x": 20, "y": 40, "side": 32, "edge": 0.0} | {
    f"{where}_{key}": value for where, values in BRANCHES.items() for key, value in values.items()}
USM = {"amount": 0.5, "sigma": 8.0, "kernel": 51, "threshold": 10.0}


def first_order(image: np.ndarray, where: str) -> np.ndarray:
    """A branch as a plan of its own."""
    values, size = BRANCHES[where], image.shape[0]
    steps = [Operation.of("blur", **{key: values[key] for key in ("sigma_x", "sigma_y", "angle", "kernel")}),
             Operation.of("haze", alpha=values["alpha"]), Operation.of("resize", side=round(size / values["shrink"])),
             Operation.of("noise", level=values["level"], seed=values["seed"]),
             Operation.of("jpeg", quality=values["quality"]), Operation.of("resize", side=size)]
    return apply(image, Plan(profile="branch", size=size, operations=tuple(steps)))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (5, 7), (40, 30)])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (2, -3), (-7, 5), (100, -33), (-1, 1)])
def test_shift_moves_the_picture_and_mirrors_it(height, width, x, y):
    image = picture(height, width)
    padded = np.pad(image, ((150, 150), (150, 150), (0, 0)), mode="symmetric")
    assert np.array_equal(shift(image, x=x, y=y), padded[150 - y:150 - y + height, 150 - x:150 - x + width])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.95, 1.0])
def test_haze_is_a_blend_with_white(alpha):
    image = picture(40)
    assert np.abs(haze(image, alpha=alpha) - (alpha * image + (1 - alpha) * 255)).max() < 0.5 + 1e-9, "rounded"


def test_uneven_is_one_branch_in_the_square_and_the_other_around_it():
    image = picture(96)
    result = uneven(image, **UNEVEN)
    inside = np.zeros((96, 96), bool)
    inside[40:72, 20:52] = True
    assert np.array_equal(result[inside], first_order(image, "inside")[inside])
    assert np.array_equal(result[~inside], first_order(image, "outside")[~inside])


def test_a_soft_edge_is_a_straight_blend_from_one_branch_to_the_other():
    image = picture(96)
    soft = uneven(image, **(UNEVEN | {"edge": 12.0})).astype(float)
    one, other = (first_order(image, where).astype(float) for where in BRANCHES)
    share = np.clip((np.arange(96) + 0.5 - 20) / 12 + 0.5, 0, 1)
    row = 56
    left = slice(0, 36)
    wanted = share[:, None] * one[row] + (1 - share[:, None]) * other[row]
    assert np.abs(soft[row, left] - wanted[left]).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (97, 61)])
def test_uneven_and_sharpen_keep_every_shape(shape):
    image = picture(*shape)
    for values in (UNEVEN, UNEVEN | {"x": -50}, UNEVEN | {"x": 500}, UNEVEN | {"side": 0}):
        assert uneven(image, **values).shape == image.shape
    assert sharpen(image, **USM).shape == image.shape


def test_sharpen_is_the_unsharp_mask_written_out():
    image = cv2.GaussianBlur(picture(128), (0, 0), 1.0)
    across = np.arange(51) - 25
    bell = np.exp(-0.5 * (across / 8.0) ** 2)
    bell /= bell.sum()

    def smooth(values: np.ndarray) -> np.ndarray:
        return ndimage.convolve1d(ndimage.convolve1d(values, bell, axis=0, mode="mirror"), bell, axis=1, mode="mirror")

    given = image.astype(float)
    residual = given - smooth(given)
    soft = smooth((np.abs(residual) > 10).astype(float))
    wanted = soft * (given + 0.5 * residual).clip(0, 255) + (1 - soft) * given
    difference = np.abs(sharpen(image, **USM) - wanted)
    assert difference.mean() < 0.5 and np.percentile(difference, 99.9) < 3
    assert np.abs(wanted - given).mean() > 2, "the picture gives it something to do"


def test_nothing_to_sharpen_changes_nothing():
    image = picture(60)
    assert np.array_equal(sharpen(image, **(USM | {"amount": 0.0})), image)
    flat = np.full((50, 50, 3), 77, np.uint8)
    assert np.array_equal(sharpen(flat, **USM), flat)


@pytest.mark.parametrize(("function", "values", "field"), [
    (shift, {"x": 0.5, "y": 0}, r"shift\.x"), (haze, {"alpha": 1.2}, r"haze\.alpha"),
    (haze, {"alpha": float("nan")}, r"haze\.alpha"), (uneven, UNEVEN | {"side": -1}, r"uneven\.side"),
    (uneven, UNEVEN | {"edge": float("inf")}, r"uneven\.edge"),
    (uneven, UNEVEN | {"outside_shrink": 0.0}, r"uneven\.outside_shrink"),
    (uneven, UNEVEN | {"inside_level": -3}, r"noise\.level"), (uneven, UNEVEN | {"inside_kernel": 4}, r"blur\.kernel"),
    (uneven, UNEVEN | {"outside_quality": 0}, "quality"), (sharpen, USM | {"amount": -1}, r"sharpen\.amount"),
    (sharpen, USM | {"threshold": 300}, r"sharpen\.threshold"), (sharpen, USM | {"sigma": -2.0}, "sigma")])
def test_impossible_numbers_are_refused_and_named(function, values, field):
    with pytest.raises(DataError, match=field):
        function(picture(16), **values)


def test_the_scene_is_explained():
    plan = Plan(profile="mine", size=96, operations=(
        Operation.of("shift", x=3, y=-4), Operation.of("haze", alpha=0.9), Operation.of("uneven", **UNEVEN)))
    said = explain(plan)
    assert "moved by +3 -4 px, haze of 0.90, uneven: in a square of 32 px at 20 40 (blur 1.0 x 2.0 px" in said
    assert "around it (blur 4.0 x 4.0 px, haze 0.80, shrunk 6.0 times" in said
