"""A small IConFace with every pathway, and inputs for it."""

import torch

from anchorface.models.backbone import TextMemory, build_backbone
from anchorface.models.conditions import Conditions
from anchorface.models.configuration import BackboneSettings
from anchorface.models.iconface.network import IConFace
from anchorface.models.iconface.settings import IConFaceSettings

BACKBONE = BackboneSettings(
    num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=24,
    axes_dims_rope=(4, 4, 4, 4), text_tokens=3, in_channels=16,
)
PATHWAYS = IConFaceSettings(
    identity_dimension=8, base_tokens=4, detail_tokens=4, pooler_heads=2, cross_heads=2, cross_rank=4,
    cross_query_rank=4, residual_rank=4, lora_rank=4, lora_alpha=4,
)
BATCH, TOKENS, TEXT = 3, 16, 3


def backbone_with_random_weights():
    net = build_backbone(BACKBONE, seed=5)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def fresh(settings=PATHWAYS):
    return IConFace(backbone_with_random_weights(), settings)


def stirred(settings=PATHWAYS):
    """IConFace with every adapter away from its start."""
    return stir(fresh(settings), 0.2)


def stir(model, scale):
    """A system with every adapter moved by normal numbers of this size, the same ones each time."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def inputs(references=2, batch=BATCH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(batch, TOKENS, 16, generator=generator) for _ in range(2 + references)]
    return {
        "scene": images[0], "sigma": torch.rand(batch, generator=generator), "degraded": images[1],
        "text": TextMemory.fixed(BACKBONE)(batch), "references": tuple(images[2:]),
        "identity": torch.nn.functional.normalize(torch.randn(batch, 8, generator=generator), dim=-1),
    }


def ask(model, given, cache=None):
    """The model's velocity for what `inputs` gives."""
    conditions = Conditions(**{name: given[name] for name in ("text", "degraded", "references", "identity")})
    return model(given["scene"], given["sigma"], conditions, cache)
