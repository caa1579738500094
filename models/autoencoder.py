"""Pixels to packed tokens and back, around diffusers' `AutoencoderKLFlux2`.

images: float [B, 3, H, W] RGB in [-1, 1], H and W multiples of the token stride (16).
tokens: float [B, L, 128], L = (H / 16) * (W / 16) in row order, whitened: about zero mean, and unit variance over all
channels together (of each channel alone in FLUX.2's; the tiny one leaves coarse channels stronger).
Between the two stands the latent map [B, 128, H/16, W/16]: the posterior mean, 2x2 latent pixels stacked.
"""

import torch
import torch.nn.functional as functional
from einops import rearrange
from torch import Tensor, nn

from anchorface.models.configuration import AutoencoderSettings
from anchorface.models.seams import without_seams
from anchorface.records import ConfigurationError, derive


class Autoencoder(nn.Module):
    """`AutoencoderKLFlux2` as `vae`, with patchifying and whitening inside `encode` and `decode`.

    Args:
        settings: shape of the networks.
        seed: for the fresh weights.

    Source: FLUX.2; pixel_fold is our choice.
    """

    def __init__(self, settings: AutoencoderSettings, seed: int = 0) -> None:
        from diffusers import AutoencoderKLFlux2

        super().__init__()
        self.settings = settings
        levels, channels = len(settings.block_out_channels), 3 * settings.pixel_fold**2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "autoencoder"))
            self.vae = AutoencoderKLFlux2(
                in_channels=channels, out_channels=channels,
                down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
                block_out_channels=settings.block_out_channels,
                decoder_block_out_channels=settings.decoder_block_out_channels,
                layers_per_block=settings.layers_per_block, latent_channels=settings.latent_channels,
                norm_num_groups=settings.norm_num_groups, mid_block_add_attention=settings.mid_block_attention,
            )

    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to whitened tokens [B, L, 128] (posterior mean)."""
        latents = self.posterior(images)[0]
        mean, deviation = self._whitening(latents)
        return rearrange((latents - mean) / deviation, "b c h w -> b (h w) c")

    def decode(self, tokens: Tensor, height_tokens: int, width_tokens: int) -> Tensor:
        """Whitened tokens [B, height_tokens * width_tokens, 128] to images [B, 3, H, W], about [-1, 1], not clamped."""
        latents = rearrange(tokens, "b (h w) c -> b c h w", h=height_tokens, w=width_tokens)
        mean, deviation = self._whitening(latents)
        return self.decode_latents(latents * deviation + mean)

    def picture(self, tokens: Tensor, height_tokens: int, width_tokens: int) -> Tensor:
        """As `decode`, for tokens that a sampler made: without the seams between them (`models.seams`)."""
        return without_seams(self.decode(tokens, height_tokens, width_tokens), self.settings.token_stride)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent map, each [B, 128, H/16, W/16], before whitening.

        Raises:
            ConfigurationError: a side that is not a multiple of the token stride.
        """
        stride = self.settings.token_stride
        if images.shape[-1] % stride or images.shape[-2] % stride:
            raise ConfigurationError(f"images of {tuple(images.shape[-2:])} px: sides must be multiples of {stride}")
        folded = functional.pixel_unshuffle(images, self.settings.pixel_fold)
        moments = self.vae.encode(folded).latent_dist
        return self._patchify(moments.mean), self._patchify(moments.logvar)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Latent map [B, 128, H/16, W/16] before whitening to images [B, 3, H, W]."""
        unpatched = rearrange(latents, "b (c p q) h w -> b c (h p) (w q)", p=2, q=2)
        return functional.pixel_shuffle(self.vae.decode(unpatched).sample, self.settings.pixel_fold).float()

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What training the autoencoder needs: reconstruction, posterior mean, posterior log variance.

        Args:
            images: [B, 3, H, W] in [-1, 1].
            noise: standard normal [B, 128, H/16, W/16] to sample the posterior with; None decodes the mean.
        """
        mean, log_variance = self.posterior(images)
        latents = mean if noise is None else mean + noise * torch.exp(0.5 * log_variance)
        return self.decode_latents(latents), mean, log_variance

    @torch.no_grad()
    def set_whitening(self, mean: Tensor, variance: Tensor) -> None:
        """Store what tokens are centred with and divided by (its square), each [128]; for equally strong channels:
        mean and variance of the latent map over the training images.
        """
        self.vae.bn.running_mean.copy_(mean)
        self.vae.bn.running_var.copy_(variance)

    def _whitening(self, like: Tensor) -> tuple[Tensor, Tensor]:
        statistics = self.vae.bn
        mean = rearrange(statistics.running_mean, "c -> 1 c 1 1")
        deviation = torch.sqrt(rearrange(statistics.running_var, "c -> 1 c 1 1") + statistics.eps)
        return mean.to(like.device), deviation.to(like.device)

    @staticmethod
    def _patchify(latents: Tensor) -> Tensor:
        return rearrange(latents, "b c (h p) (w q) -> b (c p q) h w", p=2, q=2)
