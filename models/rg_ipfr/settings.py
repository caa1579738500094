"""Every number that shapes RG-IPFR's pathway."""

from dataclasses import dataclass
from typing import Annotated

from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.settings import choice, require
from anchorface.records.bounds import SIZE, SIZE_OR_NONE, Bounds


@dataclass(frozen=True, kw_only=True)
class RGIPFRSettings(IConFaceSettings):
    """RG-IPFR's composite context; IConFace's pathways are there and off, so that a recipe can combine them.

    context: `composite` (the identity token and a face-image encoder's tokens), `identity` (that token alone) or
    `none`. face_tokens, face_width: of the encoder, FaRL's by default. context_width: of the projected tokens (0: D).
    context_rank, context_query_rank, context_heads: of the attention to them after every block (models.
    memory_attention); context_scope: which image tokens ask, `image` or `scene`. concatenation: reference tokens stand
    in the sequence as well, as in IConFace.
    input_scale, context_scale: s_i and s_c of the guidance where a sampler is told no others (models.rg_ipfr.guidance);
    the paper's.

    Source: RG-IPFR, composite context (eq. 1) and multi-reference guidance. It publishes neither widths nor the form of
    the position encoding; those and low ranks beside a frozen backbone are our choice.
    """

    kind: str = "rg_ipfr"
    identity_anchor: bool = False
    residual: bool = False
    memory: str = "none"
    context: str = "composite"
    face_tokens: Annotated[int, SIZE] = 197
    face_width: Annotated[int, SIZE] = 768
    context_width: Annotated[int, SIZE_OR_NONE] = 0
    context_rank: Annotated[int, SIZE] = 64
    context_query_rank: Annotated[int, SIZE] = 64
    context_heads: Annotated[int, SIZE] = 8
    context_scope: str = "image"
    concatenation: bool = False
    input_scale: Annotated[float, Bounds(-1000, 1000)] = 1.2
    context_scale: Annotated[float, Bounds(-1000, 1000)] = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("context", self.context, ("composite", "identity", "none"))
        choice("context_scope", self.context_scope, ("image", "scene"))
        require(self.context == "none" or self.identity_dimension > 0,
                f"context {self.context!r} begins with an identity token: identity_dimension must be above 0")

    @property
    def face_shape(self) -> tuple[int, int]:
        """Of the encoder, where the context is composite."""
        return (self.face_tokens, self.face_width) if self.context == "composite" else (0, 0)

    @property
    def concatenates(self) -> bool:
        """As the recipe says."""
        return self.concatenation

    @property
    def scales(self) -> tuple[float, float]:
        """s_i and s_c."""
        return self.input_scale, self.context_scale
