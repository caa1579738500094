"""Every operation against its plain reference: mean absolute error at most 0.5 levels, 99.9 % of errors at most 3."""

import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from skimage import data

from anchorface.degradation import Operation, Plan, apply, kernels
from anchorface.degradation.convolution import (
    HALVING,
    convolve,
    convolve_and_shrink,
    pyramid_steps,
    trimmed,
    two_passes,
)
from anchorface.degradation.operations import FUNCTIONS
from anchorface.records import DataError, rng
from tests.degradation import plain

SIDES = ((1, 1), (1, 7), (2, 2), (5, 1), (33, 20), (64, 101))
LARGE = (211, 240)
"""Large enough for the pyramid."""


def photograph(height: int, width: int, number: int = 0) -> np.ndarray:
    """A piece of a photograph at its own scale; small ones are random, every level alike."""
    if height < 8 or width < 8:
        return rng(number, f"pixels {height} {width}").integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, (top, left) = ((data.astronaut(), (0, 100)), (data.chelsea(), (40, 90)), (data.coffee(), (60, 150)))[number]
    return np.ascontiguousarray(image[top:top + height, left:left + width])


def close(result: np.ndarray, expected: np.ndarray) -> None:
    """Within the tolerance of the unrounded reference."""
    assert result.dtype == np.uint8 and result.shape == expected.shape
    error = np.abs(result - np.clip(expected, 0, 255))
    assert error.mean() <= 0.5 and np.percentile(error, 99.9) <= 3, (error.mean(), np.percentile(error, 99.9))


BELLS = [  # sigma_x, sigma_y, angle, kernel, kind, beta
    (0.2, 0.2, 0, 7, "gaussian", 1), (1, 1, 0, 21, "gaussian", 1), (3, 3, 0, 21, "gaussian", 1),
    (10, 10, 0, 41, "gaussian", 1), (16, 16, 0, 41, "gaussian", 1), (0.3, 9, 30, 41, "gaussian", 1),
    (1.3, 6, 100, 41, "gaussian", 1), (10, 2.5, 45, 41, "gaussian", 1), (2, 0.5, 170, 7, "gaussian", 1),
    (2, 2, 0, 21, "generalised", 0.5), (3, 3, 0, 21, "generalised", 4), (1, 3, 60, 15, "generalised", 3),
    (2, 2, 0, 21, "plateau", 1), (0.7, 3, 20, 21, "plateau", 2), (3, 3, 0, 41, "plateau", 1.5)]
FIELDS = ("sigma_x", "sigma_y", "angle", "kernel", "kind", "beta")


@pytest.mark.parametrize("values", BELLS)
def test_a_bell_has_the_formula_s_kernel_and_blur_is_its_dense_convolution(values):
    bell = dict(zip(FIELDS, values, strict=True))
    kernel = plain.bell(*values)
    assert np.abs(kernels.blur(**bell) - kernel).max() < 1e-6
    for number, shape in enumerate((LARGE, SIDES[values[3] % len(SIDES)])):
        image = photograph(*shape, number)
        close(FUNCTIONS["blur"](image, **bell), plain.convolved(image, kernel))


@pytest.mark.parametrize(("cutoff", "kernel"), [(math.pi / 5, 21), (math.pi / 3, 7), (2.0, 13), (math.pi, 21)])
def test_sinc_is_the_dense_convolution_with_a_disc_of_frequencies(cutoff, kernel):
    weights = plain.low_pass(cutoff, kernel)
    assert np.abs(kernels.sinc(cutoff=cutoff, kernel=kernel) - weights).max() < 1e-6
    for shape in (LARGE, (9, 30), (1, 1)):
        image = photograph(*shape)
        close(FUNCTIONS["sinc"](image, cutoff=cutoff, kernel=kernel), plain.convolved(image, weights))


def other_kernels() -> dict[str, np.ndarray]:
    across = np.arange(-12, 13)
    disc = (np.hypot(across, across[:, None]) < 11.3) * 1.0
    line = (np.abs(across - 0.6 * across[:, None]) < 0.8) * 1.0
    lopsided = np.tri(9, 15) * np.arange(1, 16)
    return {name: kernel / kernel.sum() for name, kernel in
            {"disc": disc, "line": line, "lopsided": lopsided, "row": np.ones((1, 31)), "one": np.ones((1, 1))}.items()}


