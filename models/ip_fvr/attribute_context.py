"""Attributes as tokens of one width: one token an attribute, [A] values to [A, E]."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from anchorface.models.weights import check_names_and_shapes
from anchorface.records.attributes import ATTRIBUTES


class AttributeContext(nn.Module):
    """LayerNorm(name_a + value_a direction_a), learned; unknown attributes have tokens too, which nobody is to hear.

    A fresh one is random; with a text encoder at hand it starts at what that says of both ends of each attribute
    (`start_at`). Our choice: IP-FVR writes a sentence about the face for a text encoder.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.name = nn.Parameter(torch.randn(len(ATTRIBUTES), width))
        self.direction = nn.Parameter(torch.randn(len(ATTRIBUTES), width))

    def forward(self, attributes: Tensor) -> Tensor:
        """Attributes [B, A], NaN where unknown, to the context [B, A, E]."""
        values = attributes.nan_to_num().to(self.name.dtype)[..., None]
        return functional.layer_norm(self.name + values * self.direction, self.name.shape[-1:])

    @torch.no_grad()
    def start_at(self, prompts: dict[str, Tensor], what: str) -> None:
        """Begin at a text encoder's view.

        Args:
            prompts: `low` and `high`, [A, E] each (models.prompt.embed_attributes). what: names their source in errors.

        Raises:
            CheckpointError: they are of another width, or for another list of attributes.
        """
        check_names_and_shapes({"low": self.name, "high": self.name}, prompts, what)
        self.name.copy_(prompts["low"])
        self.direction.copy_(prompts["high"] - prompts["low"])
