"""IP-FVR on FLUX.2: after every block the stream reads references and attributes apart, and frames see each other.

With fresh adapters nothing is added, exactly. A single picture (frames 1) has no time: the image model answers.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from typing import ClassVar

import torch
from torch import Tensor, nn

from anchorface.models.cache import Cache
from anchorface.models.conditions import Conditions
from anchorface.models.iconface.network import IConFace
from anchorface.models.ip_fvr.attribute_context import AttributeContext
from anchorface.models.ip_fvr.decoupled_attention import DecoupledAttention, Offer
from anchorface.models.ip_fvr.settings import IPFVRSettings
from anchorface.models.ip_fvr.temporal import TemporalAttention
from anchorface.models.memory_attention import MemoryAttention, attended
from anchorface.models.rg_ipfr.composite_context import CompositeContext
from anchorface.models.settings import SystemSettings
from anchorface.models.stream import Hooks
from anchorface.models.tokens import Layout
from anchorface.records import ConfigurationError

Offers = list[tuple[Offer | None, Offer | None]]


class IPFVR(IConFace):
    """IP-FVR around a given backbone: IConFace's pathways, and what the settings switch on beside them.

    The paper's per-identity LoRA is left out: nobody is trained for. Source: IP-FVR; every form is our choice.
    """

    settings_type: ClassVar[type[SystemSettings]] = IPFVRSettings
    settings: IPFVRSettings

    def add_pathways(self) -> None:
        """IConFace's that are on, both contexts, an attention to them for every block, and attention over frames."""
        super().add_pathways()
        settings, config, width = self.settings, self.backbone.config, self.backbone.inner_dim
        image = (settings.image_width or width) if settings.image_context != "none" else None
        said = (settings.attribute_width or width) if settings.attribute_context else None
        self.image_context = None if image is None else CompositeContext(settings, image)
        self.attribute_context = None if said is None else AttributeContext(said, settings.prompt_width)
        doubles, singles = config.num_layers, config.num_single_layers
        self.decoupled = nn.ModuleList(
            DecoupledAttention(width, image, said, heads=settings.context_heads, rank=settings.context_rank,
                               query_rank=settings.context_query_rank, opening=settings.opening)
            for _ in range((doubles + singles) * (image is not None or said is not None)))
        self.temporal = nn.ModuleDict({
            str(block): TemporalAttention(width, heads=settings.temporal_heads, rank=settings.temporal_rank,
                                          theta=settings.temporal_theta, opening=settings.opening)
            for block in settings.temporal_blocks(doubles, singles)})

    def parts(self) -> Iterator[nn.Module]:
        """Blocks and attentions."""
        yield from super().parts()
        yield from self.decoupled
        yield from self.temporal.values()

    def additions(self, z: Tensor, given: Conditions, layout: Layout, kept: Cache) -> tuple[Tensor, Hooks]:
        """IConFace's additions; after every block both contexts, then time.

        Raises:
            ConfigurationError: clips of more frames than the settings allow.
        """
        if given.frames > self.settings.most_frames:
            raise ConfigurationError(f"clips of {given.frames} frames; this model takes {self.settings.most_frames} at "
                                     "most")
        z, hooks = super().additions(z, given, layout, kept)
        offers: Offers = kept.once("offers", lambda: self._offers(given))

        def after(block: int, stream: Tensor, start: int) -> Tensor:
            stream, scene = hooks.after(block, stream, start), start + layout.scene_tokens
            if offers:
                stop = scene if self.settings.context_scope == "scene" else stream.shape[1]
                stream = self.run(attended, self.decoupled[block], stream, start, stop, *offers[block])
            if given.frames > 1 and str(block) in self.temporal:
                stream = self.run(attended, self.temporal[str(block)], stream, start, scene, given.frames)
            return stream

        return z, replace(hooks, after=after)

    def _offers(self, given: Conditions) -> Offers:
        """What both contexts offer to each block; empty where nothing is said or heard."""
        image, attributes = given.context_scales or (self.settings.image_scale, self.settings.attribute_scale)
        of_image: list[Offer] = []
        of_attributes: list[Offer] = []
        if self.image_context is not None and given.faces and image:
            of_image = _offered([each.image for each in self.decoupled], self.image_context(given.faces),
                                _scaled(given.heard, image, given.degraded))
        if self.attribute_context is not None and given.attributes is not None and attributes:
            known = ~given.attributes.isnan()
            some = known.any(dim=1)
            # A picture of which nothing is known hears nothing; its mask must still let something through.
            of_attributes = _offered([each.attributes for each in self.decoupled],
                                     self.attribute_context(given.attributes),
                                     _scaled(some, attributes, given.degraded), known | ~some[:, None])
        return list(zip_longest(of_image, of_attributes))


def _offered(readers: list[MemoryAttention], context: Tensor, heard: Tensor | None,
             known: Tensor | None = None) -> list[Offer]:
    return [Offer(reader.keys_values(context), heard, known) for reader in readers]


def _scaled(heard: Tensor | None, scale: float, like: Tensor) -> Tensor | None:
    """How much of each picture's context is added, [B]; None: all of it."""
    if scale == 1.0:
        return heard
    return torch.full((len(like),), scale, device=like.device) if heard is None else heard * scale
