"""Fields of random words on the device: bit for bit those of `degradation.fields.words`.

Philox 4x64-10 in signed 64-bit integers, which wrap as unsigned ones do; a 64 x 64 -> 128-bit product is put together
from 32-bit halves.

Source: Salmon and others, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

from collections.abc import Sequence

import torch

from anchorface.degradation.batch.stack import upload

_HALF = 0xFFFFFFFF
_ROUNDS = 10
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def _signed(value: int) -> int:
    """The signed 64-bit integer with the low 64 bits of `value`."""
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >> 63 else value


def _high(values: torch.Tensor, factor: int) -> torch.Tensor:
    """Upper 64 bits of the unsigned product."""
    low, high = values & _HALF, (values >> 32) & _HALF
    factor_low, factor_high = factor & _HALF, factor >> 32
    middle = high * factor_low
    middle += ((low * factor_low) >> 32) & _HALF
    low.mul_(factor_high).add_(middle & _HALF)
    return high.mul_(factor_high).add_((middle >> 32) & _HALF).add_((low >> 32) & _HALF)


def words(seeds: Sequence[int], count: int, device: torch.device) -> torch.Tensor:
    """The first `count` 16-bit words of the fields with these seeds; int32 [B, count], 0..65535."""
    first, second = _MULTIPLIERS
    keys = [[_signed(int(seed) + step * turn if place == 0 else (int(seed) >> 64) + step * turn)
             for turn in range(_ROUNDS)] for seed in seeds for place, step in enumerate(_KEY_STEPS)]
    key = upload(keys, device, torch.int64).view(len(seeds), 2, _ROUNDS)
    blocks = -(-count // 16)
    # NumPy counts up before it draws: the first block is that of counter 1.
    a = torch.arange(1, blocks + 1, dtype=torch.int64, device=device).expand(len(seeds), blocks)
    b = c = d = torch.zeros_like(a)
    for turn in range(_ROUNDS):
        a, b, c, d = (_high(c, second) ^ b ^ key[:, 0, turn, None], c * _signed(second),
                      _high(a, first) ^ d ^ key[:, 1, turn, None], a * _signed(first))
    wide = torch.stack((a, b, c, d), dim=-1)
    cut = [((wide >> shift) & 0xFFFF).to(torch.int32) for shift in (0, 16, 32, 48)]
    return torch.stack(cut, dim=-1).view(len(seeds), -1)[:, :count]
