"""Noise has the statistics that its parameters state."""

import cv2
import numpy as np
import pytest
from scipy import ndimage, stats

from anchorface.degradation.fields import words
from anchorface.degradation.operations.noise import camera_noise, correlated_noise, noise, photon_table, poisson
from anchorface.records import DataError
from tests.degradation.scene import picture

CAMERA = {"electrons": 900, "read": 1.2, "red_gain": 2.1, "blue_gain": 1.6, "seed": 7}
MIXED = {"red": 12.0, "green": 9.0, "blue": 16.0, "red_green": 0.5, "red_blue": 0.3, "green_blue": 0.7, "seed": 3}
MAKERS = {
    "noise": (noise, {"level": 12.0, "seed": 1}), "noise grey": (noise, {"level": 12.0, "seed": 1, "grey": 1}),
    "poisson": (poisson, {"scale": 1.5, "seed": 1}), "poisson grey": (poisson, {"scale": 1.5, "seed": 1, "grey": 1}),
    "correlated": (correlated_noise, MIXED), "camera": (camera_noise, CAMERA)}


def flat(level: int, side: int = 400) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def test_words_are_those_of_the_published_generator():
    raw = np.random.Philox(key=5).random_raw(3)
    assert words(5, 11).tolist() == [int(one) >> shift & 0xFFFF for one in raw for shift in (0, 16, 32, 48)][:11]


@pytest.mark.parametrize("level", [0.0, 1.0, 7.5, 30.0])
def test_white_noise_has_the_stated_deviation_and_no_pattern(level):
    field = noise(flat(128), level=level, seed=4).astype(float) - 128
    assert abs(field.mean()) < 0.02 + 0.01 * level
    assert field.var() == pytest.approx(level**2 + (1 / 12 if level else 0), rel=0.02)
    if level:
        assert abs(np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1]) < 0.01
        assert np.abs(np.corrcoef(field.reshape(-1, 3).T) - np.eye(3)).max() < 0.01


@pytest.mark.parametrize("name", ["noise grey", "poisson grey"])
def test_grey_noise_is_the_same_in_all_channels(name):
    function, values = MAKERS[name]
    field = function(flat(100), **values).astype(int) - 100
    assert np.array_equal(field[..., 0], field[..., 1]) and np.array_equal(field[..., 0], field[..., 2])
    assert field.std() > 5


@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
@pytest.mark.parametrize("level", [1, 3, 12, 60, 128, 200, 255])
def test_photon_noise_of_a_level_has_the_formula_s_mean_and_variance(level, scale):
    photons = np.random.default_rng(0).poisson(level * 256 / 255, 480_000)
    textbook = np.rint(level + scale * (photons / 256 * 255 - level)).clip(0, 255)
    drawn = poisson(flat(level), scale=scale, seed=11).astype(float).ravel()
    assert drawn.mean() == pytest.approx(textbook.mean(), rel=0.02, abs=0.01)
    assert drawn.var() == pytest.approx(textbook.var(), rel=0.02, abs=0.002)
    ends = np.arange(257) - 0.5
    shares = [np.cumsum(np.histogram(values, ends)[0]) / values.size for values in (drawn, textbook)]
    assert np.abs(shares[0] - shares[1]).max() < 0.006, "not only the moments: the whole distribution"


@pytest.mark.parametrize("level", [1, 2, 9, 77, 180, 255])
def test_the_photon_table_holds_poisson_quantiles(level):
    row = photon_table().view(np.int8)[level].astype(int) + level
    mean = level * 256 / 255
    assert np.array_equal(row, stats.poisson.ppf((np.arange(4096) + 0.5) / 4096, mean))
    assert row.mean() == pytest.approx(mean, rel=0.002) and row.var() == pytest.approx(mean, rel=0.004)
    assert not photon_table()[0].any(), "black has no photons"


def test_grey_photon_noise_follows_the_luma():
    image = np.broadcast_to(np.uint8([200, 90, 40]), (400, 400, 3)).copy()
    luma = round(0.299 * 200 + 0.587 * 90 + 0.114 * 40)
    photons = np.random.default_rng(0).poisson(luma * 256 / 255, 480_000)
    textbook = np.rint(1.3 * (photons / 256 * 255 - luma))
    field = poisson(image, scale=1.3, seed=5, grey=1).astype(float) - image
    assert field[..., 0].mean() == pytest.approx(textbook.mean(), abs=0.1)
    assert field[..., 0].var() == pytest.approx(textbook.var(), rel=0.02)


