"""What a network is told about a batch of degraded faces: one value from the data to every system, in training and use.

B pictures; L tokens of C = 128 channels each; R references; T prompt tokens of D_text numbers; D numbers of a face
embedding.
"""

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FaceTokens:
    """What a face-image encoder says of one reference of each picture: `whole` [B, E], `tokens` [B, N, E]."""

    whole: Tensor
    tokens: Tensor


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of B pictures.

    text: prompt embeddings [B, T, D_text]. degraded: clean tokens of the degraded pictures [B, L, C]. references: clean
    tokens [B, L, C] each; an empty tuple is the no-reference mode: the segment is not there, nothing is padded or
    masked. identity: unit vectors [B, D], the anchor of the references or the degraded faces' own embedding; None
    leaves it out. faces: of each reference, for systems that read face tokens. frames: of a clip; B = clips * frames.
    """

    text: Tensor
    degraded: Tensor
    references: tuple[Tensor, ...] = ()
    identity: Tensor | None = None
    faces: tuple[FaceTokens, ...] = ()
    frames: int = 1

    def with_text(self, text: Tensor) -> Self:
        """The same pictures under other prompts [B, T, D_text]."""
        return replace(self, text=text)

    def without_references(self, identity: Tensor | None) -> Self:
        """The same pictures without references; identity: the degraded faces' own [B, D]."""
        return replace(self, references=(), faces=(), identity=identity)
