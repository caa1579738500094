"""The networks of a run: the frozen ones, and IConFace with fresh adapters around its frozen base.

In: a recipe. Out: `Networks` on the worker's device, and the names and hashes of the weight files they came from.
A recipe that names no file gets fresh weights from its seed, the same on every worker.
"""

from dataclasses import dataclass

import torch

from anchorface.faces.adaface import AdaFaceNet
from anchorface.faces.embed import adaface_network
from anchorface.faces.quality import NormCalibration, read_calibration
from anchorface.faces.weights import find
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory, build_backbone
from anchorface.models.checkpoint import BaseWeight, read_text
from anchorface.models.iconface import IConFace
from anchorface.models.weights import load_autoencoder, load_backbone
from anchorface.records import ConfigurationError
from anchorface.records.hashes import sha256
from anchorface.training.recipes import Recipe

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Networks:
    """autoencoder, text, embedder are frozen; in iconface only the adapters require gradients (float32). calibration:
    of the embedder's norms, where the recipe weighs references by quality."""

    autoencoder: Autoencoder
    iconface: IConFace
    text: TextMemory
    embedder: AdaFaceNet
    calibration: NormCalibration | None = None


def load_networks(recipe: Recipe, device: torch.device) -> Networks:
    """All networks of a recipe.

    Raises:
        WeightsError, CheckpointError: a weight file that is missing, unsafe or of another shape.
        ConfigurationError: an embedder of another dimension than the identity anchor's.
    """
    model = recipe.model
    embedder = adaface_network(recipe.embedder)
    if model.iconface.identity_anchor and embedder.dimension != model.iconface.identity_dimension:
        raise ConfigurationError(f"embedder {recipe.embedder} gives {embedder.dimension} numbers; set "
                                 f"model.iconface.identity_dimension ({model.iconface.identity_dimension}) to that")
    if recipe.autoencoder:
        autoencoder = load_autoencoder(find(recipe.autoencoder), model.autoencoder)
    else:
        autoencoder = Autoencoder(model.autoencoder, recipe.seed).eval().requires_grad_(False)
    if recipe.backbone:
        backbone = load_backbone(find(recipe.backbone), model.backbone, TYPES[recipe.base_precision])
    else:
        backbone = build_backbone(model.backbone, recipe.seed)
    text = read_text(find(recipe.text), model) if recipe.text else TextMemory.fixed(model.backbone, model.text_seed)
    iconface = IConFace(backbone, model.iconface, recipe.seed)
    iconface.gradient_checkpointing = recipe.gradient_checkpointing
    if recipe.compile:
        iconface.compile_blocks()
    return Networks(
        autoencoder=autoencoder.to(device), iconface=iconface.to(device), text=text.to(device),
        embedder=embedder.to(device, memory_format=torch.channels_last), calibration=norm_calibration(recipe),
    )


def norm_calibration(recipe: Recipe) -> NormCalibration | None:
    """The stored calibration of the recipe's embedder, if the recipe asks for it.

    Raises:
        WeightsError: it asks, and there is none for this file.
    """
    return read_calibration(recipe.embedder) if recipe.losses.norm_weights == "quality" else None


def base_weights(recipe: Recipe) -> dict[str, BaseWeight]:
    """Role -> name and SHA-256 of every frozen weight file, for the checkpoint and for MLflow."""
    named = {"autoencoder": recipe.autoencoder, "backbone": recipe.backbone, "text": recipe.text,
             "embedder": recipe.embedder}
    return {role: BaseWeight(name=name, sha256=sha256(find(name))) for role, name in named.items() if name}
