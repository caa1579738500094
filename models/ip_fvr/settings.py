"""Every number that shapes IP-FVR's pathways."""

from dataclasses import dataclass
from typing import Annotated

from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.settings import choice, require
from anchorface.records.bounds import SIZE, SIZE_OR_NONE, Bounds


@dataclass(frozen=True, kw_only=True)
class IPFVRSettings(IConFaceSettings):
    """IP-FVR's temporal attention and decoupled cross-attention, beside IConFace's pathways; each can be switched off.

    temporal: behind which blocks frames attend to each other: `all`, `double`, `single` or `none`; temporal_every: of
    these, every how many-th. temporal_rank, temporal_heads: of that attention; temporal_theta: base of its rotary
    embedding over frames; most_frames: of a clip.
    shared_noise: how much of their noise a clip's frames share, in training and in use (models.sampler.normal).
    image_context: what is read of the references: `identity` (a token each), `composite` (a face-image encoder's tokens
    as well; face_tokens, face_width: of that encoder) or `none`. attribute_context: whether attributes are read.
    prompt_width: of a text encoder's embeddings that attributes start at (models.ip_fvr.attribute_context; 0: random).
    image_width, attribute_width: of their tokens (0: D). context_rank, context_query_rank, context_heads: of the two
    attentions behind every block; context_scope: which image tokens ask, `image` or `scene`. image_scale,
    attribute_scale: how much of each is added where `Conditions.context_scales` says nothing.

    Source: IP-FVR names clips of up to 24 frames and a decoupled cross-attention to image and text; it publishes no
    formulas. All forms and numbers are our choice.
    """

    kind: str = "ip_fvr"
    temporal: str = "all"
    temporal_every: Annotated[int, SIZE] = 1
    temporal_rank: Annotated[int, SIZE] = 64
    temporal_heads: Annotated[int, SIZE] = 8
    temporal_theta: Annotated[float, Bounds(1, 1e9)] = 100.0
    most_frames: Annotated[int, SIZE] = 24
    shared_noise: Annotated[float, Bounds(0, 1)] = 0.0
    image_context: str = "identity"
    face_tokens: Annotated[int, SIZE] = 197
    face_width: Annotated[int, SIZE] = 768
    attribute_context: bool = True
    prompt_width: Annotated[int, SIZE_OR_NONE] = 0
    image_width: Annotated[int, SIZE_OR_NONE] = 0
    attribute_width: Annotated[int, SIZE_OR_NONE] = 0
    context_rank: Annotated[int, SIZE] = 64
    context_query_rank: Annotated[int, SIZE] = 64
    context_heads: Annotated[int, SIZE] = 8
    context_scope: str = "image"
    image_scale: Annotated[float, Bounds(-1000, 1000)] = 1.0
    attribute_scale: Annotated[float, Bounds(-1000, 1000)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("temporal", self.temporal, ("all", "double", "single", "none"))
        choice("image_context", self.image_context, ("identity", "composite", "none"))
        choice("context_scope", self.context_scope, ("image", "scene"))
        require(self.image_context == "none" or self.identity_dimension > 0,
                f"image_context {self.image_context!r} begins with an identity token: identity_dimension must be above "
                "0")

    @property
    def face_shape(self) -> tuple[int, int]:
        """Of the encoder, where the context is composite."""
        return (self.face_tokens, self.face_width) if self.image_context == "composite" else (0, 0)

    @property
    def hears_attributes(self) -> bool:
        """As attribute_context says."""
        return self.attribute_context

    @property
    def reads_prompts(self) -> int:
        """As prompt_width says."""
        return self.prompt_width if self.attribute_context else 0

    def temporal_blocks(self, doubles: int, singles: int) -> tuple[int, ...]:
        """The numbers of the blocks, double ones first, that temporal attention stands behind."""
        start = doubles if self.temporal == "single" else 0
        stop = {"none": 0, "double": doubles}.get(self.temporal, doubles + singles)
        return tuple(range(start, stop, self.temporal_every))