@pytest.mark.parametrize("name", other_kernels())
@pytest.mark.parametrize("shape", [LARGE, (3, 50), (1, 1)])
def test_any_odd_kernel_is_convolved_densely(name, shape):
    kernel, image = other_kernels()[name], photograph(*shape, 1)
    expected = plain.convolved(image, kernel)
    close(convolve(image, kernel), expected)
    close(convolve(image[..., 0].copy(), kernel), expected[..., 0])
    light = convolve(image.astype(np.float32) / 255, kernel)
    assert light.dtype == np.float32 and np.abs(light * 255 - expected).mean() < 0.25


@pytest.mark.parametrize("kernel", [np.ones((4, 5)), np.ones(5), np.full((3, 3), np.nan)])
def test_what_is_no_kernel_is_refused(kernel):
    with pytest.raises(DataError, match="kernel"):
        convolve(photograph(20, 20), kernel)
    with pytest.raises(DataError, match="float64"):
        convolve(photograph(20, 20) / 255, np.ones((3, 3)))


def test_each_way_of_convolving_is_taken_where_it_serves():
    wide, narrow, oval = (trimmed(kernels.blur(sigma_x=x, sigma_y=y, angle=30, kernel=41))
                          for x, y in ((12, 12), (1, 1), (0.5, 9)))
    assert pyramid_steps(wide, (512, 512)) >= 2
    assert pyramid_steps(wide, (128, 128)) == pyramid_steps(narrow, (512, 512)) == pyramid_steps(oval, (512, 512)) == 0
    assert two_passes(narrow) is not None and two_passes(oval) is None and max(narrow.shape) < 12


def test_the_halving_filter_is_the_least_squares_solution():
    # One dimension: a signal passes pyrDown, the halved kernel and pyrUp, whose responses are cos(pi f)^4 each.
    reach, frequency = len(HALVING) // 2, np.arange(512) / 512
    centred = np.minimum(frequency, 1 - frequency)
    response, power = np.cos(np.pi * centred) ** 4, 1 / np.maximum(centred, 1 / 512) ** 2
    folded, folded_power = np.roll(response, 256), np.roll(power, 256)
    waves = np.cos(2 * np.pi * frequency[:, None] * np.arange(reach + 1)) * np.where(np.arange(reach + 1), 2, 1)
    rows, wanted = [], []
    for sigma in (1.2, 1.6, 2.2, 3, 5, 9):
        kernel = np.exp(-((np.arange(-20, 21) / sigma) ** 2) / 2)
        passed = (kernel / kernel.sum()) @ np.cos(2 * np.pi * np.outer(np.arange(-20, 21), frequency))
        halved = (waves * passed[:, None] + np.roll(waves * passed[:, None], 256, 0)) / 2
        rows += [halved * (response**2 * np.sqrt(power))[:, None],
                 halved * (response * folded * np.sqrt(folded_power))[:, None]]
        wanted += [passed * np.sqrt(power), np.zeros(512)]
    # Even and odd taps sum to 1 each, exactly.
    sums = np.stack([np.where(np.arange(reach + 1) % 2 == odd, np.where(np.arange(reach + 1), 2, 1), 0)
                     for odd in (0, 1)]) * 1e7
    taps = np.linalg.lstsq(np.concatenate([*rows, sums]), np.concatenate([*wanted, [1e7, 1e7]]), rcond=None)[0]
    assert np.abs(HALVING[reach:] - taps).max() < 2e-3 and np.array_equal(HALVING, HALVING[::-1])
    assert abs(HALVING[::2].sum() - 1) < 1e-6 and abs(HALVING[1::2].sum() - 1) < 1e-6


@pytest.mark.parametrize("bad", [{"kernel": 4}, {"kernel": 0}, {"kernel": 2.5}, {"sigma_x": -1}, {"kind": "box"},
                                 {"sigma_y": float("inf")}, {"beta": 0}, {"angle": float("nan")}])
