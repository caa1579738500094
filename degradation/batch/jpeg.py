"""JPEG there and back on the device, bit for bit as libjpeg's slow integer transform does it.

Every step of libjpeg is integer arithmetic; here the integers travel in floats that hold them exactly: float32 for
colours (below 2^24), float64 for the transform. libjpeg's butterfly (13-bit constants) is one 8 x 8 integer matrix,
and its inverse the transpose. Entropy coding loses nothing and is left out.

Source: the JPEG standard, ITU-T T.81, annexes A and K; libjpeg's documented conventions (quality scaling, rounding,
edge padding, "fancy" triangle upsampling).
"""

from typing import Any

import torch

from anchorface.degradation.batch.stack import Stack, clamped, take, take_columns, take_rows, upload
from anchorface.records.errors import DataError

_A, _B, _C, _D = 8192, 10703, 4433, 10704
TRANSFORM = (
    (_A, _A, _A, _A, _A, _A, _A, _A),
    (11363, 9633, 6437, 2260, -2260, -6437, -9633, -11363),
    (_B, _C, -_C, -_B, -_B, -_C, _C, _B),
    (9633, -2259, -11362, -6436, 6436, 11362, 2259, -9633),
    (_A, -_A, -_A, _A, _A, -_A, -_A, _A),
    (6437, -11362, 2261, 9633, -9633, -2261, 11362, -6437),
    (_C, -_D, _D, -_C, -_C, _D, -_D, _C),
    (2260, -6436, 9633, -11363, 11363, -9633, 6436, -2260),
)
"""The discrete cosine transform in 13-bit integers, times sqrt(8)."""

_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99)
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32)
"""Annex K's tables, row by row."""


_FACTORS = {"444": (1, 1), "422": (1, 2), "420": (2, 2), "440": (2, 1), "411": (1, 4)}
"""By how much chroma is coarser, down and across."""


