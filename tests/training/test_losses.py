"""The losses against numbers worked out by hand, and the alignment against the one that pipelines uses."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.quality import NormCalibration
from anchorface.identity_index import anchor as numpy_anchor
from anchorface.training.losses import (
    LossSettings,
    adaptive_share,
    align,
    anchor,
    flow_loss,
    identity_loss,
    noise_weight,
    selected,
    total_loss,
)

X, Y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
POINTS_128 = np.array([[48.0, 58.0], [79.0, 57.0], [64.0, 76.0], [52.0, 92.0], [76.0, 91.0]])


def test_flow_loss_is_the_mean_squared_error_of_each_sample() -> None:
    velocity = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    assert flow_loss(velocity, torch.tensor([[[0.0, 0.0]], [[3.0, 1.0]]])).tolist() == [2.5, 5.0]


def test_lambda_star_grows_with_the_distance_between_reference_and_truth() -> None:
    assert adaptive_share(X, X, 0.25).tolist() == [0.0]
    assert adaptive_share(X, Y, 0.25).tolist() == [0.25]
    assert adaptive_share(X, -X, 0.25).tolist() == [0.5]


def test_omega_falls_with_the_square_and_never_below_its_floor() -> None:
    weights = noise_weight(torch.tensor([0.0, 0.5, 0.75, 1.0]), 0.25)
    assert weights.tolist() == pytest.approx([1.0, 0.25, 0.0625, 0.0625])


def test_identity_loss_mixes_reference_and_truth_by_lambda_star() -> None:
    # cos(e_ref, e_gt) = 0, so lambda* = 0.25; the embedding is the truth itself: 0.75 * 1 + 0.25 * 0
    assert identity_loss(Y, X, Y, 0.25).item() == pytest.approx(0.75)
    assert identity_loss(X, X, Y, 0.25).item() == pytest.approx(0.25)
    assert identity_loss(X, X, X, 0.25).item() == pytest.approx(0.0)


def test_identity_loss_moves_only_the_embedding() -> None:
    reference, truth = X.clone().requires_grad_(), Y.clone().requires_grad_()
    embedding = torch.tensor([[0.6, 0.8]], requires_grad=True)
    identity_loss(embedding, reference, truth).sum().backward()
    assert embedding.grad is not None and embedding.grad.abs().sum() > 0
    assert reference.grad is None and truth.grad is None


def test_total_loss_is_the_papers_sum() -> None:
    total = total_loss(torch.tensor([2.0]), torch.tensor([0.5]), torch.tensor([0.5]), LossSettings())
    assert total.item() == pytest.approx(0.75 * 2.0 + 0.30 * 0.25 * 0.5)


def test_anchor_weighs_references_by_their_norms() -> None:
    raw = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    expected = np.array([3.0, 1.0]) / np.sqrt(10.0)
    assert anchor(raw)[0].numpy() == pytest.approx(expected, abs=1e-6)
    even = anchor(raw, temperature=1e6)[0].numpy()
    assert even == pytest.approx([np.sqrt(0.5), np.sqrt(0.5)], abs=1e-4)


def test_the_order_of_references_changes_no_bit_of_the_anchor() -> None:
    raw = np.random.default_rng(5).normal(size=(4, 512)).astype(np.float32) * np.float32([[9], [12], [15], [20]])
    expected, plain = anchor(torch.from_numpy(raw)[None]), numpy_anchor(raw)
    for order in permutations(range(4)):
        shuffled = raw[list(order)]
        assert torch.equal(anchor(torch.from_numpy(shuffled)[None]), expected)
        assert np.array_equal(numpy_anchor(shuffled), plain)
    assert np.abs(expected[0].numpy() - plain).max() < 1e-6


def test_a_calibrated_anchor_hears_qualities_instead_of_norms() -> None:
    raw = np.random.default_rng(6).normal(size=(3, 16)).astype(np.float32) * np.float32([[1], [2], [9]])
    norms = np.linalg.norm(raw, axis=1)
    level = NormCalibration(weights="none", sha256="", norms=(0.0, 1e3), qualities=(0.5, 0.5), held_out=0.0,
                            sharpness=0.0, error=0.0, flat_error=0.0, faces=1, pictures=1, source="", seed=0, plans=())
    rising = replace(level, norms=(0.0, float(norms.max())), qualities=(0.0, 1.0))
    even = (raw / norms[:, None]).sum(axis=0)
    assert anchor(torch.from_numpy(raw)[None], calibration=level)[0].numpy() == pytest.approx(
        even / np.linalg.norm(even), abs=1e-5)
    for calibration in (level, rising):
        for temperature in (0.5, 1.0):
            ours = anchor(torch.from_numpy(raw)[None], temperature, calibration)[0].numpy()
            assert ours == pytest.approx(numpy_anchor(raw, temperature, calibration), abs=1e-5)


def test_a_fraction_selects_evenly_and_by_position_alone() -> None:
    positions = np.arange(1000)
    assert selected(positions, 0.25).sum() == 250
    assert selected(positions, 1.0).all()
    assert (selected(positions, 0.3)[500:] == selected(positions[500:], 0.3)).all()


def picture(size: int) -> np.ndarray:
    """A smooth coloured picture, different in each channel."""
    y, x = np.mgrid[0:size, 0:size] / size
    channels = [127 + 100 * np.sin(9 * x + 3 * y), 127 + 90 * np.cos(7 * y), 255 * x * y]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [128, 512])
def test_differentiable_alignment_agrees_with_the_pipelines_alignment(size: int) -> None:
    image, points = picture(size), (POINTS_128 + 0.5) * size / 128 - 0.5
    expected = warp(image, arcface_matrix(points), 112).astype(np.float64)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    crop = align(tensor, points[None])
    ours = (crop.flip(1)[0].permute(1, 2, 0).numpy() + 1.0) * 127.5
    assert np.abs(ours - expected).mean() < 0.8
    assert np.abs(ours - expected).max() < 8


def test_alignment_passes_gradients_to_every_pixel_of_the_face() -> None:
    image = torch.zeros(1, 3, 512, 512, requires_grad=True)
    align(image, ((POINTS_128 + 0.5) * 4 - 0.5)[None]).sum().backward()
    assert image.grad is not None
    face = image.grad[0, 0, 240:330, 200:310]
    assert (face > 0).all()
