"""Every number that shapes the networks, as frozen values with a dictionary form for checkpoints.

`BackboneSettings` and `AutoencoderSettings` mirror diffusers' `Flux2Transformer2DModel` and `AutoencoderKLFlux2`;
each system's settings stand in its folder. What a paper does not publish is a field, and its default is our choice.
`tiny()` is the 128 px twin, `klein_4b()` the real FLUX.2-klein-base-4B.
"""

from dataclasses import dataclass, field
from typing import Annotated

from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.settings import Settings, SystemSettings, require
from anchorface.records.bounds import SEED, SIZE, SIZE_OR_NONE, Bounds, check


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(Settings):
    """Shape of the autoencoder; stride is `pixel_fold * 2 ** (levels - 1)`, tokens stand at twice that stride.

    pixel_fold: images are unshuffled by this factor before the first convolution and shuffled back after the last
    one; 1 is FLUX.2's own, 8 lets the tiny twin work at the latent resolution alone: fast, and it can start as a
    linear code (our choice).
    """

    block_out_channels: Annotated[tuple[int, ...], SIZE]
    decoder_block_out_channels: Annotated[tuple[int, ...] | None, SIZE] = None
    layers_per_block: Annotated[int, SIZE] = 2
    latent_channels: Annotated[int, SIZE] = 32
    norm_num_groups: Annotated[int, SIZE] = 32
    mid_block_attention: bool = True
    pixel_fold: Annotated[int, Bounds(1, 8)] = 1

    def __post_init__(self) -> None:
        check(self, "model.autoencoder.")
        require(self.pixel_fold in (1, 2, 4, 8), f"pixel_fold is {self.pixel_fold}; it must be 1, 2, 4 or 8")
        channels = (*self.block_out_channels, *(self.decoder_block_out_channels or ()))
        require(all(c % self.norm_num_groups == 0 for c in channels),
                 f"block_out_channels {channels} must be divisible by norm_num_groups {self.norm_num_groups}")

    @property
    def token_stride(self) -> int:
        """Pixels per token side: 16 in both presets."""
        return 2 * self.pixel_fold * 2 ** (len(self.block_out_channels) - 1)

    @property
    def token_channels(self) -> int:
        """Channels of a packed token: four latent pixels, 128 in both presets."""
        return 4 * self.latent_channels


@dataclass(frozen=True, kw_only=True)
class BackboneSettings(Settings):
    """Shape of the FLUX.2 transformer. text_tokens: length of the fixed prompt."""

    num_layers: Annotated[int, SIZE_OR_NONE]
    num_single_layers: Annotated[int, SIZE_OR_NONE]
    attention_head_dim: Annotated[int, SIZE]
    num_attention_heads: Annotated[int, SIZE]
    joint_attention_dim: Annotated[int, SIZE]
    axes_dims_rope: Annotated[tuple[int, ...], Bounds(0, 10**6, count=4)]
    text_tokens: Annotated[int, SIZE]
    in_channels: Annotated[int, SIZE] = 128
    timestep_guidance_channels: Annotated[int, SIZE] = 256
    mlp_ratio: Annotated[float, Bounds(0, 1000, above=True)] = 3.0
    rope_theta: Annotated[int, Bounds(1, 10**9)] = 2000
    eps: Annotated[float, Bounds(0, 1, below=True)] = 1e-6

    def __post_init__(self) -> None:
        check(self, "model.backbone.")
        require(sum(self.axes_dims_rope) == self.attention_head_dim,
                 f"axes_dims_rope {self.axes_dims_rope} must be four numbers (t, h, w, l) that add up to "
                 f"attention_head_dim {self.attention_head_dim}")

    @property
    def width(self) -> int:
        """The hidden size D."""
        return self.num_attention_heads * self.attention_head_dim


@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """A whole model: image_size in pixels, autoencoder, backbone and the system beside it; text_seed draws the fixed
    prompts of the tiny twin.
    """

    image_size: Annotated[int, Bounds(16, 16384)]
    autoencoder: AutoencoderSettings
    backbone: BackboneSettings
    system: SystemSettings = field(default_factory=IConFaceSettings)
    text_seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check(self, "model.")
        channels, expected = self.autoencoder.token_channels, self.backbone.in_channels
        require(channels == expected,
                 f"the autoencoder's tokens have {channels} channels, the backbone takes {expected}")
        require(self.image_size % self.autoencoder.token_stride == 0,
                 f"image_size {self.image_size} must be a multiple of {self.autoencoder.token_stride}")

    @property
    def tokens_per_side(self) -> int:
        """Tokens along one side of an image."""
        return self.image_size // self.autoencoder.token_stride


def tiny() -> ModelSettings:
    """The 128 px twin of FLUX.2-klein that trains on two CPU cores: 64 tokens of 128 channels per image."""
    return ModelSettings(
        image_size=128,
        autoencoder=AutoencoderSettings(block_out_channels=(88,), layers_per_block=1, norm_num_groups=8,
                                        mid_block_attention=False, pixel_fold=8),
        backbone=BackboneSettings(num_layers=2, num_single_layers=4, attention_head_dim=32, num_attention_heads=6,
                                  joint_attention_dim=64, axes_dims_rope=(8, 8, 8, 8), text_tokens=4),
        system=IConFaceSettings(identity_dimension=256, base_tokens=16, detail_tokens=16, pooler_heads=6,
                                  cross_query_rank=32, cross_heads=6),
    )


def klein_4b() -> ModelSettings:
    """FLUX.2-klein-base-4B at 512 px: 1,024 tokens of 128 channels per image, AdaFace IR-50's 512 numbers."""
    return ModelSettings(
        image_size=512,
        autoencoder=AutoencoderSettings(block_out_channels=(128, 256, 512, 512)),
        backbone=BackboneSettings(num_layers=5, num_single_layers=20, attention_head_dim=128, num_attention_heads=24,
                                  joint_attention_dim=7680, axes_dims_rope=(32, 32, 32, 32), text_tokens=512),
        system=IConFaceSettings(memory_width=512, cross_heads=24),
    )
