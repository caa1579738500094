"""The degraded structure pathway: what is seen, from the degraded image.

degraded: clean packed tokens [B, L_deg, 128] of the degraded image on a grid of rows x columns, in row order.
Two parts, a low-rank residual on the scene tokens and a small pooled memory (base and detail); the attention to that
memory after every block is models.memory_attention. All start as no change.
"""

import math

import torch
import torch.nn.functional as functional
from einops import rearrange
from torch import Tensor, nn

from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.models.memory_attention import LowRank
from anchorface.models.tokens import Grid


class InputResidual(nn.Module):
    """s_deg W_in(resize(x_deg)), to be added to the scene tokens. W_in starts at zero.

    Source: IConFace eq. 6; rank and space (packed channels or hidden width) are our choice.
    """

    def __init__(self, settings: IConFaceSettings, width: int) -> None:
        super().__init__()
        self.scale = settings.residual_scale
        self.project = LowRank(width, width, settings.residual_rank, zero=True)

    def forward(self, degraded: Tensor, grid: Grid, scene_grid: Grid) -> Tensor:
        """Degraded tokens [B, L_deg, C] on `grid` to a residual [B, L, C] on `scene_grid`."""
        return self.scale * self.project(resize(degraded, grid, scene_grid))


def resize(tokens: Tensor, grid: Grid, target: Grid) -> Tensor:
    """Tokens [B, L, C] brought from one token grid to another, bilinear; unchanged when the grids are equal."""
    if grid == target:
        return tokens
    picture = rearrange(tokens, "b (h w) c -> b c h w", h=grid[0])
    resized = functional.interpolate(picture, size=target, mode="bilinear", align_corners=False, antialias=True)
    return rearrange(resized, "b c h w -> b (h w) c")


def smooth(tokens: Tensor, grid: Grid, size: int, sigma: float) -> Tensor:
    """Low-passed tokens [B, L, C]: an average (sigma 0) or Gaussian over size x size tokens, borders repeated."""
    offsets = torch.arange(size, device=tokens.device) - size // 2
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2) if sigma > 0 else torch.ones(size, device=tokens.device)
    weights = (weights / weights.sum()).to(tokens.dtype)
    channels = tokens.shape[-1]
    picture = rearrange(tokens, "b (h w) c -> b c h w", h=grid[0])
    picture = functional.pad(picture, (size // 2,) * 4, mode="replicate")
    for kernel in (weights.view(1, 1, size, 1), weights.view(1, 1, 1, size)):
        picture = functional.conv2d(picture, kernel.expand(channels, 1, -1, -1), groups=channels)
    return rearrange(picture, "b c h w -> b (h w) c")


def place_features(grid: Grid, frequencies: int, like: Tensor) -> Tensor:
    """Where each token is: [L, 4 * frequencies] sines and cosines of row and column, both scaled to 0..1."""
    axes = [(torch.arange(n, device=like.device) + 0.5) / n for n in grid]
    places = torch.cartesian_prod(*axes)
    octaves = math.pi * 2.0 ** torch.arange(frequencies, device=like.device)
    angles = rearrange(places[:, :, None] * octaves, "l a f -> l (a f)")
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(like.dtype)


class Pooler(nn.Module):
    """Learned queries that attend to the degraded tokens and bring back a fixed number of memory tokens.

    One attention layer with normalised output; place features are appended to the tokens (our choice).

    Source: IConFace eq. 7 (P_b, P_d).
    """

    frequencies = 4

    def __init__(self, channels: int, width: int, heads: int, count: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(count, width))
        self.to_key = nn.Linear(channels + 4 * self.frequencies, width)
        self.to_value = nn.Linear(channels + 4 * self.frequencies, width)
        self.to_out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens [B, L, C] on `grid` to memory [B, count, width]."""
        tokens = tokens.to(self.to_key.weight.dtype)
        places = place_features(grid, self.frequencies, tokens).expand(len(tokens), -1, -1)
        tokens = torch.cat([tokens, places], dim=-1)
        key, value = (
            rearrange(layer(tokens), "b l (n d) -> b n l d", n=self.heads) for layer in (self.to_key, self.to_value)
        )
        query = rearrange(self.queries, "l (n d) -> n l d", n=self.heads).to(key.dtype).expand(len(tokens), -1, -1, -1)
        pooled = functional.scaled_dot_product_attention(query, key, value)
        return self.norm(self.to_out(rearrange(pooled, "b n l d -> b l (n d)")))


class DegradedMemory(nn.Module):
    """M_deg = [P_b(x_deg) ; P_d(x_deg - smooth(x_deg))], or one route over x_deg with the same number of tokens.

    Source: IConFace eq. 7 and its single-route ablation; split, smoothing and width are our choice.
    """

    def __init__(self, settings: IConFaceSettings, channels: int, width: int) -> None:
        super().__init__()
        self.size, self.sigma = settings.smoothing_size, settings.smoothing_sigma
        two = settings.memory == "two"
        base_tokens = settings.base_tokens if two else settings.base_tokens + settings.detail_tokens
        self.base = Pooler(channels, width, settings.pooler_heads, base_tokens)
        self.detail = Pooler(channels, width, settings.pooler_heads, settings.detail_tokens) if two else None

    def forward(self, degraded: Tensor, grid: Grid) -> Tensor:
        """Degraded tokens [B, L_deg, 128] to memory [B, base + detail tokens, memory width]."""
        memory = self.base(degraded, grid)
        if self.detail is None:
            return memory
        fine = degraded - smooth(degraded, grid, self.size, self.sigma)
        return torch.cat([memory, self.detail(fine, grid)], dim=1)
