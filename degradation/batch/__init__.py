"""Plans carried out on a whole batch, on an accelerator or on the CPU through torch.

    stack.py     images of several sizes in one tensor
    fields.py    the published noise bits
    light.py     linear light and fields over a stack
    the others   operations, each of the name it has in `operations`

Levels are rounded to 8 bits after each operation, as on the CPU path, and the result differs from it by the rounding
of floats only; noise has the same bits.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch

from anchorface.degradation import kernels
from anchorface.degradation.batch import blur, colour, jpeg, noise, optics, prints, resize, scene, sensor, surveillance
from anchorface.degradation.batch.stack import Size, Stack, gather, send
from anchorface.degradation.batch.tables import POINTWISE, pointwise
from anchorface.degradation.operations import FUNCTIONS
from anchorface.degradation.operations.noise import check_camera
from anchorface.degradation.operations.resize import check as check_size
from anchorface.degradation.plan import Operation, Plan
from anchorface.degradation.replay import arguments
from anchorface.records.errors import AnchorfaceError, DataError

Batched = Callable[[Stack, list[dict[str, Any]]], Stack]

ON_DEVICE: dict[str, Batched] = {name: pointwise(name) for name in POINTWISE} | {
    function.__name__: function for function in (
        blur.blur, blur.sinc, blur.sharpen, resize.resize, jpeg.jpeg,
        noise.noise, noise.poisson, noise.correlated_noise, noise.camera_noise,
        colour.grey, colour.contrast, colour.saturation, colour.hue, scene.shift, scene.uneven,
        optics.defocus, optics.motion, optics.vignette, optics.fringe, sensor.sensor_noise, sensor.banding,
        prints.stains, prints.film_grain, prints.paper, prints.halftone, prints.moire, prints.glare,
        surveillance.interlace, surveillance.blocks)}
"""Operations that run where the tensors are."""

ON_CPU = frozenset((
    "webp", "avif", "scratches", "dust", "fold", "occlude", "stamp", "date_imprint", "albumentations"))
"""Operations that are codecs or drawing by nature, or another library's: their images go to the CPU path and come back,
which waits for the device."""

_FAULTS = (TypeError, KeyError, IndexError, ValueError, ArithmeticError, MemoryError, cv2.error)
_SMALLEST_BUCKET = 6
_APART = {"jpeg": "subsampling", "paper": "kind"}
"""Operations whose images go together only if this parameter is the same."""


def apply_batch(images: torch.Tensor, plans: Sequence[Plan], device: torch.device | str | None = None) -> torch.Tensor:
    """Degrade each image as its plan says.

    At each turn the image with the most operations still to do decides which comes next, and all images that wait for
    the same one at about the same size (within a factor of two) go with it. Parameters are uploaded once per group;
    nothing is read back, except by the operations of `ON_CPU`.

    Args:
        images: uint8 [B, H, W, 3], RGB. plans: one per image. device: where to work; as it comes, the images' own.

    Returns:
        uint8 [B, H, W, 3], RGB, on that device. Which images share a batch changes at most the rounding of floats.

    Raises:
        DataError: images of another kind, another number of plans, an operation that no table knows or parameters that
            it does not take; the field is named.
    """
    images = _checked(images, plans)
    device = torch.device(device) if device is not None else images.device
    height, width = size = (images.shape[1], images.shape[2])
    waiting = [_steps(plan, size) for plan in plans]
    start = Stack(images.to(device, non_blocking=True).permute(0, 3, 1, 2).contiguous(), [size] * len(plans))
    places = [(start, place) for place in range(len(plans))]
    while any(waiting):
        leader = max(range(len(plans)), key=lambda place: len(waiting[place]))
        wanted = _group(waiting[leader][-1], places[leader])
        members = [place for place, steps in enumerate(waiting) if steps and _group(steps[-1], places[place]) == wanted]
        values = [waiting[place].pop()[1] for place in members]
        result = _carry_out(wanted[0], gather([places[place] for place in members]), values)
        for row, place in enumerate(members):
            places[place] = (result, row)
    end = gather(places)
    for plan, last in zip(plans, end.sizes, strict=True):
        if last != size:
            raise DataError(f"plan {plan.digest} ends at {list(last)}, not at the images' {list(size)}")
    result = end.pixels[:, :, :height, :width].permute(0, 2, 3, 1)
    return result.clone(memory_format=torch.contiguous_format)


def where(plan: Plan) -> dict[str, str]:
    """Where `apply_batch` does each operation of a plan: `device` or `cpu`.

    Raises:
        DataError: an operation that neither table has.
    """
    return {operation.name: _where(plan, operation) for operation in plan.operations}


def _where(plan: Plan, operation: Operation) -> str:
    if operation.name in ON_DEVICE:
        return "device"
    if operation.name in ON_CPU:
        return "cpu"
    raise DataError(f"plan {plan.digest}: no batched operation {operation.name!r}; known: "
                    f"{', '.join([*ON_DEVICE, *sorted(ON_CPU)])}")


def _checked(images: torch.Tensor, plans: Sequence[Plan]) -> torch.Tensor:
    if not isinstance(images, torch.Tensor):
        raise DataError(f"images: a torch tensor is needed, not {type(images).__name__}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
        raise DataError(f"images: uint8 [B, H, W, 3] with at least one pixel is needed, not {images.dtype} "
                        f"{list(images.shape)}")
    if len(plans) != len(images):
        raise DataError(f"plans: {len(plans)} for {len(images)} images")
    return images


Step = tuple[str, dict[str, Any]]


def _steps(plan: Plan, shape: Size) -> list[Step]:
    """What a plan asks for with every parameter set, last operation first, without resizes that change nothing."""
    steps, size = [], shape
    for operation in plan.operations:
        _where(plan, operation)
        try:
            values = arguments(operation, plan, shape)
            bound = _signature(operation.name).bind(None, **values)
            bound.apply_defaults()
            values = dict(list(bound.arguments.items())[1:])
            _refuse(operation.name, values)
        except AnchorfaceError:
            raise
        except _FAULTS as error:
            raise DataError(f"plan {plan.digest}: {operation.name} with {operation.values}: {error}") from error
        if operation.name == "resize":
            before, size = size, (values["height"], values["width"])
            if size == before:
                continue
        steps.append((operation.name, values))
    return steps[::-1]


@cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(FUNCTIONS[name])


def _refuse(name: str, values: dict[str, Any]) -> None:
    """Refuse what the CPU path refuses: ask its own check, or have it carry the operation out on one pixel.

    Raises:
        DataError: an impossible parameter.
    """
    if name in _CHECKS:
        _CHECKS[name](**values)
    elif name in ON_DEVICE and name not in POINTWISE:  # the others go through the CPU path anyway
        FUNCTIONS[name](_PIXEL, **values)


_CHECKS: dict[str, Callable[..., None]] = {
    "blur": kernels.check_blur, "sinc": kernels.check_sinc, "resize": check_size, "camera_noise": check_camera}
"""Of the operations for which one pixel is as much work as many."""
_PIXEL = np.full((1, 1, 3), 128, np.uint8)


def _group(step: Step, place: tuple[Stack, int]) -> tuple[str, int, int, str]:
    """What images must share to go together: the operation, and about the size before and after."""
    name, values = step
    before = place[0].sizes[place[1]]
    after = (values["height"], values["width"]) if name == "resize" else before
    return name, _bucket(before), _bucket(after), str(values[_APART[name]]) if name in _APART else ""


def _bucket(size: Size) -> int:
    return max(_SMALLEST_BUCKET, math.ceil(math.log2(max(size))))


def _carry_out(name: str, stack: Stack, values: list[dict[str, Any]]) -> Stack:
    try:
        return ON_DEVICE[name](stack, values) if name in ON_DEVICE else _on_cpu(name, stack, values)
    except AnchorfaceError:
        raise
    except _FAULTS as error:
        raise DataError(f"{name} with {values}: {error}") from error


def _on_cpu(name: str, stack: Stack, values: list[dict[str, Any]]) -> Stack:
    pixels = stack.pixels.permute(0, 2, 3, 1).cpu().numpy()
    for place, (height, width), given in zip(pixels, stack.sizes, values, strict=True):
        place[:height, :width] = FUNCTIONS[name](np.ascontiguousarray(place[:height, :width]), **given)
    return Stack(send(pixels, stack.device).permute(0, 3, 1, 2).contiguous(), stack.sizes)