def test_impossible_blurs_name_the_field(bad):
    with pytest.raises(DataError, match=f"blur.{next(iter(bad))}"):
        FUNCTIONS["blur"](photograph(20, 20), **({"sigma_x": 1, "sigma_y": 2, "angle": 0, "kernel": 5} | bad))


def test_kernels_are_found_by_the_operation_s_name():
    assert np.array_equal(kernels.dense("sinc", cutoff=1.5, kernel=9), kernels.sinc(cutoff=1.5, kernel=9))
    for bad, said in (({"cutoff": 0, "kernel": 9}, "sinc.cutoff"), ({"cutoff": 1, "kernel": 8}, "sinc.kernel")):
        with pytest.raises(DataError, match=said):
            kernels.dense("sinc", **bad)
    with pytest.raises(DataError, match="jpeg"):
        kernels.dense("jpeg")


@pytest.mark.parametrize("interpolation", ["linear", "area", "cubic", "nearest"])
@pytest.mark.parametrize("before", [(1, 1), (7, 12), (101, 64), LARGE])
def test_resize_is_the_textbook_s(before, interpolation):
    # From an odd side to any other no sample lies between two pixels, where either is the nearest.
    image = photograph(*((side - 1 + side % 2 for side in before) if interpolation == "nearest" else before))
    for factor in ((0.13, 0.5, 0.71) if interpolation == "area" else (0.13, 0.5, 0.71, 1.3, 3.0)):
        height, width = (max(1, round(side * factor)) for side in image.shape[:2])
        result = FUNCTIONS["resize"](image, height=height, width=width, interpolation=interpolation)
        close(result, plain.resized(image, height, width, interpolation))


@pytest.mark.parametrize("bad", [{"height": 0}, {"width": 10**6}, {"interpolation": "lanczos"}])
def test_impossible_sizes_name_the_field(bad):
    with pytest.raises(DataError, match=f"resize.{next(iter(bad))}"):
        FUNCTIONS["resize"](photograph(20, 20), **({"height": 5, "width": 5} | bad))


@pytest.mark.parametrize("grey", [0, 1])
@pytest.mark.parametrize("level", [1.0, 7.3, 30.0])
def test_noise_is_normal_white_and_as_strong_as_said(level, grey):
    image = np.full((181, 200, 3), 128, np.uint8)
    field = FUNCTIONS["noise"](image, level=level, seed=5, grey=grey).astype(np.float64) - 128
    reference = np.rint(plain.noise(image, level, 6, grey)) - 128
    count = field[..., 0].size * (1 if grey else 3)
    assert abs(field.mean()) < 4 * level / math.sqrt(count)
    # Rounding to whole levels adds a variance of 1/12.
    assert abs(field.std() / math.hypot(level, 12**-0.5) - 1) < 4 / math.sqrt(2 * count)
    assert abs(stats.skew(field, axis=None)) < 0.05 and abs(stats.kurtosis(field, axis=None)) < 0.1
    first, second = (values[..., 0].ravel() if grey else values.ravel() for values in (field, reference))
    assert stats.ks_2samp(first, second).pvalue > 1e-3
    neighbours = [np.corrcoef(field[1:, :, 0].ravel(), field[:-1, :, 0].ravel())[0, 1],
                  np.corrcoef(field[:, 1:, 0].ravel(), field[:, :-1, 0].ravel())[0, 1]]
    assert np.abs(neighbours).max() < 4 / math.sqrt(field[..., 0].size)
    channels = np.corrcoef(field.reshape(-1, 3), rowvar=False)[np.triu_indices(3, 1)]
    assert (np.array_equal(field[..., 0], field[..., 1]) if grey else np.abs(channels).max() < 0.025)


@pytest.mark.parametrize("grey", [0, 1])
def test_photon_noise_has_the_reference_s_mean_and_spread_at_every_level(grey):
    image = np.repeat(np.arange(40, 216, 25, dtype=np.uint8), 12000).reshape(-1, 300, 1).repeat(3, 2)
    result = FUNCTIONS["poisson"](image, scale=1.5, seed=3, grey=grey).astype(np.float64)
    reference = plain.poisson(image, 1.5, 4, grey)
    for level in np.unique(image):
        of_it = image[..., 0] == level
        ours, theirs = result[of_it], reference[of_it]
        assert abs(ours.mean() - theirs.mean()) < 6 * theirs.std() / math.sqrt(12000)
        assert abs(ours.std() / theirs.std() - 1) < 0.03
        assert abs(stats.skew(ours, axis=None) - stats.skew(theirs, axis=None)) < 0.1