def test_correlated_noise_has_the_stated_covariance():
    field = correlated_noise(flat(128), **MIXED).astype(float) - 128
    spread = np.array([12.0, 9.0, 16.0])
    shared = np.array([[1, 0.5, 0.3], [0.5, 1, 0.7], [0.3, 0.7, 1]])
    wanted = np.outer(spread, spread) * shared
    assert np.abs(np.cov(field.reshape(-1, 3).T) - wanted).max() < 0.02 * wanted.max()


@pytest.mark.parametrize("values", [
    {"red_green": 1.0, "red_blue": 1.0, "green_blue": 1.0}, {"red_green": 0.0, "red_blue": 0.0, "green_blue": 1.0},
    {"red_green": 0.0, "red_blue": 1.0, "green_blue": 0.0}, {"red_green": 0.7071, "red_blue": 0.7071, "green_blue": 0}])
def test_correlations_at_the_edge_of_the_possible_work(values):
    field = correlated_noise(flat(128), **(MIXED | values)).astype(float) - 128
    measured = np.corrcoef(field.reshape(-1, 3).T)
    wanted = [values[key] for key in ("red_green", "red_blue", "green_blue")]
    assert np.abs(measured[[0, 0, 1], [1, 2, 2]] - wanted).max() < 0.02


def test_camera_noise_is_the_sensor_s_formula():
    # The same normal numbers, every step written out in double precision.
    image = cv2.GaussianBlur(picture(96, 80), (0, 0), 2)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    height, width = padded.shape[:2]
    normal = stats.norm.ppf((words(CAMERA["seed"], height * width).astype(float) + 0.5) / 65536).reshape(height, width)
    levels = padded / 255
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    gains = np.array([CAMERA["red_gain"], 1.0, CAMERA["blue_gain"]])
    photons = light / gains * CAMERA["electrons"]
    taken = photons + np.sqrt(photons + CAMERA["read"] ** 2) * normal[..., None]
    place = np.add.outer(np.arange(height) % 2, np.arange(width) % 2)
    colours = [place == 0, place == 1, place == 2]
    cross, square = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4, np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    kernels = [square, cross, square]
    full = np.stack([ndimage.convolve(np.where(mask, taken[..., colour], 0.0), kernels[colour])
                     for colour, mask in enumerate(colours)], axis=-1)
    shown = (full / CAMERA["electrons"] * gains).clip(0, 1)
    wanted = np.where(shown <= 0.0031308, shown * 12.92, 1.055 * shown ** (1 / 2.4) - 0.055) * 255
    difference = np.abs(camera_noise(image, **CAMERA) - wanted[2:-2, 2:-2])
    assert difference.mean() < 0.5 and np.percentile(difference, 99.9) < 3


def test_camera_noise_is_stronger_with_fewer_electrons_and_in_shadows():
    def spread(level: int, electrons: float) -> float:
        return float(camera_noise(flat(level, 200), **(CAMERA | {"electrons": electrons}))[..., 1].std())

    assert spread(120, 100) == pytest.approx(3.16 * spread(120, 1000), rel=0.1)
    assert spread(40, 1000) > 1.3 * spread(160, 1000)
    assert abs(camera_noise(flat(120, 200), **CAMERA).astype(float).mean() - 120) < 1.0


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 2), (61, 97)])
def test_every_shape_keeps_its_shape(name, shape):
    function, values = MAKERS[name]
    result = function(picture(*shape), **values)
    assert result.dtype == np.uint8 and result.shape == (*shape, 3)


@pytest.mark.parametrize("name", MAKERS)
def test_the_seed_is_the_noise(name):
    function, values = MAKERS[name]
    image = picture(40)
    assert np.array_equal(function(image, **values), function(image, **values))
    assert not np.array_equal(function(image, **values), function(image, **(values | {"seed": 99})))


@pytest.mark.parametrize(("name", "field", "value"), [
    ("noise", "level", -1), ("noise", "level", float("nan")), ("noise", "grey", 2), ("noise", "seed", -1),
    ("noise", "seed", 0.5), ("poisson", "scale", -0.1), ("poisson", "scale", float("inf")), ("poisson", "grey", 0.5),
    ("correlated", "red", -3), ("correlated", "red_blue", 1.5), ("correlated", "green_blue", -0.9),
    ("camera", "electrons", 0), ("camera", "read", -1), ("camera", "red_gain", 0), ("camera", "blue_gain", 100)])
def test_impossible_numbers_are_refused_and_named(name, field, value):
    function, values = MAKERS[name]
    with pytest.raises(DataError, match=field):
        function(picture(8), **(values | {field: value}))
