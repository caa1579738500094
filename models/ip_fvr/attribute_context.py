"""Attributes as tokens of one width, one token an attribute; and what a text encoder says of them, as a file.

The file is safetensors with `low` and `high`, float32 [A, D_text] each, and the attributes' names in its header.
"""

import os

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from anchorface.models.weights import check_names_and_shapes, load, save
from anchorface.records import CheckpointError
from anchorface.records.attributes import ATTRIBUTE_NAMES, ATTRIBUTES

HEADER = {"kind": "attribute embeddings", "attributes": ", ".join(ATTRIBUTE_NAMES)}


class AttributeContext(nn.Module):
    """LayerNorm(name_a + value_a direction_a), learned; unknown attributes have tokens too, which nobody is to hear.

    A fresh one is random. With a prompt_width, names and directions are of that width, can start at what a text encoder
    says of both ends of each attribute (`start_at`), and are projected to the context's. Our choice: IP-FVR has a
    sentence about the face read by a text encoder.
    """

    def __init__(self, width: int, prompt_width: int = 0) -> None:
        super().__init__()
        self.name, self.direction = (nn.Parameter(torch.randn(len(ATTRIBUTES), prompt_width or width))
                                     for _ in range(2))
        self.project = nn.Linear(prompt_width, width) if prompt_width else nn.Identity()

    def forward(self, attributes: Tensor) -> Tensor:
        """Attributes [B, A], NaN where unknown, to the context [B, A, width]."""
        values = attributes.nan_to_num().to(self.name.dtype)[..., None]
        return self.project(functional.layer_norm(self.name + values * self.direction, self.name.shape[-1:]))

    @torch.no_grad()
    def start_at(self, prompts: dict[str, Tensor], what: str) -> None:
        """Begin at a text encoder's view.

        Args:
            prompts: `low` and `high`, [A, prompt width] each (models.prompt.embed_attributes). what: names their source
                in errors.

        Raises:
            CheckpointError: they are of another width, or of another number of attributes.
        """
        check_names_and_shapes({"low": self.name, "high": self.name}, prompts, what)
        self.name.copy_(prompts["low"])
        self.direction.copy_(prompts["high"] - prompts["low"])


def write_attributes(path: str | os.PathLike[str], prompts: dict[str, Tensor]) -> None:
    """Store what `models.prompt.embed_attributes` gave. Raises StorageError if it cannot be written."""
    save(path, prompts, HEADER)


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """What was stored.

    Raises:
        CheckpointError: not such a file, or one of another list of attributes.
    """
    prompts, header = load(path)
    if {key: header.get(key) for key in HEADER} != HEADER:
        raise CheckpointError(f"{path}: not the embeddings of the attributes {HEADER['attributes']}; `anchorface "
                              "prompt --attributes` makes them")
    return prompts
