"""IConFace: a frozen FLUX.2 transformer with an identity anchor, a structure anchor and LoRA beside its blocks.

scene, degraded, references: packed tokens float [B, L, 128]; sigma: [B] in [0, 1]; text: [B, T, D_text];
identity: [B, D_id] unit vectors. Out: the velocity of the scene tokens [B, L, 128].

The forward pass is the stock one, written as a loop over diffusers' own modules, with four additions: the input
residual before the blocks, identity deltas on the modulations, degraded attention after every block, and LoRA
inside the blocks' linears. With fresh adapters each addition is exactly zero.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers import Flux2Transformer2DModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from anchorface.models.configuration import IConFaceSettings
from anchorface.models.context import Context, KeyValue, RecordContext, ReplayContext
from anchorface.models.identity_anchor import IdentityAnchor, modulate
from anchorface.models.lora import add_lora
from anchorface.models.precision import quick_attention
from anchorface.models.structure_anchor import DegradedAttention, DegradedMemory, InputResidual
from anchorface.models.tokens import Layout, layout_of
from anchorface.models.weights import check_names_and_shapes
from anchorface.records import derive


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
                layout: Layout | None = None, context: Context | None = None) -> Tensor:
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
            context: what earlier steps of the same sampling have kept (only without gradients).

        Returns:
            [B, L, 128].

        Source: IConFace eq. 2-7.
        """
        net, settings = self.backbone, self.settings
        layout = layout or layout_of(text, scene, degraded, references, degraded_time=settings.degraded_time,
                                     reference_time=settings.reference_time, reference_step=settings.reference_step)
        number, texts, kept = net.x_embedder.weight.dtype, layout.text, context or Context()
        # With the context's keys and values at hand the stream is the scene alone.
        replay = kept.begin()
        shown = layout.scene_tokens if replay else layout.image_tokens

        residual = kept.once("residual", lambda: self._residual(degraded, layout))
        if residual is not None and settings.residual_space == "packed":
            scene = scene + residual.to(scene.dtype)
        tokens = scene if replay else torch.cat([scene, degraded, *references], dim=1)
        image = net.x_embedder(tokens.to(number))
        if residual is not None and settings.residual_space == "hidden":
            start = layout.scene_tokens
            image = torch.cat([image[:, :start] + residual.to(image.dtype), image[:, start:]], dim=1)
        words = net.context_embedder(text.to(number))

        time = net.time_guidance_embed(sigma.to(number) * 1000, None)
        double, double_text = net.double_stream_modulation_img(time), net.double_stream_modulation_txt(time)
        single = net.single_stream_modulation(time)
        anchor = self.identity_anchor
        if anchor is not None and identity is not None:
            deltas = kept.once("deltas", lambda: anchor(identity))
            double, single = self._with_identity(double, single, deltas, layout, shown)

        text_rotary = net.pos_embed(layout.text_ids(image.device))
        image_rotary = net.pos_embed(layout.image_ids(image.device)[:shown])
        rotary = tuple(torch.cat(pair, dim=0) for pair in zip(text_rotary, image_rotary, strict=True))

        offered = kept.once("offered", lambda: self._offered(degraded, layout))
        ways = [_in_context(kept, replay, block, layout) for block in range(self._blocks)]
        for place, block in enumerate(net.transformer_blocks):
            with ways[place]:
                words, image = self._run(block, image, words, double, double_text, rotary)
            if offered:
                image = self._run(self._attend, self.double_attention[place], image, offered[place], 0, layout)
        stream = torch.cat([words, image], dim=1)
        doubles = len(net.transformer_blocks)
        for place, block in enumerate(net.single_transformer_blocks):
            with ways[doubles + place]:
                stream = self._run(block, stream, None, single, rotary)
            if offered:
                stream = self._run(self._attend, self.single_attention[place], stream, offered[doubles + place], texts,
                                   layout)
        # The stock order, all image tokens first: a product of another shape may round in another way.
        return net.proj_out(net.norm_out(stream[:, texts:], time))[:, : layout.scene_tokens]

    @property
    def _blocks(self) -> int:
        return len(self.backbone.transformer_blocks) + len(self.backbone.single_transformer_blocks)

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
        return [attention.keys_values(memory) for attention in (*self.double_attention, *self.single_attention)]

    def _with_identity(self, double: Tensor, single: Tensor, deltas: tuple[Tensor, Tensor], layout: Layout,
                       shown: int) -> tuple[Tensor, Tensor]:
        """The image stream's modulations (of `shown` tokens) with the identity deltas; text positions keep theirs."""
        delta_double, delta_single = deltas
        touched = layout.scene_tokens if self.settings.identity_scope == "scene" else shown
        if touched == shown:
            double = double + delta_double.to(double.dtype)
        else:
            double = modulate(double, delta_double, 0, touched, shown)
        texts = layout.text
        return double, modulate(single, delta_single, texts, texts + touched, texts + shown)

    def _attend(self, attention: DegradedAttention, stream: Tensor, offered: KeyValue, start: int,
                layout: Layout) -> Tensor:
        """The stream with degraded attention added to its image tokens, which begin at `start`."""
        scene_only = self.settings.cross_scope == "scene"
        stop = start + layout.scene_tokens if scene_only else stream.shape[1]
        asked = stream[:, start:stop]
        if asked.shape == stream.shape:
            return stream + attention(stream, offered)
        return torch.cat([stream[:, :start], asked + attention(asked, offered), stream[:, stop:]], dim=1)

    def _run(self, function: Callable, *arguments: object) -> Any:
        """One block or one attention, recomputed in the backward pass when gradient checkpointing is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(_quickly, function, *arguments, use_reentrant=False)
        return _quickly(function, *arguments)

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Have torch compile every block and every degraded attention at its first use, in place: names stay.

        Blocks of one kind share the compiled code. On the CPU `inductor` takes a C++ compiler. Source: our choice.
        """
        for parts in (self.backbone.transformer_blocks, self.backbone.single_transformer_blocks,
                      self.double_attention, self.single_attention):
            for part in parts:
                part.compile(backend=backend)

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


def _in_context(context: Context, replay: bool, block: int, layout: Layout) -> AbstractContextManager:
    """In which one block runs: taking the context's kept keys and values, keeping them, or neither."""
    if replay:
        return ReplayContext(context, block)
    if context.reuse > 1:
        return RecordContext(context, layout.image_tokens - layout.scene_tokens)
    return nullcontext()
