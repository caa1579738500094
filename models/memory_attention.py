"""Attention from the image stream to a small memory beside it, after a block: low-rank, gated, nothing at its start.

stream: float [B, L, D]. memory: float [B, M, memory width], what a pathway offers to every block.
"""

import math
from typing import Any

import torch
import torch.nn.functional as functional
from einops import rearrange
from torch import Tensor, nn

from anchorface.models.cache import KeyValue
from anchorface.models.precision import as_weights


class LowRank(nn.Module):
    """A linear map of small rank, up(down(x)), without bias; `zero` starts it as the zero map."""

    def __init__(self, inputs: int, outputs: int, rank: int, *, zero: bool = False) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        if zero:
            nn.init.zeros_(self.up.weight)
        else:
            # down divides unit inputs' variance by 3; this brings the outputs back to unit variance.
            nn.init.normal_(self.up.weight, std=math.sqrt(3 / rank))

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        return self.up(self.down(as_weights(x, self.down.weight)))


class MemoryAttention(nn.Module):
    """gamma Attn(Q h, K M, V M) for one block, which starts as nothing.

    Our choice: h is layer-normed first, queries and keys are RMS-normed per head, no rotary embedding (memory tokens
    have no place).

    Args:
        width, memory_width: of the stream and of the memory. heads: of the attention.
        rank: of K and V. query_rank: of Q and of the output projection.
        opening: what starts at zero, everything else does not: the `gate` gamma (the paper's), or the `output` map,
            with gamma at one. A gate must first find that a random map of what was read helps, and stays shut for
            hundreds of steps (docs/results.md); an output map learns from the first step what to do with it.

    Source: IConFace, block-wise degraded attention after eq. 7.
    """

    def __init__(self, width: int, memory_width: int, *, heads: int, rank: int, query_rank: int, opening: str) -> None:
        super().__init__()
        self.heads, head_width = heads, width // heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.to_query = LowRank(width, width, query_rank)
        self.to_key = LowRank(memory_width, width, rank)
        self.to_value = LowRank(memory_width, width, rank)
        self.to_out = LowRank(width, width, query_rank, zero=opening == "output")
        self.norm_query = nn.RMSNorm(head_width, eps=1e-6)
        self.norm_key = nn.RMSNorm(head_width, eps=1e-6)
        self.gamma = nn.Parameter(torch.zeros(1) if opening == "gate" else torch.ones(1))

    def keys_values(self, memory: Tensor) -> KeyValue:
        """What the memory [B, M, memory width] offers: keys and values [B, heads, M, head width]."""
        key, value = (
            rearrange(x, "b l (n d) -> b n l d", n=self.heads) for x in (self.to_key(memory), self.to_value(memory))
        )
        # Under autocast queries and keys are bfloat16, the norms' weights are not; the fused kernel wants one type.
        return self.norm_key(key.to(self.norm_key.weight.dtype)).to(value.dtype), value

    def normed(self, hidden: Tensor) -> Tensor:
        """The stream's tokens [B, L, D], layer-normed in their own type."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.norm(hidden)  # autocast would make a float32 copy of the whole stream

    def queries(self, normed: Tensor) -> Tensor:
        """What normed tokens [B, L, D] ask: [B, heads, L, head width], in the norm's type."""
        query = rearrange(self.to_query(normed), "b l (n d) -> b n l d", n=self.heads)
        return self.norm_query(query.to(self.norm_query.weight.dtype))

    def gated(self, found: Tensor, heard: Tensor | None = None) -> Tensor:
        """The output map of what was found [B, L, D], gated."""
        # gamma where there are few channels; nothing has a bias, so with it or the map at 0 nothing is added, exactly.
        low_rank = self.to_out.down(as_weights(found, self.to_out.down.weight))
        gate = self.gamma if heard is None else self.gamma * heard[:, None, None]
        return self.to_out.up((gate * low_rank).to(low_rank.dtype))

    def forward(self, hidden: Tensor, offered: KeyValue, heard: Tensor | None = None,
                known: Tensor | None = None) -> Tensor:
        """What to add to the tokens `hidden` [B, L, D].

        Args:
            offered: what `keys_values` made of the memory.
            heard: [B], how much of a picture's memory counts: a number, or bool; nothing is added to those of 0. None:
                all.
            known: bool [B, M], which of its tokens there are, one at least; None: all.
        """
        key, value = offered
        query = self.queries(self.normed(hidden)).to(value.dtype)
        mask = None if known is None else known[:, None, None]
        found = functional.scaled_dot_product_attention(query, key, value, mask)
        return self.gated(rearrange(found, "b n l d -> b l (n d)"), heard).to(hidden.dtype)


def attended(attention: nn.Module, stream: Tensor, start: int, stop: int, *given: Any) -> Tensor:
    """The stream [B, L, D] with an attention, asked by its tokens start..stop with what is given, added to these."""
    asked = stream[:, start:stop]
    if asked.shape == stream.shape:
        return stream + attention(stream, *given)
    return torch.cat([stream[:, :start], asked + attention(asked, *given), stream[:, stop:]], dim=1)
