"""Blur by kernels that differ from image to image, through one Fourier transform of the batch."""

from typing import Any

import torch

from degradation.batch.stack import Stack, mirrored, take, upload


def blur(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """As `operations.blur.blur`; sigmas, angle and side of the kernel per image."""
    return stack.with_pixels(correlated(stack, gaussians(values, stack.device)))


def gaussians(values: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
    """Rotated Gaussians in the middle of a common square, float64 [B, K, K], each of sum 1 and zero beyond its side."""
    numbers = upload([[max(one["sigma_x"], 1e-3), max(one["sigma_y"], 1e-3), one["angle"], one["kernel"] // 2]
                      for one in values], device, torch.float64)
    first_sigma, second_sigma, angle, radius = numbers.T[..., None, None]
    reach = max(one["kernel"] for one in values) // 2
    across = torch.arange(-reach, reach + 1, dtype=torch.float64, device=device)
    x, y = across[None, None], across[None, :, None]
    cos, sin = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    first, second = x * cos + y * sin, y * cos - x * sin
    weights = torch.exp(-0.5 * ((first / first_sigma) ** 2 + (second / second_sigma) ** 2))
    weights = weights * ((x.abs() <= radius) & (y.abs() <= radius))
    return weights / weights.sum((1, 2), keepdim=True)


def correlated(stack: Stack, kernels: torch.Tensor) -> torch.Tensor:
    """Each image with its kernel [B, K, K], K odd, mirrored at the border; float32 levels [B, 3, H, W]."""
    (height, width), side = stack.canvas, kernels.shape[-1]
    tall, wide = height + side - 1, width + side - 1
    padded = take(stack.pixels, mirrored(stack.heights, side // 2, tall), mirrored(stack.widths, side // 2, wide))
    grid = (smooth(tall), smooth(wide))
    # Levels about zero lose less in the transform.
    waves = torch.fft.rfft2(padded.float() - 128, s=grid)
    waves *= torch.fft.rfft2(kernels.float(), s=grid).conj()[:, None]
    offset = 128 * kernels.sum((1, 2)).float().view(-1, 1, 1, 1)
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
