"""From noise to clean tokens with Euler steps; every image has its own seed.

A velocity function takes z [B, L, C] and sigma [B] and gives the velocity [B, L, C]; it closes over the conditions.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from anchorface.models.flow import VelocityFunction, clean_estimate
from anchorface.records import derive


def normal(seeds: Sequence[int], shape: tuple[int, ...], frames: Sequence[int] = (), shared: float = 0.0) -> Tensor:
    """Standard normal [len(seeds), *shape], drawn on the CPU on every machine: row i depends on seeds[i] alone.

    Args:
        frames: where a seed is a clip's, the numbers of its frames, which have each their own row,
            sqrt(shared) clip's + sqrt(1 - shared) frame's own: then [len(seeds) * len(frames), *shape], clip by clip.
        shared: the covariance of two frames of a clip, 0 to 1.

    Source: the mixed noise of PYoCo (Ge et al. 2023); that 1 makes a clip's frames one draw: our choice.
    """
    drawn = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    if not frames:
        return drawn
    own = normal([derive(seed, "frame", frame) for seed in seeds for frame in frames], shape)
    common = drawn.repeat_interleave(len(frames), dim=0)
    return math.sqrt(shared) * common + math.sqrt(1.0 - shared) * own


def initial_noise(seeds: Sequence[int], shape: tuple[int, ...], device: torch.device | str = "cpu",
                  frames: Sequence[int] = (), shared: float = 0.0) -> Tensor:
    """Where a sampler begins: `normal` of these seeds, which no other draw of theirs equals."""
    return normal([derive(seed, "initial noise") for seed in seeds], shape, frames, shared).to(device)


def guided(base: VelocityFunction, branches: Sequence[tuple[float | Tensor, VelocityFunction]]) -> VelocityFunction:
    """A velocity function that is pushed away from others.

        v + sum_i strength_i (v - v_i)

    Classifier-free guidance g is one branch, the empty prompt's, of strength g - 1 (IConFace uses g = 4). Guidance
    along "with references minus without" is the branch without them (our choice), a negative prompt one of its own.

    Args:
        base: v, the model with all its conditions.
        branches: (strength, v_i), the strength a number or each image's own [B, 1, 1]; one of strength 0 is not
            computed, a negative strength pulls towards v_i.

    Source: classifier-free guidance, Ho and Salimans 2022; several branches: our choice.
    """

    def combined(z: Tensor, sigma: Tensor) -> Tensor:
        value = base(z, sigma)
        result = value
        for strength, branch in branches:
            if torch.is_tensor(strength) or strength:
                result = result + strength * (value - branch(z, sigma))
        return result

    return combined


@torch.no_grad()
def sample(velocity_function: VelocityFunction, noise: Tensor, sigmas: Tensor,
           after: Callable[[int, Tensor], Tensor] = lambda step, z: z) -> Tensor:
    """Euler integration along a schedule.

    Args:
        velocity_function: z, sigma -> velocity; `guided` makes one with guidance.
        noise: the start [B, L, C]; at sigmas[0] < 1 a mixture made with `flow.mix`.
        sigmas: [n + 1] decreasing noise levels, as from `flow.shift_schedule`.
        after: what becomes of the tokens after each step, counted from 1.

    Returns:
        Clean tokens [B, L, C], float32.

    Source: IConFace samples with 12 such steps.
    """
    z = noise.float()
    for step, (level, following) in enumerate(pairwise(sigmas.tolist()), start=1):
        speed = velocity_function(z, torch.full((len(z),), level, device=z.device))
        z = after(step, z + (following - level) * speed.float())
    return z


@torch.no_grad()
def mean_estimate(velocity_function: VelocityFunction, noise: Tensor) -> Tensor:
    """The one-step estimate from pure noise: close to the mean of all faces that fit, so blurred but faithful.

    Args:
        velocity_function: z, sigma -> velocity, without guidance.
        noise: standard normal [B, L, C].

    Returns:
        Clean tokens [B, L, C], float32.
    """
    sigma = torch.ones(len(noise), device=noise.device)
    return clean_estimate(noise.float(), velocity_function(noise.float(), sigma).float(), sigma)
