"""Every number that shapes the networks, as frozen values with a dictionary form for checkpoints.

`BackboneSettings` and `AutoencoderSettings` mirror diffusers' `Flux2Transformer2DModel` and `AutoencoderKLFlux2`;
`IConFaceSettings` holds IConFace's pathways. What the paper does not publish is a field here, and its default is
our choice (papers section 8). `tiny()` is the 128 px twin, `klein_4b()` the real FLUX.2-klein-base-4B.
"""

import difflib
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from anchorface.records import ConfigurationError


class _Settings:
    """Dictionary form shared by the settings: nested values become dictionaries, tuples become lists and back."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The value back from `to_dict` or JSON.

        Raises:
            ConfigurationError: an unknown key, a missing one, or values that do not fit together.
        """
        known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        arguments: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3)
                hint = f"; did you mean {', '.join(near)}?" if near else f"; known are {', '.join(known)}"
                raise ConfigurationError(f"{cls.__name__}: unknown key {name!r}{hint}")
            nested = known[name].type
            if isinstance(nested, type) and issubclass(nested, _Settings) and isinstance(value, dict):
                value = nested.from_dict(value)
            arguments[name] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**arguments)
        except TypeError as error:
            raise ConfigurationError(f"{cls.__name__}: {error}") from error


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ConfigurationError(text)


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    _require(value in known, f"{name} is {value!r}; it must be one of {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(_Settings):
    """Shape of the autoencoder; stride is `pixel_fold * 2 ** (levels - 1)`, tokens stand at twice that stride.

    pixel_fold: images are unshuffled by this factor before the first convolution and shuffled back after the last
    one; 1 is FLUX.2's own, 8 lets the tiny twin work at the latent resolution alone: fast, and it can start as a
    linear code (our choice).
    """

    block_out_channels: tuple[int, ...]
    decoder_block_out_channels: tuple[int, ...] | None = None
    layers_per_block: int = 2
    latent_channels: int = 32
    norm_num_groups: int = 32
    mid_block_attention: bool = True
    pixel_fold: int = 1

    def __post_init__(self) -> None:
        _require(self.pixel_fold in (1, 2, 4, 8), f"pixel_fold is {self.pixel_fold}; it must be 1, 2, 4 or 8")
        channels = (*self.block_out_channels, *(self.decoder_block_out_channels or ()))
        _require(all(c % self.norm_num_groups == 0 for c in channels),
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
class BackboneSettings(_Settings):
    """Shape of the FLUX.2 transformer. text_tokens: length of the fixed prompt."""

    num_layers: int
    num_single_layers: int
    attention_head_dim: int
    num_attention_heads: int
    joint_attention_dim: int
    axes_dims_rope: tuple[int, ...]
    text_tokens: int
    in_channels: int = 128
    timestep_guidance_channels: int = 256
    mlp_ratio: float = 3.0
    rope_theta: int = 2000
    eps: float = 1e-6

    def __post_init__(self) -> None:
        _require(len(self.axes_dims_rope) == 4 and sum(self.axes_dims_rope) == self.attention_head_dim,
                 f"axes_dims_rope {self.axes_dims_rope} must be four numbers (t, h, w, l) that add up to "
                 f"attention_head_dim {self.attention_head_dim}")

    @property
    def width(self) -> int:
        """The hidden size D."""
        return self.num_attention_heads * self.attention_head_dim


@dataclass(frozen=True, kw_only=True)
class IConFaceSettings(_Settings):
    """IConFace's pathways; each can be switched off. Papers 1.2 to 1.5, open choices of section 8.

    Identity anchor (eq. 3-5): identity_anchor on/off; identity_dimension of the face embedding; identity_hidden,
    width of phi_global (0: D); identity_scope, which image tokens are modulated: the whole image stream ("image")
    or the noisy scene only ("scene").
    Structure anchor (eq. 6-7): residual (low-rank input residual), residual_rank, residual_scale (s_deg),
    residual_space: before ("packed") or after ("hidden") the backbone's input projection. memory: "none", "single"
    (one route) or "two" (base and detail); base_tokens and detail_tokens ("single" uses their sum); pooler_heads;
    smoothing_size and smoothing_sigma of the low-pass that the detail route subtracts, in tokens (sigma 0: a plain
    average); memory_width (0: D). cross_rank, cross_heads: low-rank keys and values of the block-wise degraded
    attention; cross_query_rank: rank of its query and output maps; cross_scope: which image tokens ask ("image" or
    "scene").
    LoRA: lora_rank (0: none) and lora_alpha on the predecessor's targets.
    degraded_time, reference_time, reference_step: t of the position ids of the degraded segment, of the first
    reference, and from one reference to the next.
    """

    identity_anchor: bool = True
    identity_dimension: int = 512
    identity_hidden: int = 0
    identity_scope: str = "image"
    residual: bool = True
    residual_rank: int = 16
    residual_scale: float = 1.0
    residual_space: str = "packed"
    memory: str = "two"
    base_tokens: int = 128
    detail_tokens: int = 128
    pooler_heads: int = 8
    smoothing_size: int = 3
    smoothing_sigma: float = 0.0
    memory_width: int = 0
    cross_rank: int = 16
    cross_query_rank: int = 64
    cross_heads: int = 8
    cross_scope: str = "image"
    lora_rank: int = 16
    lora_alpha: float = 16.0
    degraded_time: int = 2
    reference_time: int = 10
    reference_step: int = 1

    def __post_init__(self) -> None:
        _choice("identity_scope", self.identity_scope, ("image", "scene"))
        _choice("cross_scope", self.cross_scope, ("image", "scene"))
        _choice("residual_space", self.residual_space, ("packed", "hidden"))
        _choice("memory", self.memory, ("none", "single", "two"))
        _require(self.smoothing_size % 2 == 1, f"smoothing_size is {self.smoothing_size}; it must be odd")


@dataclass(frozen=True, kw_only=True)
class ModelSettings(_Settings):
    """A whole model: image_size in pixels, the three networks, and the seed of the tiny twin's fixed text."""

    image_size: int
    autoencoder: AutoencoderSettings
    backbone: BackboneSettings
    iconface: IConFaceSettings = field(default_factory=IConFaceSettings)
    text_seed: int = 0

    def __post_init__(self) -> None:
        channels, expected = self.autoencoder.token_channels, self.backbone.in_channels
        _require(channels == expected,
                 f"the autoencoder's tokens have {channels} channels, the backbone takes {expected}")
        _require(self.image_size % self.autoencoder.token_stride == 0,
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
        iconface=IConFaceSettings(identity_dimension=256, base_tokens=16, detail_tokens=16, pooler_heads=6,
                                  cross_query_rank=32, cross_heads=6),
    )


def klein_4b() -> ModelSettings:
    """FLUX.2-klein-base-4B at 512 px: 1,024 tokens of 128 channels per image, AdaFace IR-50's 512 numbers."""
    return ModelSettings(
        image_size=512,
        autoencoder=AutoencoderSettings(block_out_channels=(128, 256, 512, 512)),
        backbone=BackboneSettings(num_layers=5, num_single_layers=20, attention_head_dim=128, num_attention_heads=24,
                                  joint_attention_dim=7680, axes_dims_rope=(32, 32, 32, 32), text_tokens=512),
        iconface=IConFaceSettings(memory_width=512, cross_heads=24),
    )
