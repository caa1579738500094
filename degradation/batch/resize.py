"""Other sizes, many at once: each of OpenCV's interpolations is a matrix along either axis, one pair per image.

So images of different sizes and interpolations go through the same two products. The fractions of `linear`
(INTER_LINEAR_EXACT) have 8 bits; `cubic` has a = -0.75; `area` weighs by overlap, and where it enlarges it is another
linear one, whose sums OpenCV cuts and this does not (a level on some pixels); `nearest` is INTER_NEAREST_EXACT.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch

from anchorface.degradation.batch.stack import Stack, upload
from anchorface.records.errors import DataError

KINDS = ("linear", "area", "cubic", "nearest")
_CUBIC = -0.75


def resize(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """As `operations.resize.resize`; height, width, interpolation per image."""
    to = [(one["height"], one["width"]) for one in values]
    kinds = []
    for one, before, after in zip(values, stack.sizes, to, strict=True):
        if one["interpolation"] not in KINDS:
            raise DataError(f"resize: interpolation is {one['interpolation']!r}; known: {', '.join(KINDS)}")
        enlarges = after[0] > before[0] or after[1] > before[1]
        kinds.append("enlarging area" if one["interpolation"] == "area" and enlarges else one["interpolation"])
    down = matrices([size[0] for size in stack.sizes], [size[0] for size in to], kinds, stack.canvas[0], stack.device)
    across = matrices([size[1] for size in stack.sizes], [size[1] for size in to], kinds, stack.canvas[1], stack.device)
    pixels = torch.einsum("boi,bciw->bcow", down, stack.pixels.float())
    result = torch.einsum("bchi,boi->bcho", pixels, across)
    return Stack(result.add_(0.5).floor_().clamp_(0, 255).to(torch.uint8), to)


def matrices(before: list[int], after: list[int], kinds: list[str], canvas: int, device: torch.device) -> torch.Tensor:
    """From `before` to `after` px along one axis, per image: float32 [B, max(after), canvas]."""
    sizes = upload([before, after], device, torch.float64)
    length, count = sizes[0, :, None], sizes[1, :, None]
    place = torch.arange(max(after), dtype=torch.float64, device=device)[None]
    result = torch.zeros((len(before), max(after), canvas), dtype=torch.float64, device=device)
    for kind in dict.fromkeys(kinds):
        rows = upload([row for row, other in enumerate(kinds) if other == kind], device, torch.int64)
        if kind == "area":
            result[rows] = _overlap(place, length[rows], count[rows], canvas)
            continue
        if kind == "nearest":
            taken = [_nearest(before[row], after[row]) for row, other in enumerate(kinds) if other == kind]
            filled = [one + (0.0,) * (max(after) - len(one)) for one in taken]
            first = upload(filled, device, torch.float64)
            weights = [torch.ones_like(first)]
        else:
            first, weights = _TAPS[kind](place, length[rows], count[rows])
        part = torch.zeros((len(rows), max(after), canvas), dtype=torch.float64, device=device)
        for step, weight in enumerate(weights):
            column = (first + step).clamp(min=0).minimum(length[rows] - 1).long()
            part.scatter_add_(2, column[..., None], weight[..., None])
        result[rows] = part
    return result.float()


def linear_matrix(centre: torch.Tensor, lengths: torch.Tensor, canvas: int) -> torch.Tensor:
    """Straight lines between pixels to the places `centre`, [B, wanted], ends repeated: float32 [B, wanted, canvas]."""
    first = centre.floor()
    result = torch.zeros((*centre.shape, canvas), dtype=torch.float64, device=centre.device)
    for step, weight in enumerate((1 - (centre - first), centre - first)):
        column = (first + step).clamp(min=0).minimum(lengths[:, None] - 1).long()
        result.scatter_add_(2, column[..., None], weight[..., None])
    return result.float()


def _overlap(place: torch.Tensor, length: torch.Tensor, count: torch.Tensor, canvas: int) -> torch.Tensor:
    """How much of each wanted pixel lies over each given one; [B, wanted, canvas]."""
    scale = (length / count)[..., None]
    given = torch.arange(canvas, dtype=torch.float64, device=place.device)
    start = place[..., None] * scale
    covered = torch.minimum(start + scale, given + 1) - torch.maximum(start, given)
    return covered.clamp_(min=0) / scale


def _linear(place: torch.Tensor, length: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    centre = (place + 0.5) * (length / count) - 0.5
    first = centre.floor()
    second = ((centre - first) * 256).round() / 256
    return first, [1 - second, second]


def _enlarging_area(
        place: torch.Tensor, length: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    first = (place * (length / count)).floor()
    fraction = (place + 1) - (first + 1) * (count / length)
    second = torch.where(fraction <= 0, 0.0, fraction - fraction.floor())
    second = (second * 2048).round() / 2048
    return first, [1 - second, second]


def _cubic(place: torch.Tensor, length: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    centre = (place + 0.5) * (length / count) - 0.5
    first = centre.floor()
    x, a = centre - first, _CUBIC
    weights = [((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a,
               ((a + 2) * x - (a + 3)) * x * x + 1,
               ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1]
    weights.append(1 - weights[0] - weights[1] - weights[2])
    return first - 1, weights


@lru_cache(maxsize=4096)
def _nearest(length: int, count: int) -> tuple[float, ...]:
    """Which of `length` pixels OpenCV takes for each of `count`; asked of it, as ties are broken by its own rule."""
    given = np.arange(length, dtype=np.float32)[None]
    return tuple(cv2.resize(given, (count, 1), interpolation=cv2.INTER_NEAREST_EXACT)[0].tolist())


_TAPS = {"linear": _linear, "enlarging area": _enlarging_area, "cubic": _cubic}
