"""A checkpoint small enough for tests, written through the models' own functions, with random weights."""

from collections.abc import Callable
from pathlib import Path

import torch

from anchorface.faces.weights import find
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import build_backbone
from anchorface.models.build import build
from anchorface.models.checkpoint import BaseWeight, Description, write_adapter, write_description
from anchorface.models.configuration import AutoencoderSettings, BackboneSettings, ModelSettings
from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.ip_fvr.settings import IPFVRSettings
from anchorface.models.settings import SystemSettings
from anchorface.models.weights import save

EMBEDDER = "adaface_small"


PATHWAYS = {"identity_dimension": 256, "base_tokens": 4, "detail_tokens": 4, "pooler_heads": 2, "cross_heads": 2,
            "lora_rank": 2}
SYSTEMS: dict[str, SystemSettings] = {
    "iconface": IConFaceSettings(**PATHWAYS),
    "ip_fvr": IPFVRSettings(**PATHWAYS, temporal_rank=2, temporal_heads=2, context_rank=2, context_query_rank=2,
                            context_heads=2),
}


def micro_settings(size: int = 64, system: str = "iconface") -> ModelSettings:
    return ModelSettings(
        image_size=size,
        autoencoder=AutoencoderSettings(block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4,
                                        mid_block_attention=False, pixel_fold=2),
        backbone=BackboneSettings(num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
                                  joint_attention_dim=16, axes_dims_rope=(2, 2, 2, 2), text_tokens=2),
        system=SYSTEMS[system],
    )


def micro_checkpoint(folder: Path, size: int = 64, system: str = "iconface") -> tuple[str, Callable[[str], str]]:
    """Write base weights and a checkpoint whose adapters are far from zero, so that every input matters.

    Returns:
        The checkpoint folder, and a finder for its base weights that leaves all other names to faces.weights.
    """
    settings = micro_settings(size, system)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder, backbone = Autoencoder(settings.autoencoder), build_backbone(settings.backbone)
        save(folder / "autoencoder.safetensors", autoencoder.state_dict())
        save(folder / "backbone.safetensors", backbone.state_dict())
        model = build(settings.system, backbone)
        adapters = {name: value + 0.3 * torch.randn_like(value) for name, value in model.adapter_state().items()}
    checkpoint = folder / "checkpoints" / "step-00000002"
    write_adapter(checkpoint, adapters)
    write_adapter(checkpoint, adapters, ema=True)
    write_description(checkpoint, Description(
        model=settings, embedder=EMBEDDER, clock=64,
        weights={"autoencoder": BaseWeight(name="micro_autoencoder", sha256=""),
                 "backbone": BaseWeight(name="micro_backbone", sha256="")}))
    here = {"micro_autoencoder": str(folder / "autoencoder.safetensors"),
            "micro_backbone": str(folder / "backbone.safetensors")}
    return str(checkpoint), lambda name: here.get(name) or str(find(name))
