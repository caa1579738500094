"""Flow matching, schedules, noise-level draws and the Euler sampler."""

import pytest
import torch

from anchorface.models.flow import (
    clean_estimate,
    empirical_mu,
    logit_normal_sigma,
    mix,
    mode_sigma,
    shift_schedule,
    target_velocity,
    uniform_sigma,
)
from anchorface.models.sampler import guided, initial_noise, mean_estimate, sample
from anchorface.records import rng


def test_path_runs_from_clean_to_noise_and_its_velocity_is_their_difference():
    z0, noise = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    assert torch.equal(mix(z0, noise, torch.zeros(3)), z0)
    assert torch.equal(mix(z0, noise, torch.ones(3)), noise)
    step = (mix(z0, noise, torch.full((3,), 0.6)) - mix(z0, noise, torch.full((3,), 0.5))) / 0.1
    assert torch.allclose(step, target_velocity(z0, noise), atol=1e-5)


def test_mix_by_hand_with_a_level_per_image():
    z0, noise = torch.tensor([[[2.0]], [[2.0]]]), torch.tensor([[[10.0]], [[10.0]]])
    assert mix(z0, noise, torch.tensor([0.25, 0.75])).flatten().tolist() == [4.0, 8.0]


def test_true_velocity_gives_the_clean_tokens_back_at_every_level():
    z0, noise, sigma = torch.randn(4, 3, 2), torch.randn(4, 3, 2), torch.tensor([0.0, 0.3, 0.9, 1.0])
    assert torch.allclose(clean_estimate(mix(z0, noise, sigma), target_velocity(z0, noise), sigma), z0, atol=1e-6)


def test_schedule_is_the_papers_for_twelve_steps_at_512_px():
    assert empirical_mu(1024, 12) == pytest.approx(1.97352, abs=1e-5)
    expected = [1, 0.9875, 0.9730, 0.9557, 0.9350, 0.9097, 0.8780, 0.8371, 0.7825, 0.7058, 0.5900, 0.3955, 0]
    assert shift_schedule(12, 1024).tolist() == pytest.approx(expected, abs=5e-5)


def test_many_tokens_use_the_second_line_alone():
    assert empirical_mu(5000, 12) == empirical_mu(5000, 200) == pytest.approx(1.6927e-4 * 5000 + 0.45666666)


def test_schedule_without_shift_is_even():
    assert shift_schedule(4, 64, mu=0.0).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(("draw", "mean"), [(uniform_sigma, 0.5), (logit_normal_sigma, 0.5), (mode_sigma, 0.5)])
def test_noise_levels_stay_in_range_and_follow_from_the_generator(draw, mean):
    levels = draw(rng(1, "sigma"), 4000)
    assert levels.min() >= 0 and levels.max() <= 1 and abs(levels.mean() - mean) < 0.03
    assert (levels == draw(rng(1, "sigma"), 4000)).all()
    assert (levels != draw(rng(2, "sigma"), 4000)).any()


def test_each_image_has_its_own_noise_whatever_the_batch():
    pair = initial_noise([7, 8], (4, 3))
    assert torch.equal(pair[1], initial_noise([8], (4, 3))[0])
    assert not torch.equal(pair[0], pair[1])


def test_euler_reaches_the_clean_tokens_along_a_straight_path():
    z0, noise = torch.randn(2, 4, 3), initial_noise([1, 2], (4, 3))
    # The exact velocity field towards one known z0, from wherever the sampler stands.
    result = sample(lambda z, sigma: (z - z0) / sigma[:, None, None], noise, shift_schedule(6, 64))
    assert torch.allclose(result, z0, atol=1e-5)


def test_mean_estimate_is_one_step_from_pure_noise():
    noise = torch.randn(2, 4, 3)
    estimate = mean_estimate(lambda z, sigma: z - 5 * sigma[:, None, None], noise)
    assert torch.allclose(estimate, torch.full_like(noise, 5))


def test_guidance_extrapolates_from_every_weaker_branch():
    z, sigma = torch.zeros(1, 1, 1), torch.ones(1)

    def constant(value):
        return lambda z, sigma: torch.full_like(z, value)

    def forbidden(z, sigma):
        raise RuntimeError("a branch of strength 0 must not be computed")

    both = guided(constant(3.0), [(3.0, constant(1.0)), (1.0, constant(2.5))])
    assert both(z, sigma).item() == pytest.approx(3 + 3 * 2 + 0.5)
    assert guided(constant(3.0), [(0.0, forbidden), (0.0, forbidden)])(z, sigma).item() == 3
    assert guided(constant(3.0), [])(z, sigma).item() == 3
