"""Noise from the same published fields as on the CPU path, see `operations.noise`."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from degradation.batch.fields import words
from degradation.batch.stack import Stack
from degradation.operations.noise import NORMAL


def noise(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """As `operations.noise.noise`; level, seed, grey per image."""
    field = _normal(stack.device)[field_words(stack, [one["seed"] for one in values], [one["grey"] for one in values])]
    field = (field * stack.column([one["level"] for one in values], torch.float64)).round_()
    return stack.with_pixels(field.add_(stack.pixels))


def field_words(stack: Stack, seeds: Sequence[int], grey: Sequence[int]) -> torch.Tensor:
    """The word of each value of each image, int32 [B, 3, H, W]; a grey image's channels share one field."""
    (height, width), device = stack.canvas, stack.device
    channels = [1 if one else 3 for one in grey]
    count = max(h * w * c for (h, w), c in zip(stack.sizes, channels, strict=True))
    flat = words(seeds, count, device)
    step = stack.column(channels, torch.int64)
    rows = torch.arange(height, device=device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=device).view(1, 1, 1, -1)
    channel = torch.arange(3, device=device).view(1, 3, 1, 1) * (step > 1)
    place = (rows * stack.widths.view(-1, 1, 1, 1) + columns) * step + channel
    return flat.gather(1, place.flatten(1).clamp_(max=count - 1)).view(place.shape)


@cache
def _normal(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(NORMAL).to(device)
