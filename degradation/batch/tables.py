"""Operations that look at one level of one channel at a time: each is its own table.

The CPU path's function, given a ramp of all levels, says what becomes of each; so the bytes are the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from anchorface.degradation.batch.stack import Stack, send
from anchorface.degradation.operations import FUNCTIONS

POINTWISE = ("shift_colour", "brightness", "haze", "exposure", "white_balance", "bit_depth", "fade", "yellow")
_RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)


def pointwise(name: str) -> Callable[[Stack, list[dict[str, Any]]], Stack]:
    """The batched form of the operation of that name."""
    function = FUNCTIONS[name]

    def carry_out(stack: Stack, values: list[dict[str, Any]]) -> Stack:
        tables = send(np.concatenate([function(_RAMP, **one) for one in values]), stack.device)
        return Stack(look_up(stack.pixels, tables), stack.sizes)

    return carry_out


def look_up(pixels: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """pixels uint8 [B, 3, H, W] through tables [B, 256, 3] of any kind: that kind, [B, 3, H, W]."""
    first = torch.arange(3, dtype=torch.int32, device=pixels.device).view(3, 1, 1)
    image = torch.arange(len(pixels), dtype=torch.int32, device=pixels.device).view(-1, 1, 1, 1) * 768
    return tables.reshape(-1)[pixels.to(torch.int32) * 3 + (image + first)]
