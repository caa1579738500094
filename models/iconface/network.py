"""IConFace: a frozen FLUX.2 transformer with an identity anchor, a structure anchor and LoRA beside its blocks.

Four additions to the stock forward pass: the input residual before the blocks, identity deltas on the modulations,
degraded attention after every block, and LoRA inside the blocks' linears. With fresh adapters each addition is exactly
zero.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from anchorface.models.adapter import Adapter
from anchorface.models.cache import Cache, KeyValue
from anchorface.models.conditions import Conditions
from anchorface.models.iconface.identity_anchor import IdentityAnchor, modulate
from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.iconface.structure_anchor import DegradedMemory, InputResidual
from anchorface.models.lora import add_lora
from anchorface.models.memory_attention import MemoryAttention, attended
from anchorface.models.settings import SystemSettings
from anchorface.models.stream import Hooks, Modulations, stream_velocity
from anchorface.models.tokens import Layout


class IConFace(Adapter):
    """IConFace v1 around a given backbone, which it freezes and, with LoRA, changes in place. Source: IConFace eq. 2-7.
    """

    settings_type: ClassVar[type[SystemSettings]] = IConFaceSettings
    settings: IConFaceSettings

    def add_pathways(self) -> None:
        """LoRA, identity anchor, input residual, memory and an attention to it for every block."""
        settings, config = self.settings, self.backbone.config
        width, channels = self.backbone.inner_dim, config.in_channels
        if settings.lora_rank:
            add_lora(self.backbone, settings.lora_rank, settings.lora_alpha)
        self.identity_anchor = IdentityAnchor(settings, width) if settings.identity_anchor else None
        residual_width = channels if settings.residual_space == "packed" else width
        self.residual = InputResidual(settings, residual_width) if settings.residual else None
        with_memory, memory_width = settings.memory != "none", settings.memory_width or width
        self.memory = DegradedMemory(settings, channels, memory_width) if with_memory else None
        self.double_attention, self.single_attention = (
            nn.ModuleList([MemoryAttention(width, memory_width, heads=settings.cross_heads, rank=settings.cross_rank,
                                           query_rank=settings.cross_query_rank, opening=settings.opening)
                           for _ in range(blocks * with_memory)])
            for blocks in (config.num_layers, config.num_single_layers)
        )

    def parts(self) -> Iterator[nn.Module]:
        """Blocks and attentions to the memory."""
        yield from super().parts()
        yield from self._attentions

    @property
    def _attentions(self) -> tuple[nn.Module, ...]:
        return *self.double_attention, *self.single_attention

    def forward(self, z: Tensor, sigma: Tensor, given: Conditions, cache: Cache | None = None) -> Tensor:
        """The velocity of the scene tokens, as `Adapter.forward` says. Source: IConFace eq. 2-7."""
        kept, layout = cache or Cache(), self.layout(z, given)
        kept.begin()
        z, hooks = self.additions(z, given, layout, kept)
        return stream_velocity(self.backbone, z, sigma, given, layout, hooks, kept)

    def additions(self, z: Tensor, given: Conditions, layout: Layout, kept: Cache) -> tuple[Tensor, Hooks]:
        """The pathways of one pass: z [B, L, C] with what is added to it, and hooks for the rest."""
        settings, shown = self.settings, kept.shown(layout)
        residual = kept.once("residual", lambda: self._residual(given.degraded, layout))
        deltas = kept.once("deltas", lambda: self._deltas(given.identity))
        offered = kept.once("offered", lambda: self._offered(given.degraded, layout))
        packed = settings.residual_space == "packed"
        if residual is not None and packed:
            z = z + residual.to(z.dtype)

        def before(image: Tensor) -> Tensor:
            if residual is None or packed:
                return image
            start = layout.scene_tokens
            return torch.cat([image[:, :start] + residual.to(image.dtype), image[:, start:]], dim=1)

        def modulated(double: Tensor, single: Tensor) -> Modulations:
            return (double, single) if deltas is None else self._with_identity(double, single, deltas, layout, shown)

        def after(block: int, stream: Tensor, start: int) -> Tensor:
            if not offered:
                return stream
            stop = start + layout.scene_tokens if settings.cross_scope == "scene" else stream.shape[1]
            return self.run(attended, self._attentions[block], stream, start, stop, offered[block])

        return z, Hooks(before=before, modulate=modulated, after=after, run=self.run)

    def _deltas(self, identity: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """The identity's shifts of the modulations; None without an anchor or an identity."""
        return None if self.identity_anchor is None or identity is None else self.identity_anchor(identity)

    def _residual(self, degraded: Tensor, layout: Layout) -> Tensor | None:
        """s_deg W_in(resize(x_deg)) in the space that the settings name."""
        if self.residual is None:
            return None
        embed = self.backbone.x_embedder
        seen = degraded if self.settings.residual_space == "packed" else embed(degraded.to(embed.weight.dtype))
        return self.residual(seen, layout.degraded, layout.scene)

    def _offered(self, degraded: Tensor, layout: Layout) -> list[KeyValue]:
        """What the pooled memory of the degraded image offers to each block; empty without a memory."""
        if self.memory is None:
            return []
        memory = self.memory(degraded, layout.degraded)
        return [attention.keys_values(memory) for attention in self._attentions]

    def _with_identity(self, double: Tensor, single: Tensor, deltas: tuple[Tensor, Tensor], layout: Layout,
                       shown: int) -> Modulations:
        """The image stream's modulations (of `shown` tokens) with the identity deltas; text positions keep theirs."""
        delta_double, delta_single = deltas
        touched = layout.scene_tokens if self.settings.identity_scope == "scene" else shown
        if touched == shown:
            double = double + delta_double.to(double.dtype)
        else:
            double = modulate(double, delta_double, 0, touched, shown)
        texts = layout.text
        return double, modulate(single, delta_single, texts, texts + touched, texts + shown)
