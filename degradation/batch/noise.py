"""Noise from the same published fields as on the CPU path; each as the function of its name in `operations.noise`."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from anchorface.degradation.batch.colour import luma
from anchorface.degradation.batch.fields import words
from anchorface.degradation.batch.stack import Stack, take, upload
from anchorface.degradation.fields import NORMAL
from anchorface.degradation.light import LIGHT, srgb_to_linear
from anchorface.degradation.operations.noise import PHOTON_QUANTILES, PHOTONS, _root, photon_table

_BLACK, _WHITE = 8192.0, 32768.0
"""Of a 16-bit raw value."""


def noise(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """White Gaussian noise, rounded to whole levels."""
    field = normal_quantiles(stack.device)[image_words(stack, values)]
    field = (field * stack.column([one["level"] for one in values], torch.float64)).round_()
    return stack.with_pixels(field.add_(stack.pixels))


def poisson(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Photon noise, of each channel or of the luma."""
    of_grey = stack.column([one["grey"] for one in values]) == 1
    levels = torch.where(of_grey, luma(stack.pixels)[:, None], stack.pixels.float())
    quantiles = image_words(stack, values).div(65536 // PHOTON_QUANTILES, rounding_mode="floor")
    counts = _photons(stack.device)[levels.to(torch.int32) * PHOTON_QUANTILES + quantiles]
    scale = stack.column([one["scale"] for one in values])
    field = (255 / PHOTONS * counts - levels / PHOTONS) * scale
    return stack.with_pixels(stack.pixels + torch.where(of_grey, field.round(), field))


def correlated_noise(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Gaussian noise that differs between the channels and is correlated between them."""
    mixing = [(np.diag([one["red"], one["green"], one["blue"]])
               @ _root(one["red_green"], one["red_blue"], one["green_blue"])).tolist() for one in values]
    field = normal_quantiles(stack.device)[image_words(stack, values)].float()
    field = torch.einsum("boi,bihw->bohw", upload(mixing, stack.device, torch.float32), field)
    return stack.with_pixels(field + stack.pixels)


def camera_noise(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Noise of photons and of the amplifier behind a mosaic of colours, in linear light, and a bilinear demosaic."""
    (height, width), device = stack.canvas, stack.device
    rows = torch.arange(-2, height + 2, device=device).clamp(min=0).minimum(stack.heights[:, None] - 1)
    columns = torch.arange(-2, width + 2, device=device).clamp(min=0).minimum(stack.widths[:, None] - 1)
    sizes = [(h + 4, w + 4) for h, w in stack.sizes]
    field = field_words(sizes, (height + 4, width + 4), values, [1] * len(values), device)[:, 0]
    normal = normal_quantiles(device)[field]
    tall, wide = (torch.arange(length, device=device) % 2 for length in normal.shape[1:])
    site = tall[:, None] + wide
    levels = take(stack.pixels, rows, columns).gather(1, site.expand(len(stack), 1, -1, -1))[:, 0]
    gains = upload([[one["red_gain"], 1.0, one["blue_gain"]] for one in values], device, torch.float64)
    electrons, read = (stack.column([one[field] for one in values], torch.float64)[:, 0] for field in
                       ("electrons", "read"))
    light = _lights(device)[levels.to(torch.int32)] / gains[:, site]
    spread = (light * electrons + read**2).sqrt() / electrons
    raw = ((light + spread * normal) * _WHITE + (_BLACK + 0.5)).floor_().clamp_(0, 65535)
    image = _demosaiced(raw, site, tall)[..., 2:2 + height, 2:2 + width]
    image = ((image - _BLACK) * (gains / _WHITE)[..., None, None]).clamp_(0, 1)
    return stack.with_pixels(torch.bucketize(image, _borders(device)).to(torch.uint8))


def _demosaiced(raw: torch.Tensor, site: torch.Tensor, tall: torch.Tensor) -> torch.Tensor:
    """Raw values [B, H, W] behind red-green / green-blue, whole numbers, to [B, 3, H, W]; its rim is undefined."""
    up, down, left, right = raw.roll(1, 1), raw.roll(-1, 1), raw.roll(1, 2), raw.roll(-1, 2)
    beside, above = ((left + right + 1) / 2).floor_(), ((up + down + 1) / 2).floor_()
    cross = ((up + down + left + right + 2) / 4).floor_()
    corners = ((up.roll(1, 2) + up.roll(-1, 2) + down.roll(1, 2) + down.roll(-1, 2) + 2) / 4).floor_()
    blue_row = tall[:, None] == 1
    red = torch.where(site == 0, raw, torch.where(site == 2, corners, torch.where(blue_row, above, beside)))
    blue = torch.where(site == 2, raw, torch.where(site == 0, corners, torch.where(blue_row, beside, above)))
    return torch.stack((red, torch.where(site == 1, raw, cross), blue), dim=1)


def image_words(stack: Stack, values: list[dict[str, Any]]) -> torch.Tensor:
    """The word of each value of each image, int32 [B, 3, H, W]; channels share a field where `grey` is 1."""
    return field_words(stack.sizes, stack.canvas, values, [1 if one.get("grey") else 3 for one in values], stack.device)


def field_words(sizes: Sequence[tuple[int, int]], canvas: tuple[int, int], values: list[dict[str, Any]],
                channels: Sequence[int], device: torch.device) -> torch.Tensor:
    """Fields of several sizes on one canvas, from `seed`, of 1 or 3 channels each; int32 [B, 3, H, W]."""
    count = max(h * w * c for (h, w), c in zip(sizes, channels, strict=True))
    flat = words([one["seed"] for one in values], count, device)
    step, widths = upload([channels, [w for _, w in sizes]], device, torch.int64).view(2, -1, 1, 1, 1)
    rows = torch.arange(canvas[0], device=device).view(-1, 1)
    columns = torch.arange(canvas[1], device=device)
    place = (rows * widths + columns) * step + torch.arange(3, device=device).view(3, 1, 1) * (step > 1)
    return flat.gather(1, place.flatten(1).clamp_(max=count - 1)).view(place.shape)


@cache
def normal_quantiles(device: torch.device) -> torch.Tensor:
    """The standard normal number of each word, float64 [65536]."""
    return torch.from_numpy(NORMAL).to(device)


@cache
def _photons(device: torch.device) -> torch.Tensor:
    """Counts minus level, float32 [256 * quantiles]."""
    return torch.from_numpy(photon_table().view(np.int8).astype(np.float32).ravel()).to(device)


@cache
def _lights(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(LIGHT).to(device)


@cache
def _borders(device: torch.device) -> torch.Tensor:
    """Where one sRGB level ends and the next begins, in light."""
    return torch.from_numpy(srgb_to_linear((np.arange(255) + 0.5) / 255)).to(device)
