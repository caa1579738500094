"""What old video equipment does; each as the function of its name in `operations.surveillance`."""

from typing import Any

import torch

from anchorface.degradation.batch.noise import field_words
from anchorface.degradation.batch.stack import Stack, take, take_columns, upload


def interlace(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Odd rows moved to the right."""
    offset = upload([one["offset"] for one in values], stack.device, torch.float64)[:, None]
    last = stack.widths[:, None] - 1
    places = (torch.arange(stack.canvas[1], device=stack.device) - offset).clamp(min=0).minimum(last)
    left = places.floor()
    share = (places - left).float()[:, None, None]
    image, left = stack.pixels.float(), left.long()
    moved = take_columns(image, left) * (1 - share) + take_columns(image, (left + 1).minimum(last)) * share
    image[:, :, 1::2] = moved[:, :, 1::2]
    return stack.with_pixels(image)


def blocks(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Some blocks reduced to their mean."""
    steps = [max(1, round(one["block"])) for one in values]
    sizes = [(-(-h // step), -(-w // step)) for (h, w), step in zip(stack.sizes, steps, strict=True)]
    canvas = max(h for h, _ in sizes), max(w for _, w in sizes)
    words = field_words(sizes, canvas, values, [1] * len(values), stack.device)[:, :1]
    hit = (words + 0.5) / 65536 < stack.column([one["share"] for one in values])
    step = upload(steps, stack.device, torch.int64)[:, None]
    down, across = (_means(lengths, step, count, most) for lengths, count, most in
                    zip((stack.heights, stack.widths), stack.canvas, canvas, strict=True))
    means = torch.einsum("boi,bciw->bcow", down, stack.pixels.float())
    means = torch.einsum("bchi,boi->bcho", means, across).add_(0.5).floor_()
    rows, columns = (torch.arange(count, device=stack.device).div(step, rounding_mode="floor").clamp_(max=most - 1)
                     for count, most in zip(stack.canvas, canvas, strict=True))
    return stack.with_pixels(torch.where(take(hit, rows, columns), take(means, rows, columns), stack.pixels.float()))


def _means(lengths: torch.Tensor, step: torch.Tensor, count: int, most: int) -> torch.Tensor:
    """The matrix of means over `step` pixels, the last pixel repeated; float32 [B, most, count]."""
    first = torch.arange(most, device=lengths.device) * step
    given = torch.arange(count, device=lengths.device)
    within = (given >= first[..., None]) & (given < (first + step)[..., None]) & (given < lengths[:, None, None])
    beyond = (first + step - torch.maximum(first, lengths[:, None])).clamp(min=0)
    repeated = (given == lengths[:, None, None] - 1) * beyond[..., None]
    return (within + repeated).float() / step[..., None]
