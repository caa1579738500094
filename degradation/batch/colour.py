"""Colour and light, pixel by pixel; each as the function of its name in `operations.colour`."""

from typing import Any

import torch

from anchorface.degradation.batch.stack import Stack, upload
from anchorface.degradation.operations.colour import LUMA


def grey(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Luma in all three channels, with OpenCV's 15-bit weights."""
    return stack.with_pixels(luma(stack.pixels)[:, None].expand(-1, 3, -1, -1))


def luma(pixels: torch.Tensor) -> torch.Tensor:
    """Whole levels, float32 [B, H, W], of uint8 [B, 3, H, W]."""
    red, green, blue = pixels.float().unbind(1)
    return (9798 * red + 19235 * green + 3735 * blue + 16384).div_(32768).floor_()


def contrast(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Blend with the mean luma."""
    means = (stack.pixels * stack.inside).sum((2, 3), dtype=torch.float64) / (stack.heights * stack.widths)[:, None]
    mean = (means * upload(LUMA, stack.device, torch.float64)).sum(1).view(-1, 1, 1, 1)
    factor = stack.column([one["factor"] for one in values], torch.float64)
    return stack.with_pixels(stack.pixels * factor + (1 - factor) * mean)


def saturation(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Blend with the grey picture."""
    factor, image = stack.column([one["factor"] for one in values]), stack.pixels.float()
    flat = LUMA[0] * image[:, :1] + LUMA[1] * image[:, 1:2] + LUMA[2] * image[:, 2:]
    return stack.with_pixels(image * factor + (1 - factor) * flat)


def hue(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Rotate the hue: through the hexagon of hue, saturation, value, as OpenCV's float conversion does."""
    image = stack.pixels.float()
    value, low = image.amax(1), image.amin(1)
    red, green, blue = image.unbind(1)
    spread = value - low
    safe = spread.clamp(min=1)
    place = torch.where(value == red, (green - blue) / safe, torch.where(
        value == green, (blue - red) / safe + 2, (red - green) / safe + 4))
    place = place + upload([one["turn"] / 60 for one in values], stack.device, torch.float32)[:, None, None]
    # Each channel is a trapezium of the place on the hexagon: 5, 3 and 1 sixths behind.
    channels = []
    for behind in (5, 3, 1):
        around = torch.remainder(place + behind, 6)
        channels.append(value - spread * torch.minimum(around, 4 - around).clamp_(0, 1))
    return stack.with_pixels(torch.stack(channels, dim=1))
