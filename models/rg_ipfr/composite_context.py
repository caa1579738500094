"""The composite context: what is known of each reference's face, as tokens of one width.

For one reference: [identity token ; face tokens], 1 + N of them; of several references one after another.
"""

import math

import torch
from torch import Tensor, nn

from anchorface.models.conditions import FaceTokens
from anchorface.models.settings import SystemSettings

IDENTITY, FACE = 0, 1
"""Rows of the source embedding."""


class CompositeContext(nn.Module):
    """Two projections, and what is added to them: an embedding of the source and, for face tokens, of the position.

    The paper adds a positional encoding and leaves its form open; that both are learned, that face tokens are
    layer-normed first (they come from before an encoder's last norm) and that an identity's entries are scaled to order
    one are our choice.

    Source: RG-IPFR eq. 1.
    """

    def __init__(self, settings: SystemSettings, width: int) -> None:
        super().__init__()
        self.scale = math.sqrt(settings.identity_dimension)
        self.identity = nn.Linear(settings.identity_dimension, width)
        tokens, numbers = settings.face_shape
        self.face = nn.Sequential(nn.LayerNorm(numbers), nn.Linear(numbers, width)) if tokens else None
        self.source = nn.Parameter(0.02 * torch.randn(2 if tokens else 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width)) if tokens else None

    def forward(self, faces: tuple[FaceTokens, ...]) -> Tensor:
        """Faces of R references to the context [B, R * (1 + N), width]."""
        return torch.cat([part for face in faces for part in self._of(face)], dim=1)

    def _of(self, face: FaceTokens) -> tuple[Tensor, ...]:
        dtype = self.source.dtype
        whole = self.identity(self.scale * face.whole.to(dtype))[:, None] + self.source[IDENTITY]
        if self.face is None or self.position is None:
            return (whole,)
        return whole, self.face(face.tokens.to(dtype)) + self.position + self.source[FACE]
