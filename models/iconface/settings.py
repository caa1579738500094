"""Every number that shapes IConFace's pathways."""

from dataclasses import dataclass
from typing import Annotated

from anchorface.models.settings import SystemSettings, choice, require
from anchorface.records.bounds import AMOUNT, SIZE, SIZE_OR_NONE, Bounds


@dataclass(frozen=True, kw_only=True)
class IConFaceSettings(SystemSettings):
    """IConFace's pathways; each can be switched off. Source: IConFace eq. 2-7; what it does not publish is our choice.

    Identity anchor (eq. 3-5): identity_anchor on/off; identity_dimension of the face embedding; identity_hidden,
    width of phi_global (0: D); identity_scope, which image tokens are modulated: the whole image stream ("image")
    or the noisy scene only ("scene"); identity_gain, a factor on its shifts: since steps of Adam do not depend on a
    gradient's size, the anchor learns so many times faster than the other pathways (the paper's is 1).
    Structure anchor (eq. 6-7): residual (low-rank input residual), residual_rank, residual_scale (s_deg),
    residual_space: before ("packed") or after ("hidden") the backbone's input projection. memory: "none", "single"
    (one route) or "two" (base and detail); base_tokens and detail_tokens ("single" uses their sum); pooler_heads;
    smoothing_size and smoothing_sigma of the low-pass that the detail route subtracts, in tokens (sigma 0: a plain
    average); memory_width (0: D). cross_rank, cross_heads: low-rank keys and values of the block-wise degraded
    attention; cross_query_rank: rank of its query and output maps; cross_scope: which image tokens ask ("image" or
    "scene"). opening: what every such attention starts at zero, its `gate` (the paper's) or its `output`
    (models.memory_attention). LoRA: rank 16, alpha 16 on Flux-FaceIR's targets (models.lora).
    """

    kind: str = "iconface"
    identity_dimension: Annotated[int, SIZE_OR_NONE] = 512
    identity_anchor: bool = True
    identity_hidden: Annotated[int, SIZE_OR_NONE] = 0
    identity_scope: str = "image"
    identity_gain: Annotated[float, Bounds(0, 1000, above=True)] = 1.0
    residual: bool = True
    residual_rank: Annotated[int, SIZE] = 16
    residual_scale: Annotated[float, Bounds(-1000, 1000)] = 1.0
    residual_space: str = "packed"
    memory: str = "two"
    base_tokens: Annotated[int, SIZE] = 128
    detail_tokens: Annotated[int, SIZE_OR_NONE] = 128
    pooler_heads: Annotated[int, SIZE] = 8
    smoothing_size: Annotated[int, SIZE] = 3
    smoothing_sigma: Annotated[float, AMOUNT] = 0.0
    memory_width: Annotated[int, SIZE_OR_NONE] = 0
    cross_rank: Annotated[int, SIZE] = 16
    cross_query_rank: Annotated[int, SIZE] = 64
    cross_heads: Annotated[int, SIZE] = 8
    cross_scope: str = "image"
    opening: str = "gate"
    lora_rank: Annotated[int, SIZE_OR_NONE] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("identity_scope", self.identity_scope, ("image", "scene"))
        choice("cross_scope", self.cross_scope, ("image", "scene"))
        choice("opening", self.opening, ("gate", "output"))
        choice("residual_space", self.residual_space, ("packed", "hidden"))
        choice("memory", self.memory, ("none", "single", "two"))
        require(self.smoothing_size % 2 == 1, f"smoothing_size is {self.smoothing_size}; it must be odd")
