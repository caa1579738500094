"""Attention in float32 on the CPU while everything else runs in bfloat16.

PyTorch's fused CPU attention is slower in bfloat16 than in float32, its backward pass above all: with heads of 32
channels, 132 tokens took 50 ms against 20 ms, 324 tokens 125 ms against 80 ms (AVX-512 with bf16, forward and
backward). Linear layers gain from bfloat16, so only attention is brought back.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.overrides import TorchFunctionMode


def quick_attention(device: torch.device) -> AbstractContextManager:
    """A context for the forward pass: float32 attention on the CPU under autocast, nothing elsewhere."""
    if device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return _AttentionInFloat32()
    return nullcontext()


class _AttentionInFloat32(TorchFunctionMode):
    """Calls of scaled_dot_product_attention get float32 inputs and escape autocast; their output is float32."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is not functional.scaled_dot_product_attention:
            return function(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return function(*map(_wide, args), **{name: _wide(value) for name, value in kwargs.items()})


def cpu_computes_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; without them torch computes it in software, eight times slower
    than float32 (the tiny twin, forward and backward, on AVX2).
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def as_weights(x: Tensor, weight: Tensor) -> Tensor:
    """What a linear layer of this weight takes: x in the weight's type, or as it is where autocast will see to both."""
    return x if torch.is_autocast_enabled(x.device.type) else x.to(weight.dtype)


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
