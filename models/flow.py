"""Flow matching: the path from clean to noise, what is learned on it, and where on it one stands.

z0: clean tokens, noise: standard normal, same shape [B, L, C]. sigma: noise level [B] in [0, 1]; 0 is clean.
Random numbers come from a NumPy generator that the caller makes with `records.rng`.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

VelocityFunction = Callable[[Tensor, Tensor], Tensor]


def _over(sigma: Tensor, like: Tensor) -> Tensor:
    return sigma.reshape(-1, *(1,) * (like.ndim - 1))


def mix(z0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The point on the path: (1 - sigma) z0 + sigma noise. Source: IConFace eq. 1."""
    level = _over(sigma, z0)
    return (1 - level) * z0 + level * noise


def target_velocity(z0: Tensor, noise: Tensor) -> Tensor:
    """What the network learns: noise - z0. Source: IConFace eq. 1."""
    return noise - z0


def clean_estimate(z: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """The one-step estimate of z0: z - sigma velocity. Source: IConFace eq. 1, solved for z0."""
    return z - _over(sigma, z) * velocity


def empirical_mu(tokens: int, steps: int) -> float:
    """The shift exponent for so many scene tokens and sampler steps. Source: FLUX.2's code, compute_empirical_mu."""
    at_200 = 1.6927e-4 * tokens + 0.45666666
    if tokens > 4300:
        return at_200
    at_10 = 8.73809524e-5 * tokens + 1.89833333
    slope = (at_200 - at_10) / 190.0
    return at_200 + slope * (steps - 200)


def shift_schedule(steps: int, tokens: int, mu: float | None = None) -> Tensor:
    """Noise levels of a sampler, from 1 to 0.

    Args:
        steps: Euler steps n.
        tokens: scene tokens alone (64 for the tiny twin, 1024 at 512 px).
        mu: shift exponent; None takes FLUX.2's empirical rule, 0 is an even spacing.

    Returns:
        float32 [n + 1], decreasing, first 1, last 0.

    Source: FLUX.2's code, t' = e^mu / (e^mu + 1/t - 1).
    """
    shift = math.exp(empirical_mu(tokens, steps) if mu is None else mu)
    even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    # Written without 1/t so that t = 0 needs no special case.
    return (shift * even / (shift * even + 1 - even)).float()


def uniform_sigma(generator: np.random.Generator, count: int) -> np.ndarray:
    """Noise levels uniform in (0, 1), float32 [count]."""
    return generator.uniform(0.0, 1.0, count).astype(np.float32)


def logit_normal_sigma(generator: np.random.Generator, count: int, mean: float = 0.0,
                       deviation: float = 1.0) -> np.ndarray:
    """Noise levels sigmoid(N(mean, deviation)), float32 [count]. Source: Flux-FaceIR's (0, 1)."""
    return (1 / (1 + np.exp(-generator.normal(mean, deviation, count)))).astype(np.float32)


def mode_sigma(generator: np.random.Generator, count: int, scale: float = 1.29) -> np.ndarray:
    """Noise levels by mode sampling, float32 [count]. Source: Stable Diffusion 3; Flux-FaceIR's scale 1.29."""
    even = generator.uniform(0.0, 1.0, count)
    return (1 - even - scale * (np.cos(np.pi * even / 2) ** 2 - 1 + even)).clip(0.0, 1.0).astype(np.float32)
