"""Metrics against values worked out by hand or by another library."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from anchorface.evaluation import psnr, ssim
from anchorface.evaluation.metrics.pixels import at_once
from anchorface.records import DataError, rng


def noise(count: int, purpose: str, side: int = 32) -> np.ndarray:
    return rng(0, purpose).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def test_psnr_of_a_constant_difference_is_the_textbook_value() -> None:
    dark = np.full((2, 16, 16, 3), 100, np.uint8)
    light = np.stack([dark[0] + 5, dark[1] + 50])
    np.testing.assert_allclose(psnr(light, dark), 20 * np.log10([255 / 5, 255 / 50]), rtol=1e-5)


def test_equal_pictures_have_a_finite_psnr_and_an_ssim_of_one() -> None:
    pictures = noise(3, "pictures")
    np.testing.assert_array_equal(psnr(pictures, pictures), 100.0)
    np.testing.assert_allclose(ssim(pictures, pictures), 1.0, atol=1e-6)


def test_ssim_agrees_with_another_implementation() -> None:
    targets = np.kron(rng(1, "coarse").integers(0, 256, (2, 8, 8, 3)), np.ones((1, 6, 6, 1))).astype(np.uint8)
    pictures = np.clip(targets.astype(int) + rng(1, "noise").normal(0, 20, targets.shape), 0, 255).astype(np.uint8)
    other = [structural_similarity(a, b, channel_axis=-1, gaussian_weights=True, sigma=1.5,
                                   use_sample_covariance=False, data_range=255, full=True)[1].mean()
             for a, b in zip(pictures, targets, strict=True)]
    np.testing.assert_allclose(ssim(pictures, targets), other, atol=0.003)
    assert ssim(pictures, targets).max() < 0.95


def test_a_value_of_one_picture_does_not_depend_on_the_others() -> None:
    pictures, targets = noise(5, "many", 192), noise(5, "targets", 192)
    assert at_once(pictures) < len(pictures)
    for measure in (psnr, ssim):
        together = measure(pictures, targets)
        alone = np.concatenate([measure(pictures[n:n + 1], targets[n:n + 1]) for n in range(5)])
        np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_pictures_of_another_kind_are_refused() -> None:
    with pytest.raises(DataError, match="targets"):
        psnr(noise(2, "a"), noise(3, "b"))
    with pytest.raises(DataError, match="float"):
        ssim(noise(2, "a").astype(float), noise(2, "a"))
