"""The identity of conditions: the anchor against numbers worked out by hand, the crop against the pipelines' own."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.quality import NormCalibration
from anchorface.models.anchor import AnchorSettings, anchor, require_embeddings
from anchorface.models.encode import crop
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.records import ConfigurationError, DataError

POINTS_128 = np.array([[48.0, 58.0], [79.0, 57.0], [64.0, 76.0], [52.0, 92.0], [76.0, 91.0]])
LEVEL = NormCalibration(weights="none", sha256="", norms=(0.0, 1e3), qualities=(0.5, 0.5), held_out=0.0, sharpness=0.0,
                        error=0.0, flat_error=0.0, faces=1, pictures=1, source="", seed=0, plans=())


def of(raw, *arguments):
    """The anchor of one picture's raw embeddings [R, D]."""
    return anchor(torch.from_numpy(np.asarray(raw))[None], *arguments)[0].numpy()


def test_anchor_weighs_references_by_their_norms():
    assert of([[3.0, 0.0], [0.0, 1.0]]) == pytest.approx(np.array([3.0, 1.0]) / np.sqrt(10.0), abs=1e-6)
    assert of([[3.0, 0.0], [0.0, 1.0]], 1e6) == pytest.approx([np.sqrt(0.5), np.sqrt(0.5)], abs=1e-4)


def test_anchor_at_temperature_one_is_the_normalised_plain_sum():
    raw = np.random.default_rng(3).standard_normal((3, 32)) * np.array([[5.0], [20.0], [31.0]])
    total = raw.sum(axis=0)
    np.testing.assert_allclose(of(raw), total / np.linalg.norm(total), atol=1e-6)


def test_anchor_listens_to_the_sharper_reference():
    raw = np.diag([1.0, 9.0])
    cold, usual, warm = (of(raw, temperature) for temperature in (0.1, 1.0, 1e6))
    assert cold[1] > usual[1] > warm[1]
    np.testing.assert_allclose(of(raw[:1]), [1.0, 0.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_order_of_references_changes_no_bit_of_the_anchor(dtype):
    raw = (np.random.default_rng(5).normal(size=(4, 512)) * [[9], [12], [15], [20]]).astype(dtype)
    expected = of(raw)
    assert expected.dtype == dtype
    for order in permutations(range(4)):
        assert np.array_equal(of(raw[list(order)]), expected)


def test_a_calibrated_anchor_hears_qualities_instead_of_norms():
    raw = np.diag([10.0, 20.0, 20.0])
    np.testing.assert_allclose(of(raw), np.array([1, 2, 2]) / 3, atol=1e-6)
    rising = replace(LEVEL, norms=(0.0, 10.0, 20.0), qualities=(0.0, 0.2, 0.9))
    np.testing.assert_allclose(of(raw, 1.0, rising.quality)[1:] / of(raw, 1.0, rising.quality)[0], 4.5, rtol=1e-5)
    cold = of(raw, 0.5, rising.quality)
    np.testing.assert_allclose(cold[1] / cold[0], 4.5**2, rtol=1e-5)
    # A norm that tells nothing: all references count alike.
    np.testing.assert_allclose(of(raw, 1.0, LEVEL.quality), np.full(3, 3**-0.5), atol=1e-6)


@pytest.mark.parametrize(("raw", "why"), [
    ([[0.0, 0.0]], "zero or not finite"), ([[float("nan"), 1.0]], "zero or not finite"),
    ([[2.0, 0.0], [-1.0, 0.0]], "cancel out"),
])
def test_embeddings_that_make_no_anchor_are_refused(raw, why):
    with pytest.raises(DataError, match=why):
        require_embeddings(torch.tensor(raw)[None])
    require_embeddings(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]))


def test_anchor_settings_that_do_not_fit_are_refused():
    with pytest.raises(ConfigurationError, match=r"temperature is 0\.0"):
        AnchorSettings(temperature=0.0)
    with pytest.raises(ConfigurationError, match=r"norm_weights.*quality"):
        AnchorSettings(norm_weights="loudness")


def test_levels_come_back_from_tensors():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert np.array_equal(tensor_to_levels(levels_to_tensor(image)), image)
    assert tensor_to_levels(torch.tensor([-1.7, 1.3]).reshape(1, 1, 1, 2)).ravel().tolist() == [0, 255]


def picture(size):
    """A smooth coloured picture, different in each channel."""
    y, x = np.mgrid[0:size, 0:size] / size
    channels = [127 + 100 * np.sin(9 * x + 3 * y), 127 + 90 * np.cos(7 * y), 255 * x * y]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [128, 512])
def test_the_differentiable_crop_agrees_with_the_pipelines_crop(size):
    image, matrix = picture(size), arcface_matrix((POINTS_128 + 0.5) * size / 128 - 0.5)
    expected = warp(image, matrix, 112).astype(np.float64)
    ours = (crop(levels_to_tensor(image[None]), matrix[None]).flip(1)[0].permute(1, 2, 0).numpy() + 1.0) * 127.5
    assert np.abs(ours - expected).mean() < 0.8
    assert np.abs(ours - expected).max() < 8


def test_the_crop_passes_gradients_to_every_pixel_of_the_face():
    image = torch.zeros(1, 3, 512, 512, requires_grad=True)
    crop(image, arcface_matrix((POINTS_128 + 0.5) * 4 - 0.5)[None]).sum().backward()
    assert image.grad is not None
    face = image.grad[0, 0, 240:330, 200:310]
    assert (face > 0).all()
