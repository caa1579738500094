"""The backbone's pass as a loop over diffusers' own modules, with three places where a system can reach in.

z: noisy scene tokens [B, L, C]. The image stream is [scene; degraded; references], width D; text is the transformer's
own stream in the double blocks and stands before the image in the single blocks. With hooks that change nothing the
loop gives the bits of diffusers' own forward pass.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anchorface.models.cache import Cache, Recording, Replaying
from anchorface.models.conditions import Conditions
from anchorface.models.tokens import Layout

if TYPE_CHECKING:
    from diffusers import Flux2Transformer2DModel

Modulations = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What a system does to the stream; each default does nothing.

    before: the embedded image tokens [B, tokens, D], before the first block. modulate: the image modulations of the
    double blocks [B, 6 D] and of the single blocks [B, 3 D]; per token, with an axis after B, where they differ.
    after: block number (double blocks first), the stream after it, and where the image begins in it.
    run: how a block is called with its arguments (`Adapter.run`).
    """

    before: Callable[[Tensor], Tensor] = lambda image: image
    modulate: Callable[[Tensor, Tensor], Modulations] = lambda double, single: (double, single)
    after: Callable[[int, Tensor, int], Tensor] = lambda block, stream, start: stream
    run: Callable[..., Any] = lambda function, *arguments: function(*arguments)


def stream_velocity(backbone: "Flux2Transformer2DModel", z: Tensor, sigma: Tensor, given: Conditions, layout: Layout,
                    hooks: Hooks, cache: Cache) -> Tensor:
    """The velocity of the scene tokens.

    Args:
        backbone: the transformer.
        z: noisy tokens [B, L, C]; sigma: noise level per picture [B], 0..1; given: the conditions.
        layout: which token stands where.
        hooks: what the system adds.
        cache: begun for this pass (`Cache.begin`); where it replays, the stream is the scene alone.

    Returns:
        [B, L, C].

    Source: FLUX.2's transformer; the sequence is IConFace eq. 2.
    """
    dtype, texts, shown = backbone.x_embedder.weight.dtype, layout.text, cache.shown(layout)
    tokens = z if cache.replays else torch.cat([z, given.degraded, *given.references], dim=1)
    image = hooks.before(backbone.x_embedder(tokens.to(dtype)))
    text = backbone.context_embedder(given.text.to(dtype))

    time = backbone.time_guidance_embed(sigma.to(dtype) * 1000, None)
    double, double_text = backbone.double_stream_modulation_img(time), backbone.double_stream_modulation_txt(time)
    double, single = hooks.modulate(double, backbone.single_stream_modulation(time))

    text_rotary = backbone.pos_embed(layout.text_ids(image.device))
    image_rotary = backbone.pos_embed(layout.image_ids(image.device)[:shown])
    rotary = tuple(torch.cat(pair, dim=0) for pair in zip(text_rotary, image_rotary, strict=True))

    doubles = len(backbone.transformer_blocks)
    for place, block in enumerate(backbone.transformer_blocks):
        with _kept(cache, place, layout):
            text, image = hooks.run(block, image, text, double, double_text, rotary)
        image = hooks.after(place, image, 0)
    stream = torch.cat([text, image], dim=1)
    for place, block in enumerate(backbone.single_transformer_blocks, start=doubles):
        with _kept(cache, place, layout):
            stream = hooks.run(block, stream, None, single, rotary)
        stream = hooks.after(place, stream, texts)
    # The stock order, all image tokens first: a product of another shape may round in another way.
    return backbone.proj_out(backbone.norm_out(stream[:, texts:], time))[:, : layout.scene_tokens]


def _kept(cache: Cache, block: int, layout: Layout) -> AbstractContextManager:
    """In which one block runs: taking the context's kept keys and values, keeping them, or neither."""
    if cache.replays:
        return Replaying(cache, block)
    if cache.reuse > 1:
        return Recording(cache, layout.image_tokens - layout.scene_tokens)
    return nullcontext()