def jpeg(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """As `operations.compression.jpeg`; quality per image, one subsampling for all."""
    device, (height, width) = stack.device, stack.canvas
    name = str(values[0].get("subsampling", "420"))
    if name not in _FACTORS:
        raise DataError(f"jpeg: subsampling is {name!r}; known: {', '.join(_FACTORS)}")
    down, across = _FACTORS[name]
    tall, wide = -(-height // 16) * 16, -(-width // 32) * 32
    image = take(stack.pixels, clamped(stack.heights, tall), clamped(stack.widths, wide)).float()
    luma, chroma = _to_ycc(image)
    high = (stack.heights + down - 1).div(down, rounding_mode="floor")
    chroma = take_rows(_reduced(chroma, down, across), clamped(high, tall // down))
    quality = [int(one["quality"]) for one in values]
    luma = _quantised(luma[:, None], upload([scaled(_LUMA, one) for one in quality], device, torch.float64))
    chroma = _quantised(chroma, upload([scaled(_CHROMA, one) for one in quality], device, torch.float64))
    chroma = _enlarged(chroma, stack, down, across)
    return Stack(_to_rgb(luma[:, 0, :height, :width], chroma), stack.sizes)


def scaled(table: tuple[int, ...], quality: int) -> list[int]:
    """libjpeg's table for a quality of 1..100."""
    if not 1 <= quality <= 100:
        raise DataError(f"jpeg: quality is {quality}, not within 1..100")
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(max((entry * percent + 50) // 100, 1), 255) for entry in table]


def _to_ycc(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, 3, H, W] to luma [B, H, W] and chroma [B, 2, H, W]; 16-bit fractions, whole levels."""
    red, green, blue = image.unbind(1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 32768).div_(65536).floor_()
    middle = (128 << 16) + 32767
    cb = (32768 * blue - 11059 * red - 21709 * green + middle).div_(65536).floor_()
    cr = (32768 * red - 27439 * green - 5329 * blue + middle).div_(65536).floor_()
    return luma, torch.stack((cb, cr), dim=1)


def _to_rgb(luma: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """Luma [B, H, W] and chroma [B, 2, H, W] to uint8 [B, 3, H, W]."""
    cb, cr = (chroma - 128).unbind(1)
    red = luma + (91881 * cr + 32768).div_(65536).floor_()
    green = luma + (32768 - 22554 * cb - 46802 * cr).div_(65536).floor_()
    blue = luma + (116130 * cb + 32768).div_(65536).floor_()
    return torch.stack((red, green, blue), dim=1).clamp_(0, 255).to(torch.uint8)


def _reduced(chroma: torch.Tensor, down: int, across: int) -> torch.Tensor:
    """Means of down x across; in libjpeg's own ways to reduce by two, halves go down and up in turns, by column."""
    count = down * across
    if count == 1:
        return chroma
    total = chroma.unflatten(2, (-1, down)).unflatten(4, (-1, across)).sum((3, 5))
    if across == 2:
        total += count // 2 - 1 + torch.arange(total.shape[3], device=chroma.device) % 2
    else:
        total += count // 2
    return total.div_(count).floor_()


def _enlarged(chroma: torch.Tensor, stack: Stack, down: int, across: int) -> torch.Tensor:
    """Chroma [B, 2, h, w] to the canvas: doubled by weights 3/4 and 1/4; four times, or up to 4 px wide, repeated."""
    (height, width), device = stack.canvas, stack.device
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    near, far = _neighbours(rows, stack.heights, down)
    near_column, far_column = _neighbours(columns, stack.widths, across)
    result = 3 * take_rows(chroma, near) + take_rows(chroma, far) if down == 2 else take_rows(chroma, near)
    if across == 2:
        result = 3 * take_columns(result, near_column) + take_columns(result, far_column)
        result = result + (8 - columns % 2 if down == 2 else 1 + columns % 2)
        result.div_(16 if down == 2 else 4).floor_()
    else:
        result = take_columns(result, near_column)
        if down == 2:
            result = (result + (1 + rows % 2)[:, None]).div_(4).floor_()
    narrow = [place for place, size in enumerate(stack.sizes) if size[1] <= 4] if across == 2 else []
    if narrow:
        chosen = upload(narrow, device, torch.int64)
        result[chosen] = take(chroma[chosen], near[chosen], near_column[chosen])
    return result


def _neighbours(places: torch.Tensor, lengths: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each place [L], the coarse place that it lies in and the next nearest one; int64 [B, L] both."""
    last = (lengths[:, None] + factor - 1).div(factor, rounding_mode="floor") - 1
    near = places.div(factor, rounding_mode="floor").minimum(last)
    return near, (near + places % 2 * 2 - 1).clamp(min=0).minimum(last)


def _quantised(planes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Planes [B, C, H, W], sides multiples of 8, through the transform, the table [B, 64] and back; float32."""
    batch, channels, height, width = planes.shape
    matrix = torch.tensor(TRANSFORM, dtype=torch.float64).to(planes.device)
    # Rows first and columns after, as libjpeg does; between them, and till the inverse, rows and columns are swapped.
    blocks = planes.view(batch, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5).double() - 128
    turned = _shifted(blocks @ matrix.T, 11).transpose(-1, -2).contiguous()
    coefficients = _shifted(turned @ matrix.T, 15)
    steps = table.view(batch, 1, 1, 1, 8, 8).transpose(-1, -2)
    sizes = coefficients.abs().add_(4 * steps).div_(8 * steps).floor_()
    coefficients = sizes.mul_(coefficients.sign()).mul_(steps)
    turned = _shifted(coefficients @ matrix, 11).transpose(-1, -2).contiguous()
    blocks = _shifted(turned @ matrix, 18).add_(128).clamp_(0, 255).float()
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, height, width)


def _shifted(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Whole numbers divided by 2^bits, halves up; `values` is written to."""
    return values.add_(1 << (bits - 1)).mul_(0.5**bits).floor_()
