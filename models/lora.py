"""Low-rank adapters on frozen linear layers of the backbone.

A `LoRALinear` takes the place of an `nn.Linear`: y = W x + (alpha / rank) up(down(x)). `up` starts at zero.
"""

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

from anchorface.models.precision import as_weights

if TYPE_CHECKING:
    from diffusers import Flux2Transformer2DModel


class LoRALinear(nn.Module):
    """A frozen linear layer `base` with a low-rank update beside it; the update's weights may be finer (float32)."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        device = base.weight.device
        self.down = nn.Linear(base.in_features, rank, bias=False, device=device)
        self.up = nn.Linear(rank, base.out_features, bias=False, device=device)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        plain = self.base(x)
        # Scaled where it has `rank` channels: the update itself may have nine times the width.
        update = self.up(self.scale * self.down(as_weights(x, self.down.weight)))
        return plain + update.to(plain.dtype)


def target_names(backbone: "Flux2Transformer2DModel") -> tuple[str, ...]:
    """Flux-FaceIR's targets: image q, k, v and output of the double blocks, both linears of the single blocks.

    Source: the published code of Flux-FaceIR, which IConFace extends; the text stream and the double blocks' MLPs stay
    untouched.
    """
    double = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
    single = ("attn.to_qkv_mlp_proj", "attn.to_out")
    return (
        *(f"transformer_blocks.{i}.{name}" for i in range(len(backbone.transformer_blocks)) for name in double),
        *(f"single_transformer_blocks.{i}.{name}"
          for i in range(len(backbone.single_transformer_blocks)) for name in single),
    )


def add_lora(backbone: "Flux2Transformer2DModel", rank: int, alpha: float) -> tuple[str, ...]:
    """Put a LoRALinear in the place of every target, in place; returns the targets' names.

    Source: Flux-FaceIR's code: rank 16, alpha 16, no dropout, down Kaiming-uniform (a = sqrt 5), up zero.
    """
    names = target_names(backbone)
    for name in names:
        parent = backbone.get_submodule(name.rpartition(".")[0])
        base = backbone.get_submodule(name)
        assert isinstance(base, nn.Linear), f"{name} already carries an adapter"
        # A Sequential or ModuleList names its children by number; setattr reaches them as well.
        setattr(parent, name.rpartition(".")[2], LoRALinear(base, rank, alpha))
    return names
