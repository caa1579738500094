"""Blur by kernels that differ from image to image, through one Fourier transform of the batch.

The kernels are those of `degradation.kernels`, made on the device; the sums are the dense ones.
"""

import math
from typing import Any

import torch

from anchorface.degradation.batch.stack import Stack, mirrored, take, upload
from anchorface.degradation.kernels import KINDS, SMALLEST_SIGMA


def blur(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """As `operations.blur.blur`: sigmas, angle, side of the kernel, kind and beta per image."""
    return stack.with_pixels(correlated(stack, bells(values, stack.device)))


def sinc(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """As `operations.blur.sinc`: cutoff and side of the kernel per image."""
    x, y, inside = _grid(values, stack.device)
    cutoff = upload([one["cutoff"] for one in values], stack.device, torch.float64)[:, None, None]
    distance = torch.hypot(x, y)
    weights = cutoff * torch.special.bessel_j1(cutoff * distance) / (2 * math.pi * distance)
    weights = torch.where(distance == 0, cutoff**2 / (4 * math.pi), weights)
    return stack.with_pixels(correlated(stack, _normal(weights, inside)))


def sharpen(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """As `operations.sharpen.sharpen`: the unsharp mask."""
    kernels = bells([{"sigma_x": one["sigma"], "sigma_y": one["sigma"], "angle": 0.0, "kernel": one["kernel"]}
                     for one in values], stack.device)
    amount, threshold = (stack.column([one[field] for one in values]) for field in ("amount", "threshold"))
    image = stack.pixels.float()
    blurred = stack.with_pixels(correlated(stack, kernels)).pixels.float()
    edges = stack.with_pixels(((image - blurred).abs() > threshold) * 255.0)
    soft = stack.with_pixels(correlated(edges, kernels)).pixels
    gain = (image + amount * (image - blurred)).round().clamp(0, 255) - image
    return stack.with_pixels(image + (gain * soft / 255).round())


def bells(values: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
    """Bells over ellipses in the middle of a common square, float32 [B, K, K], as `kernels.blur` states them."""
    numbers = upload([[
        max(one["sigma_x"], SMALLEST_SIGMA), max(one["sigma_y"], SMALLEST_SIGMA), math.radians(one["angle"]),
        KINDS.index(one.get("kind", KINDS[0])), one.get("beta", 1.0)] for one in values], device, torch.float64)
    x, y, inside = _grid(values, device)
    first_sigma, second_sigma, turn, kind, beta = numbers.T[..., None, None]
    first = (x * torch.cos(turn) + y * torch.sin(turn)) / first_sigma
    second = (y * torch.cos(turn) - x * torch.sin(turn)) / second_sigma
    square = first**2 + second**2
    power = torch.where(kind == KINDS.index("gaussian"), square, square**beta)
    weights = torch.where(kind == KINDS.index("plateau"), 1 / (1 + power), torch.exp(-0.5 * power))
    return _normal(weights, inside)


def _grid(values: list[dict[str, Any]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [1, 1, K] and y [1, K, 1] from the centre of the largest kernel, px, and where each has weights, [B, K, K]."""
    radius = upload([int(one["kernel"]) // 2 for one in values], device, torch.float64)[:, None, None]
    reach = max(int(one["kernel"]) for one in values) // 2
    across = torch.arange(-reach, reach + 1, dtype=torch.float64, device=device)
    x, y = across[None, None], across[None, :, None]
    return x, y, (x.abs() <= radius) & (y.abs() <= radius)


def _normal(weights: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    weights = torch.where(inside, weights, 0.0)
    return (weights / weights.sum((1, 2), keepdim=True)).float()


def correlated(stack: Stack, kernels: torch.Tensor) -> torch.Tensor:
    """Each image with its kernel [B, K, K], K odd, mirrored at the border; float32 levels [B, 3, H, W]."""
    (height, width), side = stack.canvas, kernels.shape[-1]
    tall, wide = height + side - 1, width + side - 1
    padded = take(stack.pixels, mirrored(stack.heights, side // 2, tall), mirrored(stack.widths, side // 2, wide))
    grid = (smooth(tall), smooth(wide))
    # Levels about zero lose less in the transform.
    waves = torch.fft.rfft2(padded.float() - 128, s=grid)
    waves *= torch.fft.rfft2(kernels, s=grid).conj()[:, None]
    offset = 128 * kernels.sum((1, 2)).view(-1, 1, 1, 1)
    return torch.fft.irfft2(waves, s=grid)[..., :height, :width] + offset


def smooth(length: int) -> int:
    """The next even length without prime factors above 7, which transforms fast."""
    length += length % 2
    while True:
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2