@pytest.mark.parametrize("shape", [(1, 1), (17, 30), (64, 101)])
@pytest.mark.parametrize("quality", [5, 30, 75, 95, 100])
def test_jpeg_is_libjpeg_s(shape, quality):
    image, stored = photograph(*shape, 2), io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality, subsampling=2)
    close(FUNCTIONS["jpeg"](image, quality=quality), np.asarray(Image.open(stored)).astype(np.float64))


COLOURS = {
    "shift_colour": lambda image, red, green, blue: image + np.array([red, green, blue]),
    "grey": lambda image: np.repeat((image @ plain.LUMA)[..., None], 3, -1),
    "brightness": lambda image, factor: image * factor,
    "contrast": plain.contrasted, "saturation": plain.saturated, "hue": plain.hue_turned}


@pytest.mark.parametrize(("name", "values"), [
    ("shift_colour", {"red": 20.4, "green": -20.3, "blue": 0.5}),
    ("shift_colour", {"red": 300, "green": -300, "blue": 0}),
    ("grey", {}), *((name, {"factor": factor}) for name in ("brightness", "contrast", "saturation")
                    for factor in (0, 0.5, 1, 1.37, 4, 60)),
    *(("hue", {"turn": turn}) for turn in (0, 18, -18, 179.5, -400))])
def test_colour_is_the_formula(name, values):
    for shape in ((1, 1), (1, 4), (3, 5), (64, 101)):
        for number in (0, 1):
            image = photograph(*shape, number)
            close(FUNCTIONS[name](image, **values), COLOURS[name](image.astype(np.float64), **values))


@pytest.mark.parametrize("values", [values for values in BELLS if values[3] == 41])
@pytest.mark.parametrize("side", [200, 87, 20])
def test_a_blur_and_the_shrinking_after_it_in_one_go_equal_one_after_the_other(values, side):
    image, kernel = photograph(240, 240), plain.bell(*values)
    expected = plain.resized(plain.convolved(image, kernel), side, side, "linear")
    close(convolve_and_shrink(image, kernel, height=side, width=side), expected)
    steps = (Operation.of("blur", **dict(zip(FIELDS, values, strict=True))), Operation.of("resize", side=side),
             Operation.of("resize", side=240, interpolation="nearest"))
    close(apply(image, Plan(profile="mine", size=240, operations=steps)),
          plain.resized(expected, 240, 240, "nearest"))


def test_a_picture_that_is_no_square_is_blurred_and_shrunk_at_the_right_places():
    image, kernel = photograph(253, 391), plain.bell(6, 6, 0, 41)
    blurred = plain.convolved(image, kernel)
    for height, width in ((120, 200), (253, 100), (31, 391), (1, 1)):
        close(convolve_and_shrink(image, kernel, height=height, width=width),
              plain.resized(blurred, height, width, "linear"))


def test_a_whole_plan_is_what_public_code_makes_of_it():
    image = cv2.resize(photograph(256, 256), (512, 512), interpolation=cv2.INTER_CUBIC)
    for sigma, side, quality in ((2.0, 500, 90), (6.0, 130, 70), (12.0, 40, 40)):
        plan = Plan(profile="mine", size=512, operations=(
            Operation.of("blur", sigma_x=sigma, sigma_y=2 * sigma, angle=20.0, kernel=41),
            Operation.of("resize", side=side), Operation.of("brightness", factor=1.1),
            Operation.of("jpeg", quality=quality), Operation.of("resize", side=512)))
        error = np.abs(apply(image, plan).astype(np.float64) - plain.apply(image, plan))
        # A rounded level may fall into another step of the JPEG's quantisation: nine of ten do not.
        assert error.mean() <= 1.0 and np.median(error) <= 1
