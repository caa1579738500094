"""Linear light in 16 bits and fields over a stack, as `degradation.light` has them."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from anchorface.degradation import light
from anchorface.degradation.batch.noise import field_words, normal_quantiles
from anchorface.degradation.batch.resize import matrices
from anchorface.degradation.batch.stack import Size, Stack, joined, send


def scaled(stack: Stack, gain: torch.Tensor) -> Stack:
    """The light times a gain, [B, 1 or 3, H, W]."""
    return from_light(stack, to_light(stack) * gain)


def to_light(stack: Stack) -> torch.Tensor:
    """Levels to light 0..65535, float32 [B, 3, H, W]."""
    return _to_light(stack.device)[stack.pixels.to(torch.int32)]


def from_light(stack: Stack, values: torch.Tensor) -> Stack:
    """Light, rounded and clipped, to levels."""
    return Stack(_from_light(stack.device)[values.round().clamp_(0, light.WHITE).to(torch.int32)], stack.sizes)


@cache
def _to_light(device: torch.device) -> torch.Tensor:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    return torch.from_numpy(light.to_light(ramp)[0, :, 0].astype(np.float32)).to(device)


@cache
def _from_light(device: torch.device) -> torch.Tensor:
    ramp = np.repeat(np.arange(light.WHITE + 1, dtype=np.uint16)[None, :, None], 3, axis=2)
    return torch.from_numpy(light.from_light(ramp)[0, :, 0].copy()).to(device)


def smooth_field(stack: Stack, values: list[dict[str, Any]]) -> torch.Tensor:
    """`light.smooth_field` of each image's seed and grain, float32 [B, 1, H, W]."""
    sizes: list[Size] = []
    for (height, width), one in zip(stack.sizes, values, strict=True):
        coarse = one["grain"] > 1
        sizes.append((int(np.ceil(height / one["grain"])) + 1, int(np.ceil(width / one["grain"])) + 1)
                     if coarse else (height, width))
    canvas = max(h for h, _ in sizes), max(w for _, w in sizes)
    words = field_words(sizes, canvas, values, [1] * len(values), stack.device)[:, 0]
    knots = normal_quantiles(stack.device)[words].float()
    kinds = ["cubic"] * len(values)
    down = matrices([h for h, _ in sizes], [h for h, _ in stack.sizes], kinds, canvas[0], stack.device)
    across = matrices([w for _, w in sizes], [w for _, w in stack.sizes], kinds, canvas[1], stack.device)
    return _on_canvas(torch.einsum("boi,biw,bpw->bop", down, knots, across)[:, None], stack.canvas)


def _on_canvas(field: torch.Tensor, canvas: Size) -> torch.Tensor:
    """Zeros around a field that covers the largest image only."""
    return torch.nn.functional.pad(field, (0, canvas[1] - field.shape[3], 0, canvas[0] - field.shape[2]))


def waves(stack: Stack, turns: Sequence[tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
    """`light.waves` of (across, down) of each image, offsets added to `across`; float32 [B, 1, H, W]."""
    return _cosine(stack.device)[(_phases(stack, [a for a, _ in turns], 1) + _phases(stack, [d for _, d in turns], 0))
                                 & 0xFFFF]


def _phases(stack: Stack, turns: Sequence[np.ndarray], axis: int) -> torch.Tensor:
    counted = [(np.rint(one % 1.0 * 65536).astype(np.int64) & 0xFFFF).astype(np.int32) for one in turns]
    return along(stack, counted, axis)


def along(stack: Stack, arrays: Sequence[np.ndarray], axis: int) -> torch.Tensor:
    """One array per image over its rows (axis 0), [B, 1, H, 1], or its columns (axis 1), [B, 1, 1, W]."""
    filled = joined([one[None] for one in arrays], (1, stack.canvas[axis]))
    return send(filled, stack.device).view((-1, 1, stack.canvas[0], 1) if axis == 0 else (-1, 1, 1, stack.canvas[1]))


@cache
def _cosine(device: torch.device) -> torch.Tensor:
    table = light.waves(np.arange(65536) / 65536, np.zeros(1))
    return torch.from_numpy(table[0].copy()).to(device)
