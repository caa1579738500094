"""Steps between neighbouring tokens in a decoded picture, taken out.

Tokens that a sampler makes are right one by one and do not quite fit each other: a small restorer's pictures change
more from pixel to pixel at the tokens' borders than elsewhere (1.8 to 1.9 times, where photographs have 1.0). How much
of a jump is a seam is told by the picture itself, so a picture without seams stays as it is. Our choice throughout, in
the manner of video codecs' deblocking; the share is Wiener's.
"""

import torch
from torch import Tensor

REACH = 4
"""Pixels on each side of a border over which a jump is spread."""
LEAST = (0.5 / 127.5) ** 2
"""Of a median square jump: half a level."""
LARGEST = 4.0
"""Times the median jump at borders: what is more is the picture's own."""


def without_seams(images: Tensor, stride: int) -> Tensor:
    """Pictures with the seams between squares of `stride` pixels spread over REACH pixels on each side.

    Each picture is treated for itself. A jump is the difference of two neighbours less the mean of the differences
    beside it. Of the jumps at borders, LARGEST times their median at most, the share 1 - (median square jump elsewhere
    / median square jump at borders), 0 at least, is taken for seams: a seam lies along all borders, an edge of what is
    shown along few.

    Args:
        images: float [B, 3, H, W], about [-1, 1].
    """
    across = _mended(images, stride)
    return _mended(across.transpose(2, 3), stride).transpose(2, 3)


def _mended(images: Tensor, stride: int) -> Tensor:
    borders = torch.arange(stride, images.shape[-1], stride, device=images.device)
    if not len(borders):
        return images
    jumps = _jumps(images, borders)
    columns = torch.arange(2, images.shape[-1] - 1, device=images.device)
    ordinary = _median_square(_jumps(images, columns[columns % stride != 0]))
    usual = _median_square(jumps)
    largest = LARGEST * usual.sqrt()
    seam = jumps.clamp(-largest, largest) * (1 - ordinary / usual).clamp_min(0)
    mended = images.clone()
    for distance in range(REACH):
        part = (1 - (distance + 0.5) / REACH) / 2
        mended[..., borders - 1 - distance] += part * seam
        mended[..., borders + distance] -= part * seam
    return mended


def _median_square(jumps: Tensor) -> Tensor:
    """[B, 1, 1, 1]; LEAST at least, so that flat pictures have no seams."""
    return jumps.square().flatten(1).median(1).values.clamp_min(LEAST)[:, None, None, None]


def _jumps(images: Tensor, columns: Tensor) -> Tensor:
    """The jump from the column before to each of `columns`, [B, 3, H, columns]."""
    before, after = images[..., columns - 1], images[..., columns]
    beside = (before - images[..., columns - 2] + images[..., columns + 1] - after) / 2
    return after - before - beside
