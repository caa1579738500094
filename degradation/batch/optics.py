"""What a lens does; each as the function of its name in `operations.optics`."""

import math
from typing import Any

import numpy as np
import torch

from anchorface.degradation.batch.blur import correlated
from anchorface.degradation.batch.light import along, scaled
from anchorface.degradation.batch.resize import linear_matrix
from anchorface.degradation.batch.stack import Stack, send, upload
from anchorface.degradation.light import centred
from anchorface.degradation.operations.optics import disc, streak


def defocus(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """The mean over a disc."""
    return _with_kernels(stack, [disc(max(one["radius"], 0.5)) for one in values])


def motion(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """The mean along a line."""
    return _with_kernels(stack, [streak(one["length"], one["angle"]) if one["length"] > 0
                                 else np.ones((1, 1), np.float32) for one in values])


def _with_kernels(stack: Stack, kernels: list[np.ndarray]) -> Stack:
    side = max(len(one) for one in kernels)
    middle = np.stack([np.pad(one, (side - len(one)) // 2) for one in kernels])
    return stack.with_pixels(correlated(stack, send(middle, stack.device)))


def vignette(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Light by the cosine-fourth law."""
    rows, columns = [], []
    for (height, width), one in zip(stack.sizes, values, strict=True):
        y, x = centred(height), centred(width)
        grow = math.tan(math.radians(one["field_angle"])) ** 2 / max(x[0] ** 2 + y[0] ** 2, 0.25)
        rows.append((grow * y**2).astype(np.float32))
        columns.append((1 + grow * x**2).astype(np.float32))
    return scaled(stack, (along(stack, rows, 0) + along(stack, columns, 1)).clamp_(min=1) ** -2)


def fringe(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Red and blue magnified otherwise than green."""
    image = stack.pixels.float()
    for channel, field in ((0, "red"), (2, "blue")):
        scales = []
        for (height, width), one in zip(stack.sizes, values, strict=True):
            corner = math.hypot(width - 1, height - 1) / 2
            scales.append(1.0 if corner < 1.5 else 1 / max(0.1, 1 + one[field] / corner))
        scale = upload(scales, stack.device, torch.float64)[:, None]
        down, across = (linear_matrix(
            torch.arange(count, device=stack.device) * scale + (1 - scale) * (lengths[:, None] - 1) / 2, lengths, count)
            for lengths, count in zip((stack.heights, stack.widths), stack.canvas, strict=True))
        image[:, channel] = torch.einsum("boi,biw,bpw->bop", down, image[:, channel], across)
    return stack.with_pixels(image)
