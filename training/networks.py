"""The networks of a run: the frozen ones, and the recipe's system with fresh adapters around its frozen base.

In: a recipe. Out: `Networks` on the worker's device, and the names and hashes of the weight files they came from.
A recipe that names no file gets fresh weights from its seed, the same on every worker.
"""

from dataclasses import dataclass

import torch
from torch import nn

from anchorface.faces.embed import adaface_network, gradient_network
from anchorface.faces.face_encoder import FaceEncoder, face_encoder
from anchorface.faces.quality import NormCalibration, read_calibration
from anchorface.faces.weights import find
from anchorface.models.adapter import Adapter
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory, build_backbone
from anchorface.models.build import build
from anchorface.models.checkpoint import DTYPES, LOSS_EMBEDDER, BaseWeight, read_text
from anchorface.models.encode import Encoders
from anchorface.models.ip_fvr.attribute_context import read_attributes
from anchorface.models.ip_fvr.network import IPFVR
from anchorface.models.weights import load_autoencoder, load_backbone
from anchorface.records import ConfigurationError
from anchorface.records.hashes import sha256
from anchorface.training.execution import Execution
from anchorface.training.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Networks:
    """encoders: the frozen networks that make conditions. network: the system; only its adapters require gradients
    (float32). loss_embedder: who looks at faces for the loss, where that is another than the anchor's.
    """

    encoders: Encoders
    network: Adapter
    loss_embedder: nn.Module | None = None


def load_networks(recipe: Recipe, device: torch.device, execution: Execution | None = None) -> Networks:
    """All networks of a recipe, compiled and checkpointed as the execution says.

    Raises:
        WeightsError, CheckpointError: a weight file that is missing, unsafe or of another shape.
        ConfigurationError: an embedder of another dimension than the system takes, or a face encoder of other tokens.
    """
    model, execution = recipe.model, execution or Execution()
    embedder = adaface_network(recipe.embedder)
    if model.system.identity_dimension not in (0, embedder.dimension):
        raise ConfigurationError(f"embedder {recipe.embedder} gives {embedder.dimension} numbers; set "
                                 f"model.system.identity_dimension ({model.system.identity_dimension}) to that")
    if recipe.autoencoder:
        autoencoder = load_autoencoder(find(recipe.autoencoder), model.autoencoder)
    else:
        autoencoder = Autoencoder(model.autoencoder, recipe.seed).eval().requires_grad_(False)
    if recipe.backbone:
        backbone = load_backbone(find(recipe.backbone), model.backbone, DTYPES[recipe.base_precision])
    else:
        backbone = build_backbone(model.backbone, recipe.seed).to(DTYPES[recipe.base_precision])
    text = read_text(find(recipe.text), model) if recipe.text else TextMemory.fixed(model.backbone, model.text_seed)
    network = build(model.system, backbone, recipe.seed)
    if recipe.attributes and isinstance(network, IPFVR) and network.attribute_context is not None:
        network.attribute_context.start_at(read_attributes(find(recipe.attributes)), recipe.attributes)
    network.gradient_checkpointing = execution.checkpointing
    if execution.compile:
        network.compile_parts()
    calibration, reader = norm_calibration(recipe), _face_encoder(recipe)
    encoders = Encoders(
        autoencoder=autoencoder.to(device), text=text.to(device),
        embedder=embedder.to(device, memory_format=torch.channels_last), temperature=recipe.anchor.temperature,
        quality=calibration.quality if calibration else None, face_encoder=reader.to(device) if reader else None,
        concatenates=model.system.concatenates,
    )
    looks = gradient_network(recipe.loss_embedder) if recipe.loss_embedder else None
    return Networks(encoders=encoders, network=network.to(device),
                    loss_embedder=looks.to(device, memory_format=torch.channels_last) if looks else None)


def _face_encoder(recipe: Recipe) -> FaceEncoder | None:
    if not recipe.face_encoder:
        return None
    found, wanted = face_encoder(recipe.face_encoder), recipe.model.system.face_shape
    if (found.shape.tokens, found.shape.width) != wanted:
        raise ConfigurationError(f"face_encoder {recipe.face_encoder} gives {found.shape.tokens} tokens of "
                                 f"{found.shape.width} numbers; set model.system.face_tokens and face_width, {wanted}, "
                                 "to those")
    return found


def norm_calibration(recipe: Recipe) -> NormCalibration | None:
    """The stored calibration of the recipe's embedder, if the recipe asks for it.

    Raises:
        WeightsError: it asks, and there is none for this file.
    """
    return read_calibration(recipe.embedder) if recipe.anchor.norm_weights == "quality" else None


def base_weights(recipe: Recipe) -> dict[str, BaseWeight]:
    """Role -> name and SHA-256 of every frozen weight file, for the checkpoint and for MLflow."""
    named = {"autoencoder": recipe.autoencoder, "backbone": recipe.backbone, "text": recipe.text,
             "embedder": recipe.embedder, LOSS_EMBEDDER: recipe.loss_embedder, "face_encoder": recipe.face_encoder}
    return {role: BaseWeight(name=name, sha256=sha256(find(name))) for role, name in named.items() if name}
