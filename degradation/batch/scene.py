"""A crop that missed, damage that differs from place to place; each as the function of its name in
`operations.scene`."""

from typing import Any

import torch

from anchorface.degradation.batch.blur import blur
from anchorface.degradation.batch.jpeg import jpeg
from anchorface.degradation.batch.noise import noise
from anchorface.degradation.batch.resize import resize
from anchorface.degradation.batch.stack import Stack, take, upload
from anchorface.degradation.batch.tables import pointwise


def shift(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Move; what comes in is mirrored, the outermost pixels twice."""
    # A row repeats itself after twice its length; taken here, where a step may be of any size.
    sizes = zip(values, stack.sizes, strict=True)
    apart = [[int(one["y"]) % (2 * height), int(one["x"]) % (2 * width)] for one, (height, width) in sizes]
    steps = upload(apart, stack.device, torch.int64)
    rows, columns = (_moved(lengths, steps[:, axis], stack.canvas[axis]) for axis, lengths in
                     enumerate((stack.heights, stack.widths)))
    return Stack(take(stack.pixels, rows, columns), stack.sizes)


def _moved(lengths: torch.Tensor, steps: torch.Tensor, count: int) -> torch.Tensor:
    places = torch.arange(count, device=lengths.device) - steps[:, None]
    places = torch.remainder(places, 2 * lengths[:, None])
    return torch.minimum(places, 2 * lengths[:, None] - 1 - places)


def uneven(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """The first-order formula twice, inside a square and around it."""
    inside, outside = (_first_order(stack, [
        {key.removeprefix(part): value for key, value in one.items() if key.startswith(part)} for one in values])
        for part in ("inside_", "outside_"))
    square = upload([[one["x"], one["y"], one["side"], max(one["edge"], 1e-6)] for one in values], stack.device,
                    torch.float32)
    x, y, side, edge = square.T[..., None]
    share = _ramp(stack.canvas[0], y, side, edge)[:, :, None] * _ramp(stack.canvas[1], x, side, edge)[:, None]
    return stack.with_pixels(torch.lerp(outside.pixels.float(), inside.pixels.float(), share[:, None]))


def _first_order(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    result = pointwise("haze")(blur(stack, values), [{"alpha": one["alpha"]} for one in values])
    small = [{"height": max(1, round(h / one["shrink"])), "width": max(1, round(w / one["shrink"])),
              "interpolation": "linear"} for (h, w), one in zip(stack.sizes, values, strict=True)]
    back = [{"height": h, "width": w, "interpolation": "linear"} for h, w in stack.sizes]
    result = noise(resize(result, small), values)
    return resize(jpeg(result, values), back)


def _ramp(length: int, start: torch.Tensor, side: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
    """1 within, 0 beyond, a straight line across both ends; float32 [B, length]."""
    middle = torch.arange(length, device=start.device) + 0.5
    return (torch.minimum(middle - start, start + side - middle) / edge + 0.5).clamp(0, 1)
