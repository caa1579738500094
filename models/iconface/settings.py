"""Every number that shapes IConFace's pathways."""

from dataclasses import dataclass

from anchorface.models.settings import SystemSettings, choice, require


@dataclass(frozen=True, kw_only=True)
class IConFaceSettings(SystemSettings):
    """IConFace's pathways; each can be switched off. Source: IConFace eq. 2-7; what it does not publish is our choice.

    Identity anchor (eq. 3-5): identity_anchor on/off; identity_dimension of the face embedding; identity_hidden,
    width of phi_global (0: D); identity_scope, which image tokens are modulated: the whole image stream ("image")
    or the noisy scene only ("scene").
    Structure anchor (eq. 6-7): residual (low-rank input residual), residual_rank, residual_scale (s_deg),
    residual_space: before ("packed") or after ("hidden") the backbone's input projection. memory: "none", "single"
    (one route) or "two" (base and detail); base_tokens and detail_tokens ("single" uses their sum); pooler_heads;
    smoothing_size and smoothing_sigma of the low-pass that the detail route subtracts, in tokens (sigma 0: a plain
    average); memory_width (0: D). cross_rank, cross_heads: low-rank keys and values of the block-wise degraded
    attention; cross_query_rank: rank of its query and output maps; cross_scope: which image tokens ask ("image" or
    "scene"). LoRA: rank 16, alpha 16 on Flux-FaceIR's targets (models.lora).
    """

    kind: str = "iconface"
    identity_dimension: int = 512
    identity_anchor: bool = True
    identity_hidden: int = 0
    identity_scope: str = "image"
    residual: bool = True
    residual_rank: int = 16
    residual_scale: float = 1.0
    residual_space: str = "packed"
    memory: str = "two"
    base_tokens: int = 128
    detail_tokens: int = 128
    pooler_heads: int = 8
    smoothing_size: int = 3
    smoothing_sigma: float = 0.0
    memory_width: int = 0
    cross_rank: int = 16
    cross_query_rank: int = 64
    cross_heads: int = 8
    cross_scope: str = "image"
    lora_rank: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("identity_scope", self.identity_scope, ("image", "scene"))
        choice("cross_scope", self.cross_scope, ("image", "scene"))
        choice("residual_space", self.residual_space, ("packed", "hidden"))
        choice("memory", self.memory, ("none", "single", "two"))
        require(self.smoothing_size % 2 == 1, f"smoothing_size is {self.smoothing_size}; it must be odd")
