"""Metrics against values worked out by hand or by another library."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from anchorface.evaluation import likeness, psnr, ssim
from anchorface.records import DataError, rng


def noise(count: int, purpose: str) -> np.ndarray:
    return rng(0, purpose).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def unit(*values: float) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    return vector / np.linalg.norm(vector)


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
    pictures, targets = noise(11, "many"), noise(11, "targets")
    for measure in (psnr, ssim):
        together = measure(pictures, targets)
        alone = np.concatenate([measure(pictures[n:n + 1], targets[n:n + 1]) for n in range(11)])
        np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_pictures_of_another_kind_are_refused() -> None:
    with pytest.raises(DataError, match="targets"):
        psnr(noise(2, "a"), noise(3, "b"))
    with pytest.raises(DataError, match="float"):
        ssim(noise(2, "a").astype(float), noise(2, "a"))


def test_nearer_to_the_reference_than_the_truth_is_a_copy() -> None:
    reference, target = unit(1, 0), unit(1, 1)
    between, beyond = unit(2, 1), unit(1, 2)
    copied = likeness(between, target, reference[None])
    assert copied.copied and copied.copied_any
    np.testing.assert_allclose([copied.target, copied.first, copied.truth_first, copied.surplus],
                               [3 / 10**0.5, 2 / 5**0.5, 1 / 2**0.5, 2 / 5**0.5 - 1 / 2**0.5])
    assert not likeness(beyond, target, reference[None]).copied


def test_the_truth_itself_is_never_a_copy() -> None:
    references = np.stack([unit(1, 0), unit(0, 1)])
    found = likeness(unit(1, 1), unit(1, 1), references)
    assert found.target == pytest.approx(1) and not found.copied and not found.copied_any and found.surplus == 0


def test_copy_rate_speaks_of_the_first_reference_and_any_of_them() -> None:
    first, second, target = unit(1, 0), unit(0, 1), unit(1, 1)
    to_second = likeness(unit(1, 3), target, np.stack([first, second]))
    assert not to_second.copied and to_second.copied_any
    assert to_second.mean == pytest.approx(4 / 10**0.5 / 2)


def test_without_references_there_is_nothing_to_copy() -> None:
    found = likeness(unit(1, 0), unit(1, 1), np.zeros((0, 2)))
    assert found.copied is None and found.first is None and found.target == pytest.approx(1 / 2**0.5)
