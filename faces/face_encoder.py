"""A whole face as many tokens: vision transformers of CLIP's layout, frozen.

In: faces float [B, 3, S, S] RGB in [-1, 1], FFHQ-aligned, any side. Out: float [B, 1 + patches, E], the class token
first, as they stand before the network's last norm. FaRL's ViT-B/16: 197 tokens of 768 numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from anchorface.faces.tensors import load_state
from anchorface.faces.weights import find, weight
from anchorface.records.errors import WeightsError

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's pictures, RGB in 0..1."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """image, patch: sides in pixels. width: E."""

    image: int
    patch: int
    width: int
    layers: int
    heads: int

    @property
    def tokens(self) -> int:
        """The class token and the patches."""
        return 1 + (self.image // self.patch) ** 2


SHAPES = {"farl": Shape(image=224, patch=16, width=768, layers=12, heads=12),
          "small": Shape(image=128, patch=16, width=128, layers=4, heads=4)}
"""Architectures by the name that the table of weights gives."""


class FaceEncoder(nn.Module):
    """transformers' CLIP vision network as `vision`, with resizing and CLIP's normalisation before it."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: Shape) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModel

        super().__init__()
        self.shape = shape
        self.vision: Any = CLIPVisionModel(CLIPVisionConfig(
            hidden_size=shape.width, intermediate_size=4 * shape.width, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, image_size=shape.image, patch_size=shape.patch))
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] in [-1, 1] to [B, 1 + patches, E]."""
        return self.vision(self.normed(images)).last_hidden_state

    def normed(self, images: Tensor) -> Tensor:
        """What the network takes: bicubic, antialiased, clipped to 0..1, then normed as CLIP's pictures."""
        size = self.shape.image
        if images.shape[-2:] != (size, size):
            images = functional.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
        return ((images + 1.0).mul(0.5).clamp(0.0, 1.0) - self.mean) / self.deviation


def face_encoder(name: str) -> FaceEncoder:
    """The frozen encoder of a weight's name, in evaluation mode on the CPU.

    Raises:
        WeightsError: no such name, a missing or unsafe file, or one with other names or shapes.
    """
    entry = weight(name, "face encoder")
    path = find(name, "face encoder")
    shape = SHAPES[entry.network]
    with torch.device("meta"):
        network = FaceEncoder(shape)
    network.load_state_dict(_fitting(network, load_state(path), path), assign=True)
    for buffer, values in (("mean", MEAN), ("deviation", DEVIATION)):
        setattr(network, buffer, torch.tensor(values).view(1, 3, 1, 1))
    network.vision.embeddings.position_ids = torch.arange(shape.tokens)[None]
    return network.eval().requires_grad_(False)


def _fitting(network: FaceEncoder, found: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """A file's tensors under the network's names, all there, none besides, of its shapes.

    Raises:
        WeightsError: names up to three of each kind that do not fit.
    """
    if any(name.startswith("visual.") for name in found):
        found = from_farl(found, network.shape.layers)
    wanted = network.state_dict()
    kinds = {
        "missing": sorted(wanted.keys() - found.keys()), "unknown": sorted(found.keys() - wanted.keys()),
        "of another shape": sorted(name for name in wanted.keys() & found.keys()
                                   if wanted[name].shape != found[name].shape)}
    wrong = [f"{len(names)} {kind}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
             for kind, names in kinds.items() if names]
    if wrong:
        shape = network.shape
        raise WeightsError(f"{path}: not a face encoder of {shape.layers} layers and width {shape.width} for "
                           f"{shape.image} px ({'; '.join(wrong)}). Use the file that the name stands for.")
    return {name: tensor.float() for name, tensor in found.items()}


RENAMED = {
    "class_embedding": "embeddings.class_embedding", "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight", "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias", "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
IN_LAYERS = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
             "attn.out_proj": "self_attn.out_proj"}
TRAINING_ONLY = ("proj", "lm_transformer.", "ln_lm.", "lm_head.", "mask_token")
"""What stands in the visual half of a published file and makes no token: the projection to captions, and the heads of
masked image modelling."""


def from_farl(published: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """FaRL's published names (CLIP's own: `visual.transformer.resblocks.N...`) to this module's.

    Queries, keys and values, which stand in one tensor there, are parted; the text half is left out. What has no
    counterpart keeps its name, so that it is told as unknown. Source: FaRL, Zheng et al. 2022, and its published code.
    """
    made: dict[str, Tensor] = {}
    for name, tensor in published.items():
        visual, _, inner = name.partition(".")
        if visual != "visual" or inner.startswith(TRAINING_ONLY):
            continue
        number, _, part = inner.removeprefix("transformer.resblocks.").partition(".")
        if inner in RENAMED:
            made[f"vision.{RENAMED[inner]}"] = tensor
        elif inner.startswith("transformer.resblocks.") and number.isdigit() and int(number) < layers:
            made |= _layer(f"vision.encoder.layers.{number}", part, tensor, name)
        else:
            made[name] = tensor
    return made


def _layer(layer: str, part: str, tensor: Tensor, name: str) -> dict[str, Tensor]:
    if part in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind = part.rpartition("_")[2]
        return {f"{layer}.self_attn.{which}_proj.{kind}": piece
                for which, piece in zip("qkv", tensor.tensor_split(3), strict=True)}
    module, _, kind = part.rpartition(".")
    return {f"{layer}.{IN_LAYERS[module]}.{kind}" if module in IN_LAYERS else name: tensor}
