"""Attention over the frames of a clip, at the same token of the scene."""

import torch
import torch.nn.functional as functional
from einops import rearrange
from torch import Tensor

from anchorface.models.memory_attention import MemoryAttention
from anchorface.models.settings import require


class TemporalAttention(MemoryAttention):
    """gamma Attn over frames for one block, which starts as nothing.

    A rotary embedding of queries and keys says which frame is which, so distances in time count alone, not a clip's
    place in its film. Form, base and ranks are our choice.

    Args:
        width: of the stream. heads: of the attention. rank: of all its maps. theta: base of the rotary embedding.
        opening: as of MemoryAttention.

    Raises:
        ConfigurationError: the width cannot be cut into so many heads of an even width.

    Source: temporal layers beside frozen spatial ones, AnimateDiff; IP-FVR's own are not published.
    """

    def __init__(self, width: int, *, heads: int, rank: int, theta: float, opening: str) -> None:
        require(width % (2 * heads) == 0, f"temporal_heads is {heads}; {width} channels cannot be cut into so many "
                                          "heads of an even width")
        super().__init__(width, width, heads=heads, rank=rank, query_rank=rank, opening=opening)
        self.theta = theta

    def forward(self, hidden: Tensor, frames: int) -> Tensor:  # type: ignore[override]
        """What to add to the scene's tokens `hidden` [clips * frames, L, D]."""
        from diffusers.models.embeddings import apply_rotary_emb, get_1d_rotary_pos_embed

        normed = self.normed(hidden)
        query, (key, value) = self.queries(normed), self.keys_values(normed)
        query, key, value = (rearrange(x, "(c f) n l d -> (c l) n f d", f=frames) for x in (query, key, value))
        places = get_1d_rotary_pos_embed(query.shape[-1], torch.arange(frames, device=hidden.device), self.theta,
                                         use_real=True)
        query, key = (apply_rotary_emb(x, places).to(value.dtype) for x in (query, key))
        found = functional.scaled_dot_product_attention(query, key, value)
        found = rearrange(found, "(c l) n f d -> (c f) l (n d)", l=hidden.shape[1])
        return self.gated(found).to(hidden.dtype)
