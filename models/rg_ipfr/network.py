"""RG-IPFR on FLUX.2: the stream attends to a composite context of the references' faces after every block.

With fresh adapters nothing is added, exactly. Without references, or where they are not heard, neither.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from anchorface.models.cache import Cache, KeyValue
from anchorface.models.conditions import Conditions
from anchorface.models.iconface.network import IConFace
from anchorface.models.memory_attention import MemoryAttention, attended
from anchorface.models.rg_ipfr.composite_context import CompositeContext
from anchorface.models.rg_ipfr.settings import RGIPFRSettings
from anchorface.models.settings import SystemSettings
from anchorface.models.stream import Hooks
from anchorface.models.tokens import Layout


class RGIPFR(IConFace):
    """RG-IPFR around a given backbone: LoRA, the context, and those of IConFace's pathways that are switched on.

    The paper's U-Net takes the degraded picture as channels; here its tokens stand in the sequence, as FLUX.2 takes
    pictures (our choice). Source: RG-IPFR, composite context.
    """

    settings_type: ClassVar[type[SystemSettings]] = RGIPFRSettings
    settings: RGIPFRSettings

    def add_pathways(self) -> None:
        """IConFace's that are on, the context, and an attention to it for every block."""
        super().add_pathways()
        settings, config, width = self.settings, self.backbone.config, self.backbone.inner_dim
        there, context_width = settings.context != "none", settings.context_width or width
        self.context = CompositeContext(settings, context_width) if there else None
        self.double_context, self.single_context = (
            nn.ModuleList([MemoryAttention(width, context_width, heads=settings.context_heads,
                                           rank=settings.context_rank, query_rank=settings.context_query_rank,
                                           opening=settings.opening)
                           for _ in range(blocks * there)])
            for blocks in (config.num_layers, config.num_single_layers)
        )

    def parts(self) -> Iterator[nn.Module]:
        """Blocks and attentions."""
        yield from super().parts()
        yield from self._readers

    @property
    def _readers(self) -> tuple[nn.Module, ...]:
        return *self.double_context, *self.single_context

    def forward(self, z: Tensor, sigma: Tensor, given: Conditions, cache: Cache | None = None) -> Tensor:
        """The velocity of the scene tokens, as `Adapter.forward` says."""
        shown = given if self.settings.concatenates else replace(given, references=())
        return super().forward(z, sigma, shown, cache)

    def additions(self, z: Tensor, given: Conditions, layout: Layout, kept: Cache) -> tuple[Tensor, Hooks]:
        """IConFace's additions, and after every block the attention to the context."""
        z, hooks = super().additions(z, given, layout, kept)
        offered: list[KeyValue] = kept.once("context", lambda: self._context(given))
        if not offered:
            return z, hooks

        def after(block: int, stream: Tensor, start: int) -> Tensor:
            stream = hooks.after(block, stream, start)
            stop = start + layout.scene_tokens if self.settings.context_scope == "scene" else stream.shape[1]
            return self.run(attended, self._readers[block], stream, start, stop, offered[block], given.heard)

        return z, replace(hooks, after=after)

    def _context(self, given: Conditions) -> list[KeyValue]:
        """What the context offers to each block; empty without faces."""
        if self.context is None or not given.faces:
            return []
        context = self.context(given.faces)
        return [reader.keys_values(context) for reader in self._readers]
