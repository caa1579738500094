"""Decoupled cross-attention: what is known of the references and what is said in attributes, read apart and added.

    h + s_image Attn(Q_i h, K_i M_image, V_i M_image) + s_attributes Attn(Q_a h, K_a M_attributes, V_a M_attributes)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from anchorface.models.cache import KeyValue
from anchorface.models.memory_attention import MemoryAttention


class Offer(NamedTuple):
    """What one context offers to one block: keys and values [B, heads, M, head width]; heard [B], how much of it is
    added, None: all; known: bool [B, M], which of its tokens there are, None: all."""

    keys_values: KeyValue
    heard: Tensor | None
    known: Tensor | None


class DecoupledAttention(nn.Module):
    """Both attentions of one block; each starts as no change. A width of None leaves one out.

    Source: IP-FVR's architecture figure; the sum is IP-Adapter's. That each has queries of its own is our choice.
    """

    def __init__(self, width: int, image_width: int | None, attribute_width: int | None, *, heads: int, rank: int,
                 query_rank: int, opening: str) -> None:
        super().__init__()
        self.image, self.attributes = (
            None if memory is None else MemoryAttention(width, memory, heads=heads, rank=rank, query_rank=query_rank,
                                                        opening=opening)
            for memory in (image_width, attribute_width)
        )

    def forward(self, hidden: Tensor, image: Offer | None, attributes: Offer | None) -> Tensor:
        """What to add to the tokens `hidden` [B, L, D]; an offer that is not there adds nothing."""
        added = [attention(hidden, *offer) for attention, offer in ((self.image, image), (self.attributes, attributes))
                 if attention is not None and offer is not None]
        return sum(added[1:], start=added[0]) if added else torch.zeros_like(hidden)
