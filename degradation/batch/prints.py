"""Old prints and photographed screens; each as the function of its name in `operations.old_print` and `.screen`."""

import math
from typing import Any

import numpy as np
import torch

from anchorface.degradation.batch.light import along, from_light, scaled, smooth_field, to_light, waves
from anchorface.degradation.batch.stack import Stack, send, upload
from anchorface.degradation.light import WHITE, centred
from anchorface.degradation.operations.old_print import _RANKS, STAIN
from anchorface.degradation.operations.screen import EDGES
from anchorface.records.errors import DataError


def stains(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Blotches of damp where a smooth field is high."""
    steps = (smooth_field(stack, values) * 64 - 32).round_().clamp_(0, 255)
    share = upload([[-one["density"] * part / 32 for part in STAIN] for one in values], stack.device, torch.float32)
    return scaled(stack, torch.pow(10.0, steps * share[..., None, None]))


def film_grain(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """The same grain in all channels, strongest in the middle tones."""
    value = stack.pixels.float() / 255
    amplitude = (value * (1 - value)).sqrt_() * (2 * stack.column([one["strength"] for one in values]))
    return stack.with_pixels(amplitude * smooth_field(stack, values) + stack.pixels)


def paper(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Texture in raking light; one kind for all images."""
    kind = values[0]["kind"]
    if kind == "fibre":
        field = smooth_field(stack, values)
    elif kind == "silk":
        field = torch.zeros((), device=stack.device)
        for step in (0, 60, 120):
            field = field + waves(stack, [_straight(size, int(one["seed"]) % 60 + step, one["grain"] * math.sqrt(3) / 2)
                                          for size, one in zip(stack.sizes, values, strict=True)])
        field = field / 3
    else:
        raise DataError(f"paper: kind is {kind!r}; fibre or silk")
    return scaled(stack, (1 + stack.column([one["strength"] for one in values]) * field).clamp_(min=0))


def _straight(size: tuple[int, int], angle: float, period: float, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Turns of a plane wave across and down an image."""
    turn = math.radians(angle)
    return (centred(size[1]) * (math.cos(turn) / period) + offset, centred(size[0]) * (math.sin(turn) / period))


def halftone(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """Each channel against its screen of thresholds; a grey picture against one."""
    image = stack.pixels.float()
    coloured = ((image != image[:, :1]) * stack.inside).amax((1, 2, 3)) > 0
    ranks = send(_RANKS, stack.device).float()
    screens = []
    for turn in (0, 30, 60):
        screen = torch.zeros((), device=stack.device)
        for right in (0, 90):
            screen = screen + waves(stack, [_straight(size, one["angle"] + turn + right, size[0] / one["lines"])
                                            for size, one in zip(stack.sizes, values, strict=True)])
        screens.append(ranks[(screen * 63.75 + 127.5).round_().clamp_(0, 255).to(torch.int32)])
    threshold = torch.where(coloured.view(-1, 1, 1, 1), torch.cat(screens, dim=1), screens[0])
    return stack.with_pixels((image - threshold) * stack.column([one["hardness"] for one in values]) + 127.5)


def moire(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """A screen's stripes and rows of pixels, beating with the camera's."""
    def bent(size: tuple[int, int], one: dict[str, Any], right: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
        y, x = centred(size[0]), centred(size[1])
        corner = max(x[0] ** 2 + y[0] ** 2, 1.0)
        across, down = _straight(size, one["angle"] + right, one["pitch"], offset)
        bend = one["bend"] / corner / one["pitch"]
        return across + bend * x**2, down + bend * y**2

    def beat(right: int, offset: float) -> torch.Tensor:
        return waves(stack, [bent(size, one, right, offset) for size, one in zip(stack.sizes, values, strict=True)])

    depth = stack.column([one["depth"] for one in values])
    stripes = 1 + depth * torch.cat([beat(0, channel / 3) for channel in range(3)], dim=1)
    rows = 1 + depth / 2 * beat(90, 0.0)
    return scaled(stack, stripes * rows)


def glare(stack: Stack, values: list[dict[str, Any]]) -> Stack:
    """A bright spot and a veil, added in linear light."""
    sides = []
    for axis, (place, reach) in enumerate((("y", "height"), ("x", "width"))):
        profiles = []
        for size, one in zip(stack.sizes, values, strict=True):
            if one["kind"] not in EDGES:
                raise DataError(f"glare: kind is {one['kind']!r}; one of {', '.join(EDGES)}")
            away = (np.arange(size[axis]) + 0.5 - one[place] * size[axis]) / one[reach]
            profiles.append(np.exp(-np.minimum(np.abs(away), 100) ** EDGES[one["kind"]]).astype(np.float32))
        sides.append(along(stack, profiles, axis))
    strength, veil = (stack.column([one[field] for one in values]) * WHITE for field in ("strength", "veil"))
    return from_light(stack, to_light(stack) + (strength * sides[0] * sides[1] + veil))
