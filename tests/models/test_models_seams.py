"""Seams between tokens: taken out where they are, and nothing else touched."""

import numpy as np
import pytest
import torch

from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.models.seams import without_seams
from anchorface.records import rng
from anchorface.synthetic import album, render, seed_of
from anchorface.training.small_networks.measure import seams

SIDE, STRIDE = 128, 16


def _faces() -> np.ndarray:
    shots = [render(one.head, one.state, SIDE) for k in range(4) for one in album(seed_of(780, k), 1)]
    return np.stack([shot.image for shot in shots])


def _stepped(faces: np.ndarray) -> torch.Tensor:
    offsets = rng(1, "seams").normal(0, 0.06, (len(faces), 3, SIDE // STRIDE, SIDE // STRIDE)).astype(np.float32)
    return levels_to_tensor(faces) + torch.from_numpy(offsets).repeat_interleave(STRIDE, 2).repeat_interleave(STRIDE, 3)


def test_seams_go_and_the_picture_comes_nearer_to_the_truth() -> None:
    faces = _faces()
    stepped, truth = _stepped(faces), levels_to_tensor(faces)
    mended = without_seams(stepped, STRIDE)
    assert seams(tensor_to_levels(stepped)) > 1.5 > 1.15 > seams(tensor_to_levels(mended))
    assert (mended - truth).square().mean() < 0.95 * (stepped - truth).square().mean()


def test_a_picture_without_seams_stays_as_it_is_and_each_is_treated_for_itself() -> None:
    truth = levels_to_tensor(_faces())
    assert (without_seams(truth, STRIDE) - truth).square().mean() < 1e-4
    flat = torch.full((1, 3, 32, 32), 0.5)
    assert torch.equal(without_seams(flat, STRIDE), flat) and torch.equal(without_seams(flat, 32), flat)
    both = torch.cat([_stepped(_faces()[:1]), truth[1:2]])
    assert torch.equal(without_seams(both, STRIDE)[1:], without_seams(both[1:], STRIDE))


def test_a_ramp_has_no_jump_and_a_step_is_spread_evenly() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    torch.testing.assert_close(without_seams(ramp, STRIDE), ramp)
    step = torch.zeros(1, 3, 32, 32)
    step[..., 16:] = 0.8
    found = without_seams(step, STRIDE)[0, 0, 0]
    torch.testing.assert_close(found[12:20], 0.8 * torch.tensor([1, 3, 5, 7, 9, 11, 13, 15]) / 16)
    assert torch.equal(found[:12], torch.zeros(12)) and torch.equal(found[20:], step[0, 0, 0, 20:])


def test_seams_are_measured_by_hand() -> None:
    ramp = np.arange(48, dtype=np.float64)
    assert seams((ramp[:, None] + ramp)[None, ..., None]) == pytest.approx(1.0)
    stepped = ramp + 2 * (ramp >= 16) + 2 * (ramp >= 32)
    broken = (ramp[:, None] * 0 + stepped)[None, ..., None]  # steps of 3 across borders, in one of two directions
    assert seams(broken) == pytest.approx(3.0)
