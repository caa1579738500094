"""Images of several sizes in one tensor, and what every batched operation needs of them.

A stack is a canvas, uint8 [B, 3, H, W]: image i fills the corner [:, :height, :width] of its place, the rest holds
nothing that counts. So images that a plan has shrunk to different sides still go through one operation together.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

Size = tuple[int, int]
"""Height and width, px."""


def upload(values: Sequence[object], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Numbers, on the device."""
    return _sent(torch.tensor(values, dtype=dtype), device)


def send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array, on the device."""
    return _sent(torch.from_numpy(np.ascontiguousarray(array)), device)


def _sent(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    # Through pinned memory, so that the host does not wait for an accelerator.
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def joined(arrays: Sequence[np.ndarray], canvas: Size) -> np.ndarray:
    """Arrays [h, w] of several sizes in the corners of zeros: [B, *canvas]."""
    result = np.zeros((len(arrays), *canvas), arrays[0].dtype)
    for place, one in zip(result, arrays, strict=True):
        place[:one.shape[0], :one.shape[1]] = one
    return result


class Stack:
    """A canvas and the sizes of its images.

    Args:
        pixels: uint8 [B, 3, H, W]. sizes: of each image, at most (H, W).
    """

    def __init__(self, pixels: torch.Tensor, sizes: Sequence[Size]) -> None:
        self.pixels, self.sizes = pixels, list(sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def device(self) -> torch.device:
        return self.pixels.device

    @property
    def canvas(self) -> Size:
        """Height and width of the canvas, px."""
        return self.pixels.shape[2], self.pixels.shape[3]

    @cached_property
    def even(self) -> bool:
        """All images fill the canvas."""
        return all(size == self.canvas for size in self.sizes)

    @cached_property
    def heights(self) -> torch.Tensor:
        """int64 [B], px."""
        return upload([height for height, _ in self.sizes], self.device, torch.int64)

    @cached_property
    def widths(self) -> torch.Tensor:
        """int64 [B], px."""
        return upload([width for _, width in self.sizes], self.device, torch.int64)

    @cached_property
    def inside(self) -> torch.Tensor:
        """1 on the images, 0 beside them; float32 [B, 1, H, W]."""
        rows = torch.arange(self.canvas[0], device=self.device) < self.heights[:, None]
        columns = torch.arange(self.canvas[1], device=self.device) < self.widths[:, None]
        return (rows[:, :, None] & columns[:, None, :])[:, None].float()

    def with_pixels(self, values: torch.Tensor) -> "Stack":
        """The same sizes with other levels, rounded half to even and clipped as on the CPU path."""
        if values.dtype != torch.uint8:
            values = values.round().clamp_(0, 255).to(torch.uint8)
        return Stack(values, self.sizes)

    def column(self, values: Sequence[object], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """One number per image, [B, 1, 1, 1]."""
        return upload(values, self.device, dtype).view(-1, 1, 1, 1)


def gather(parts: Sequence[tuple[Stack, int]]) -> Stack:
    """One stack of images that lie in several; parts: stack and place of each image."""
    first = parts[0][0]
    if all(stack is first for stack, _ in parts) and [place for _, place in parts] == list(range(len(first))):
        return first
    sizes = [stack.sizes[place] for stack, place in parts]
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    pixels = torch.empty((len(parts), 3, height, width), dtype=torch.uint8, device=first.device)
    for stack in {id(stack): stack for stack, _ in parts}.values():
        rows = [row for row, (other, _) in enumerate(parts) if other is stack]
        places = [place for other, place in parts if other is stack]
        h, w = min(height, stack.canvas[0]), min(width, stack.canvas[1])
        to = upload(rows, first.device, torch.int64)
        pixels[to, :, :h, :w] = stack.pixels[upload(places, first.device, torch.int64), :, :h, :w]
    return Stack(pixels, sizes)


def clamped(lengths: torch.Tensor, count: int) -> torch.Tensor:
    """Positions 0 .. count - 1 with the last one of each image repeated; int64 [B, count]."""
    return torch.minimum(torch.arange(count, device=lengths.device), lengths[:, None] - 1)


def mirrored(lengths: torch.Tensor, before: int, count: int) -> torch.Tensor:
    """Positions -before .. count - before - 1 mirrored about the edge pixels (BORDER_REFLECT_101); int64 [B, count]."""
    last = lengths[:, None] - 1
    turn = torch.remainder(torch.arange(-before, count - before, device=lengths.device), (2 * last).clamp(min=1))
    return torch.minimum(turn, (2 * last - turn).abs()).clamp_(min=0).minimum(last)


def take(planes: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """planes [B, C, H, W] at rows [B, R] and columns [B, K] of each image: [B, C, R, K]."""
    return take_columns(take_rows(planes, rows), columns)


def take_rows(planes: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """planes [B, C, H, W] at rows [B, R] of each image: [B, C, R, W]."""
    batch, channels, _, width = planes.shape
    return planes.gather(2, rows[:, None, :, None].expand(batch, channels, rows.shape[1], width))


def take_columns(planes: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """planes [B, C, H, W] at columns [B, K] of each image: [B, C, H, K]."""
    batch, channels, height, _ = planes.shape
    return planes.gather(3, columns[:, None, None, :].expand(batch, channels, height, columns.shape[1]))
