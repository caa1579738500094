"""IConFace: a frozen FLUX.2 transformer with an identity anchor, a structure anchor and LoRA beside its blocks.

scene, degraded, references: packed tokens float [B, L, 128]; sigma: [B] in [0, 1]; text: [B, T, D_text];
identity: [B, D_id] unit vectors. Out: the velocity of the scene tokens [B, L, 128].

The forward pass is the stock one, written as a loop over diffusers' own modules, with four additions: the input
residual before the blocks, identity deltas on the modulations, degraded attention after every block, and LoRA
inside the blocks' linears. With fresh adapters each addition is exactly zero.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import Flux2Transformer2DModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.configuration import IConFaceSettings
from models.identity_anchor import IdentityAnchor, modulate
from models.lora import add_lora
from models.precision import quick_attention
from models.structure_anchor import DegradedAttention, DegradedMemory, InputResidual
from models.tokens import Layout, layout_of
from models.weights import check_names_and_shapes
from records import derive


class IConFace(nn.Module):
    """IConFace v1 around a given backbone, which it freezes and, with LoRA, changes in place.

    Args:
        backbone: a FLUX.2 transformer; afterwards it belongs to this module.
        settings: which pathways there are, and their sizes.
        seed: for the fresh adapters; the same seed gives the same adapters on every worker.

    Source: IConFace (papers 1.2 to 1.5).
    """

    def __init__(self, backbone: Flux2Transformer2DModel, settings: IConFaceSettings, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone.requires_grad_(False)
        self.gradient_checkpointing = False
        config = backbone.config
        width, channels = backbone.inner_dim, config.in_channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "iconface adapters"))
            if settings.lora_rank:
                add_lora(backbone, settings.lora_rank, settings.lora_alpha)
            self.identity_anchor = IdentityAnchor(settings, width) if settings.identity_anchor else None
            residual_width = channels if settings.residual_space == "packed" else width
            self.residual = InputResidual(settings, residual_width) if settings.residual else None
            with_memory, memory_width = settings.memory != "none", settings.memory_width or width
            self.memory = DegradedMemory(settings, channels, memory_width) if with_memory else None
            self.double_attention, self.single_attention = (
                nn.ModuleList([DegradedAttention(settings, width, memory_width) for _ in range(blocks * with_memory)])
                for blocks in (config.num_layers, config.num_single_layers)
            )
        self._adapter_names = tuple(n for n, p in self.named_parameters() if p.requires_grad)

    def forward(self, scene: Tensor, sigma: Tensor, text: Tensor, degraded: Tensor,
                references: tuple[Tensor, ...] = (), identity: Tensor | None = None,
                layout: Layout | None = None) -> Tensor:
        """The velocity of the scene tokens.

        Args:
            scene: noisy tokens [B, L, 128].
            sigma: noise level per image [B], 0..1.
            text: prompt embedding [B, T, D_text].
            degraded: clean tokens of the degraded image [B, L_deg, 128].
            references: clean tokens [B, L_r, 128] each; an empty tuple is the no-reference mode: the segment is
                not there, nothing is padded or masked.
            identity: unit embedding [B, D_id] (the anchor, or the degraded image's own); None leaves it out.
            layout: token grids; None means square images.

        Returns:
            [B, L, 128].

        Source: IConFace eq. 2-7.
        """
        net, settings = self.backbone, self.settings
        layout = layout or layout_of(text, scene, degraded, references, degraded_time=settings.degraded_time,
                                     reference_time=settings.reference_time)
        number, texts = net.x_embedder.weight.dtype, layout.text
        memory = self.memory(degraded, layout.degraded) if self.memory is not None else None

        if self.residual is not None and settings.residual_space == "packed":
            scene = scene + self.residual(degraded, layout.degraded, layout.scene).to(scene.dtype)
        image = net.x_embedder(torch.cat([scene, degraded, *references], dim=1).to(number))
        if self.residual is not None and settings.residual_space == "hidden":
            kept = layout.scene_tokens
            seen = image[:, kept : kept + layout.lengths[1]]
            image = torch.cat([image[:, :kept] + self.residual(seen, layout.degraded, layout.scene).to(image.dtype),
                               image[:, kept:]], dim=1)
        words = net.context_embedder(text.to(number))

        time = net.time_guidance_embed(sigma.to(number) * 1000, None)
        double, double_text = net.double_stream_modulation_img(time), net.double_stream_modulation_txt(time)
        single = net.single_stream_modulation(time)
        if self.identity_anchor is not None and identity is not None:
            double, single = self._with_identity(double, single, self.identity_anchor(identity), layout)

        text_rotary = net.pos_embed(layout.text_ids(image.device))
        image_rotary = net.pos_embed(layout.image_ids(image.device))
        rotary = tuple(torch.cat(pair, dim=0) for pair in zip(text_rotary, image_rotary, strict=True))

        for place, block in enumerate(net.transformer_blocks):
            words, image = self._run(block, image, words, double, double_text, rotary)
            if memory is not None:
                image = self._run(self._attend, self.double_attention[place], image, memory, 0, layout)
        stream = torch.cat([words, image], dim=1)
        for place, block in enumerate(net.single_transformer_blocks):
            stream = self._run(block, stream, None, single, rotary)
            if memory is not None:
                stream = self._run(self._attend, self.single_attention[place], stream, memory, texts, layout)
        # The stock order, all image tokens first: a product of another shape may round in another way.
        return net.proj_out(net.norm_out(stream[:, texts:], time))[:, : layout.scene_tokens]

    def _with_identity(self, double: Tensor, single: Tensor, deltas: tuple[Tensor, Tensor],
                       layout: Layout) -> tuple[Tensor, Tensor]:
        """The image stream's modulations with the identity deltas; text positions keep theirs."""
        delta_double, delta_single = deltas
        texts, everything = layout.text, layout.image_tokens
        touched = layout.scene_tokens if self.settings.identity_scope == "scene" else everything
        if touched == everything:
            double = double + delta_double.to(double.dtype)
        else:
            double = modulate(double, delta_double, 0, touched, everything)
        return double, modulate(single, delta_single, texts, texts + touched, texts + everything)

    def _attend(self, attention: DegradedAttention, stream: Tensor, memory: Tensor, start: int,
                layout: Layout) -> Tensor:
        """The stream with degraded attention added to its image tokens, which begin at `start`."""
        scene_only = self.settings.cross_scope == "scene"
        stop = start + (layout.scene_tokens if scene_only else layout.image_tokens)
        asked = stream[:, start:stop]
        return torch.cat([stream[:, :start], asked + attention(asked, memory), stream[:, stop:]], dim=1)

    def _run(self, function: Callable, *arguments: object) -> Any:
        """One block or one attention, recomputed in the backward pass when gradient checkpointing is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(_quickly, function, *arguments, use_reentrant=False)
        return _quickly(function, *arguments)

    def named_trainable_parameters(self) -> dict[str, nn.Parameter]:
        """The adapters by name: LoRA, identity anchor and structure anchor; never the backbone's own weights."""
        parameters = dict(self.named_parameters())
        return {name: parameters[name] for name in self._adapter_names}

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The adapters in a fixed order."""
        return list(self.named_trainable_parameters().values())

    def adapter_state(self) -> dict[str, Tensor]:
        """The adapters as detached tensors by name: what a checkpoint holds."""
        return {name: parameter.detach() for name, parameter in self.named_trainable_parameters().items()}

    @torch.no_grad()
    def load_adapter_state(self, state: dict[str, Tensor], what: str = "the adapter") -> None:
        """Copy adapters in, strictly.

        Args:
            state: what `adapter_state` gave.
            what: names the source in the error, for example the file.

        Raises:
            CheckpointError: names or shapes differ.
        """
        own = self.named_trainable_parameters()
        check_names_and_shapes(own, state, what)
        for name, parameter in own.items():
            parameter.copy_(state[name])


def _quickly(function: Callable, *arguments: Any) -> Any:
    # Inside what is checkpointed, so that the recomputation runs in the same way.
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    with quick_attention(device):
        return function(*arguments)
