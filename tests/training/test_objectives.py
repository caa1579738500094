"""The objectives against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from anchorface.records import ConfigurationError
from anchorface.training.objectives.flow import flow_error
from anchorface.training.objectives.identity import Identity, adaptive_share, identity_loss, noise_weight, selected

X, Y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])


def test_the_flow_error_is_the_mean_squared_error_of_each_sample() -> None:
    velocity = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    assert flow_error(velocity, torch.tensor([[[0.0, 0.0]], [[3.0, 1.0]]])).tolist() == [2.5, 5.0]


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


def test_a_fraction_selects_evenly_and_by_position_alone() -> None:
    positions = np.arange(1000)
    assert selected(positions, 0.25).sum() == 250
    assert selected(positions, 1.0).all()
    assert (selected(positions, 0.3)[500:] == selected(positions[500:], 0.3)).all()


def test_a_share_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"losses\.identity\.fraction is 0\.0"):
        Identity(fraction=0.0)
