"""A small IP-FVR with every pathway, and clips for it."""

from dataclasses import fields

import torch
from small import PATHWAYS, backbone_with_random_weights, inputs, stir

from anchorface.models.build import build
from anchorface.models.conditions import Conditions, FaceTokens
from anchorface.models.ip_fvr.settings import IPFVRSettings
from anchorface.records.attributes import attribute_row

CLIPS, FRAMES = 2, 3
BATCH = CLIPS * FRAMES
FILMS = IPFVRSettings(
    temporal_rank=4, temporal_heads=2, context_rank=4, context_query_rank=4, context_heads=2, image_width=12,
    attribute_width=10, **{part.name: getattr(PATHWAYS, part.name) for part in fields(PATHWAYS) if part.name != "kind"},
)
SAID = torch.from_numpy(attribute_row({"age": 30, "beard": 1.0, "quality": 1.0}))


def given_of(references=2, seed=0, attributes=SAID):
    """z, sigma and conditions of clips; what is known of references is the same for the frames of a clip."""
    made = inputs(references, batch=BATCH, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)

    def face():
        whole = torch.nn.functional.normalize(torch.randn(CLIPS, 8, generator=generator), dim=-1)
        return FaceTokens(whole=whole.repeat_interleave(FRAMES, 0), tokens=torch.zeros(BATCH, 0, 0))

    conditions = Conditions(
        text=made["text"], degraded=made["degraded"], references=made["references"], identity=made["identity"],
        faces=tuple(face() for _ in range(references)), frames=FRAMES,
        attributes=None if attributes is None else attributes.repeat(BATCH, 1))
    return made["scene"], made["sigma"][::FRAMES].repeat_interleave(FRAMES), conditions


def stirred_film(settings=FILMS):
    """IP-FVR with every adapter away from its start."""
    return stir(build(settings, backbone_with_random_weights()), 0.3).eval()
