"""The FLUX.2 transformer as a bare backbone, and the fixed prompt that stands in for a text encoder.

tokens: float [B, L, 128]; sigma: float [B] in [0, 1]; text: float [B, T, joint_attention_dim].

In models/ diffusers is imported where a network is made: that takes seconds, and whoever reads a description or starts
workers makes none.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anchorface.models.configuration import BackboneSettings
from anchorface.models.precision import quick_attention
from anchorface.models.tokens import Layout, layout_of
from anchorface.records import derive

if TYPE_CHECKING:
    from diffusers import Flux2Transformer2DModel


def build_backbone(settings: BackboneSettings, seed: int = 0) -> "Flux2Transformer2DModel":
    """A Flux2 transformer of this shape (no guidance embedding, as in klein-base), fresh weights from the seed."""
    from diffusers import Flux2Transformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "backbone"))
        return Flux2Transformer2DModel(
            in_channels=settings.in_channels, num_layers=settings.num_layers,
            num_single_layers=settings.num_single_layers, attention_head_dim=settings.attention_head_dim,
            num_attention_heads=settings.num_attention_heads, joint_attention_dim=settings.joint_attention_dim,
            timestep_guidance_channels=settings.timestep_guidance_channels, mlp_ratio=settings.mlp_ratio,
            axes_dims_rope=settings.axes_dims_rope, rope_theta=settings.rope_theta, eps=settings.eps,
            guidance_embeds=False,
        )


def velocity(backbone: "Flux2Transformer2DModel", scene: Tensor, sigma: Tensor, text: Tensor, degraded: Tensor,
             references: tuple[Tensor, ...] = (), layout: Layout | None = None) -> Tensor:
    """The bare backbone's velocity for the sequence [scene; degraded; references].

    Args:
        backbone: the transformer.
        scene: noisy tokens [B, L, 128].
        sigma: noise level per image [B], 0..1.
        text: prompt embedding [B, T, D_text].
        degraded: clean tokens of the degraded image [B, L_deg, 128].
        references: clean tokens [B, L_r, 128] each; an empty tuple removes the segment.
        layout: token grids; None means square images.

    Returns:
        Velocity of the scene tokens [B, L, 128].

    Source: IConFace eq. 2.
    """
    layout = layout or layout_of(text, scene, degraded, references)
    stream = torch.cat([scene, degraded, *references], dim=1)
    with quick_attention(scene.device):
        output = backbone(
            hidden_states=stream, encoder_hidden_states=text, timestep=sigma, guidance=None,
            img_ids=layout.image_ids(scene.device), txt_ids=layout.text_ids(scene.device), return_dict=False,
        )[0]
    return output[:, : layout.scene_tokens]


class TextMemory(nn.Module):
    """The fixed restoration prompt and the empty prompt, as stored embeddings: no text encoder is needed.

    Args:
        prompt: [T, D_text]. For klein: Qwen3's hidden states of the prompt, computed once.
        empty: [T, D_text], the empty prompt for classifier-free guidance.
    """

    prompt: Tensor
    empty: Tensor

    def __init__(self, prompt: Tensor, empty: Tensor) -> None:
        super().__init__()
        self.register_buffer("prompt", prompt)
        self.register_buffer("empty", empty)

    @classmethod
    def fixed(cls, settings: BackboneSettings, seed: int = 0) -> "TextMemory":
        """The tiny twin's prompts: standard normal numbers that depend on the seed alone (our choice)."""
        drawn = []
        for purpose in ("prompt", "empty prompt"):
            generator = torch.Generator().manual_seed(derive(seed, purpose))
            drawn.append(torch.randn(settings.text_tokens, settings.joint_attention_dim, generator=generator))
        return cls(*drawn)

    def forward(self, batch: int, empty: Tensor | bool = False) -> Tensor:
        """Prompt embeddings [batch, T, D_text].

        Args:
            batch: number of images.
            empty: True for the empty prompt in all of them, or a boolean [batch] that says in which.
        """
        if isinstance(empty, bool):
            # A real copy: on an expanded view, torch's product rounds differently for frozen and trained weights.
            return (self.empty if empty else self.prompt).repeat(batch, 1, 1)
        return torch.where(empty[:, None, None], self.empty, self.prompt)
