"""The AdaFace loss against numbers worked out by hand, and what carries it."""

import math

import numpy as np
import pytest
import torch

from anchorface.training.small_networks.adaface_loss import AdaFaceLoss, MarginSettings, margin_logits, quality
from anchorface.training.small_networks.verification import area_under_curve, between_roles, found_at, within

ANGLE = 1.0  # radians between the feature and its class centre


def _own_logit(zhat: float) -> float:
    cosine = torch.tensor([[math.cos(ANGLE), 0.2]], dtype=torch.float64)
    return margin_logits(cosine, torch.tensor([0]), torch.tensor([zhat], dtype=torch.float64), 0.4, 64.0)[0, 0].item()


@pytest.mark.parametrize(("zhat", "expected"), [
    (-1.0, math.cos(1.4)),  # ArcFace: the angle grows by m, nothing is taken off
    (0.0, math.cos(1.0) - 0.4),  # CosFace: m is taken off the cosine
    (1.0, math.cos(0.6) - 0.8),  # a negative angular margin, and 2 m off the cosine
])  # fmt: skip
def test_margin_at_bad_middling_and_good_quality_is_the_papers(zhat: float, expected: float) -> None:
    assert _own_logit(zhat) == pytest.approx(64.0 * expected, abs=1e-6)


def test_only_the_labels_logit_has_a_margin() -> None:
    cosine = torch.tensor([[0.5, 0.3, -0.2]])
    logits = margin_logits(cosine, torch.tensor([1]), torch.tensor([0.0]), 0.4, 10.0)
    assert torch.allclose(logits, torch.tensor([[5.0, -1.0, -2.0]]), atol=1e-5)


def test_angles_at_the_ends_give_finite_gradients() -> None:
    cosine = torch.tensor([[1.0, -1.0]], requires_grad=True)
    margin_logits(cosine, torch.tensor([0]), torch.tensor([1.0]), 0.4, 64.0).sum().backward()
    assert torch.isfinite(cosine.grad).all()


def test_quality_is_zero_at_the_mean_norm_and_clipped_to_one() -> None:
    norms = torch.tensor([10.0, 20.0, 23.0, 500.0])
    zhat = quality(norms, torch.tensor(20.0), torch.tensor(1.0), 0.333)
    assert zhat[1].item() == 0.0
    assert zhat[2].item() == pytest.approx(0.998, abs=1e-3)
    assert zhat[[0, 3]].tolist() == [-1.0, 1.0]


def test_loss_falls_when_features_move_to_their_centres() -> None:
    torch.manual_seed(0)
    loss = AdaFaceLoss(5, 8, MarginSettings(scale=32.0))
    labels = torch.arange(5)
    near = torch.nn.functional.normalize(loss.centres.detach(), dim=1)
    norm = torch.full((5, 1), 20.0)
    assert loss(near, norm, labels) < loss(near.roll(1, 0), norm, labels)


def test_running_statistics_follow_the_norms_only_in_training() -> None:
    loss = AdaFaceLoss(3, 4, MarginSettings(momentum=0.5))
    unit, labels = torch.nn.functional.normalize(torch.ones(3, 4), dim=1), torch.arange(3)
    loss(unit, torch.full((3, 1), 10.0), labels)
    assert loss.running_mean.item() == pytest.approx(15.0)
    loss.eval()(unit, torch.full((3, 1), 90.0), labels)
    assert loss.running_mean.item() == pytest.approx(15.0)


def test_area_under_curve_of_known_scores() -> None:
    assert area_under_curve(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1.0
    assert area_under_curve(np.array([0.5]), np.array([0.5, 0.1, 0.9])) == pytest.approx(0.5)


def test_found_is_the_share_above_what_one_stranger_in_a_thousand_reaches() -> None:
    strangers = np.arange(10_000) / 10_000
    assert found_at(np.array([0.9985, 0.9995, 0.5, 1.0]), strangers) == 0.5


def test_between_roles_takes_every_cross_pair_once() -> None:
    person, role = np.array(["a", "a", "b", "b"]), np.array(["early", "late"] * 2)
    _, same, other = between_roles(np.eye(4, dtype=np.float32), person, role, ("early", "late"))
    assert (len(same), len(other)) == (2, 2)
    _, same, other = within(np.eye(4, dtype=np.float32), person)
    assert (len(same), len(other)) == (2, 4)
