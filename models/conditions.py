"""What a network is told about a batch of degraded faces: one value from the data to every system, in training and use.

B pictures; L tokens of C = 128 channels each; R references; T prompt tokens of D_text numbers; D numbers of a face
embedding; N tokens of E numbers from a face-image encoder; A attributes (records.attributes).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FaceTokens:
    """What is known of the face in one reference of each picture.

    whole: the identity network's unit vectors [B, D]. tokens: a face-image encoder's [B, N, E]; N = 0 without one.
    """

    whole: Tensor
    tokens: Tensor


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of B pictures.

    text: prompt embeddings [B, T, D_text]. degraded: clean tokens of the degraded pictures [B, L, C]. references: clean
    tokens [B, L, C] each; an empty tuple is the no-reference mode: the segment is not there, nothing is padded or
    masked. identity: unit vectors [B, D], the anchor of the references or the degraded faces' own embedding; None
    leaves it out. faces: of each reference. heard: bool [B], pictures whose faces count; None: all. attributes: [B, A],
    0..1, NaN where unknown; None: nothing is known. context_scales: how much of the faces and of the attributes is
    heard by a system with decoupled attentions to them; None: as its settings say. frames: of a clip; B = clips *
    frames, and row = clip * frames + frame.
    """

    text: Tensor
    degraded: Tensor
    references: tuple[Tensor, ...] = ()
    identity: Tensor | None = None
    faces: tuple[FaceTokens, ...] = ()
    heard: Tensor | None = None
    attributes: Tensor | None = None
    context_scales: tuple[float, float] | None = None
    frames: int = 1

    def with_text(self, text: Tensor) -> Self:
        """The same pictures under other prompts [B, T, D_text]."""
        return replace(self, text=text)

    def with_attributes(self, attributes: Tensor | None) -> Self:
        """The same pictures of which something else is said, [B, A]."""
        return replace(self, attributes=attributes)

    def without_references(self, identity: Tensor | None) -> Self:
        """The same pictures without references; identity: the degraded faces' own [B, D]."""
        return replace(self, references=(), faces=(), identity=identity)

    def with_one(self, number: int) -> Self:
        """The same pictures with one of their references alone, whose embedding is then the identity."""
        if len(self.faces) == 1:
            return self
        face = self.faces[number]
        return replace(self, references=self.references[number : number + 1], faces=(face,), identity=face.whole)

    def dropped(self, degraded: Tensor, references: Tensor, own: Tensor | None) -> Self:
        """Some pictures without their degraded picture, some without what is known of their person: references' tokens
        are zero, faces are not heard, attributes are unknown.

        Args:
            degraded, references: bool [B], whose is dropped.
            own: the degraded faces' own embeddings [B, D], which stand in where references are dropped alone.

        Source: ReF-LDM drops conditions as zeros; unheard faces are our choice.
        """
        def zeroed(tokens: Tensor, rows: Tensor) -> Tensor:
            return tokens.masked_fill(rows[:, None, None], 0)

        identity = self.identity
        if identity is not None and own is not None:
            stood_in = own.to(identity.dtype).masked_fill(degraded[:, None], 0)
            identity = torch.where(references[:, None], stood_in, identity)
        heard = ~references if self.heard is None else self.heard & ~references
        attributes = self.attributes
        if attributes is not None:
            attributes = attributes.masked_fill(references[:, None], torch.nan)
        return replace(self, degraded=zeroed(self.degraded, degraded), identity=identity, heard=heard,
                       attributes=attributes,
                       references=tuple(zeroed(tokens, references) for tokens in self.references))

    def rows(self, chosen: slice) -> "Conditions":
        """Some of the pictures, whole clips of them."""
        start, stop, _ = chosen.indices(len(self.text))
        assert start % self.frames == 0 and stop % self.frames == 0, "a slice through a clip"
        return _combined(lambda parts: parts[0][chosen], (self,))


def joined(parts: Sequence[Conditions]) -> Conditions:
    """The pictures of several conditions, one after another; all have equally many references, clips of one length and
    the same scales.
    """
    first = parts[0]
    assert all((part.frames, part.context_scales) == (first.frames, first.context_scales) for part in parts)
    shape = next((part.attributes.shape[1:] for part in parts if part.attributes is not None), None)

    def whole(part: Conditions) -> Conditions:
        heard, attributes, count = part.heard, part.attributes, len(part.text)
        if heard is None:
            heard = torch.ones(count, dtype=torch.bool, device=part.text.device)
        if attributes is None and shape is not None:
            attributes = torch.full((count, *shape), torch.nan, device=part.text.device)
        return replace(part, heard=heard, attributes=attributes)

    return _combined(torch.cat, [whole(part) for part in parts])


def _combined(function: Callable[[list[Tensor]], Tensor], parts: Sequence[Conditions]) -> Conditions:
    """One conditions whose every tensor is made of the same tensors of several."""
    def of(values: Sequence[Tensor | None]) -> Tensor | None:
        given = [value for value in values if value is not None]
        return function(given) if given else None

    return replace(
        parts[0], text=function([part.text for part in parts]), degraded=function([part.degraded for part in parts]),
        references=tuple(function(list(same)) for same in zip(*(part.references for part in parts), strict=True)),
        identity=of([part.identity for part in parts]), heard=of([part.heard for part in parts]),
        attributes=of([part.attributes for part in parts]),
        faces=tuple(FaceTokens(whole=function([face.whole for face in same]),
                               tokens=function([face.tokens for face in same]))
                    for same in zip(*(part.faces for part in parts), strict=True)),
    )
