"""From noise to clean tokens with Euler steps; every image has its own seed.

A velocity function takes z [B, L, C] and sigma [B] and gives the velocity [B, L, C]; it closes over the conditions.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from anchorface.models.flow import VelocityFunction, clean_estimate
from anchorface.records import derive


def initial_noise(seeds: Sequence[int], shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal [len(seeds), *shape]: row i depends on seeds[i] alone, drawn on the CPU on every machine."""
    generators = [torch.Generator().manual_seed(derive(seed, "initial noise")) for seed in seeds]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)


def guided(conditional: VelocityFunction, *, guidance: float = 1.0, unconditional: VelocityFunction | None = None,
           reference_guidance: float = 1.0, without_references: VelocityFunction | None = None) -> VelocityFunction:
    """A velocity function with guidance; a branch of strength 1 is not computed.

        v + (guidance - 1) (v - v_unconditional) + (reference_guidance - 1) (v - v_without_references)

    Args:
        conditional: the model with prompt, degraded and reference tokens.
        guidance: classifier-free guidance; IConFace uses 4.
        unconditional: the model with the empty prompt and the same degraded and reference tokens.
        reference_guidance: the same along "with references minus without" (our choice).
        without_references: the model with the prompt and no references.

    Source: papers 1.8; the reference term is our choice.
    """

    def combined(z: Tensor, sigma: Tensor) -> Tensor:
        value = conditional(z, sigma)
        result = value
        if unconditional is not None and guidance != 1.0:
            result = result + (guidance - 1.0) * (value - unconditional(z, sigma))
        if without_references is not None and reference_guidance != 1.0:
            result = result + (reference_guidance - 1.0) * (value - without_references(z, sigma))
        return result

    return combined


@torch.no_grad()
def sample(velocity_function: VelocityFunction, noise: Tensor, sigmas: Tensor) -> Tensor:
    """Euler integration along a schedule.

    Args:
        velocity_function: z, sigma -> velocity; `guided` makes one with guidance.
        noise: the start [B, L, C]; at sigmas[0] < 1 a mixture made with `flow.mix`.
        sigmas: [n + 1] decreasing noise levels, as from `flow.shift_schedule`.

    Returns:
        Clean tokens [B, L, C], float32.

    Source: papers 1.8.
    """
    z = noise.float()
    for level, following in pairwise(sigmas.tolist()):
        speed = velocity_function(z, torch.full((len(z),), level, device=z.device))
        z = z + (following - level) * speed.float()
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
