"""Carrying a Plan out. Images: uint8 [H, W, 3], RGB."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from anchorface.degradation.operations import FUNCTIONS
from anchorface.degradation.operations.blur import blur_and_shrink
from anchorface.degradation.plan import Operation, Plan
from anchorface.records.errors import AnchorfaceError, DataError

MOST_ENLARGED = 16
"""An image becomes at most so many times as large as the plan's: no plan of ours comes near, a damaged one could."""
_FAULTS = (TypeError, KeyError, IndexError, ValueError, ArithmeticError, MemoryError, cv2.error)


def apply(image: np.ndarray, plan: Plan) -> np.ndarray:
    """Degrade an image as the plan says; the image itself is left as it is.

    Args:
        image: uint8 [H, W, 3], RGB, of any size; plans are drawn for a square of `plan.size`, and where one resizes to
            `side` this image becomes side / plan.size times as large as it came, in both directions.
        plan: from `draw` or `Plan.from_json`.

    Returns:
        uint8 [H, W, 3], RGB. The same image and plan give the same pixels; on another kind of processor up to five
        values in 10^6 of a picture that was blurred with a large kernel (by Fourier transform) may be one level apart,
        and without AVX2 (fused multiply-add) up to two values in 10^5 of any blurred one.

    Raises:
        DataError: an image of another kind, or an operation that this version does not know; the field is named.
    """
    check_image(image)
    shape = image.shape[:2]
    result = carried(image, plan.operations, plan, shape)
    if result.shape[:2] != shape:
        raise DataError(f"plan {plan.digest} ends at {list(result.shape[:2])}, not at the image's {list(shape)}")
    return result.copy() if np.may_share_memory(result, image) else np.ascontiguousarray(result)


def carried(image: np.ndarray, operations: Sequence[Operation], plan: Plan, shape: tuple[int, int],
            functions: Mapping[str, Callable[..., np.ndarray]] = FUNCTIONS) -> np.ndarray:
    """Operations of a plan, one after another or fused, on an image that came as [*shape, 3].

    functions: what carries out an operation, by its name.

    Raises:
        DataError: as `carry_out`.
    """
    steps = list(operations)
    while steps:
        resize = steps[1] if fused(steps) else None
        image = carry_out(image, steps[0], plan, shape, resize, functions)
        del steps[:1 if resize is None else 2]
    return image


def fused(steps: Sequence[Operation]) -> bool:
    """Whether the first two are done in one go: a blur and the bilinear resize after it, which throws pixels away."""
    return (len(steps) > 1 and steps[0].name == "blur" and steps[1].name == "resize"
            and steps[1].values.get("interpolation", "linear") == "linear")


def check_image(image: np.ndarray) -> None:
    """Refuse what is not uint8 [H, W, 3] with at least one pixel.

    Raises:
        DataError: says what it is instead.
    """
    if not isinstance(image, np.ndarray):
        raise DataError(f"image: a NumPy array is needed, not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"image: uint8 [H, W, 3] with at least one pixel is needed, not {image.dtype} "
                        f"{list(image.shape)}")


def carry_out(image: np.ndarray, operation: Operation, plan: Plan, shape: tuple[int, int],
              resize: Operation | None = None,
              functions: Mapping[str, Callable[..., np.ndarray]] = FUNCTIONS) -> np.ndarray:
    """One operation of a plan on an image that came as [*shape, 3]; or a blur and the `resize` after it, see `fused`.

    Raises:
        DataError: an unknown operation, or parameters that it does not take.
    """
    function = functions.get(operation.name) if resize is None else blur_and_shrink
    if function is None:
        raise DataError(f"plan {plan.digest}: no operation {operation.name!r}; known: {', '.join(functions)}")
    try:
        values = arguments(operation, plan, shape)
        if resize is not None:
            values |= arguments(resize, plan, shape)
            values.pop("interpolation", None)
        return function(image, **values)
    except AnchorfaceError:
        raise
    except _FAULTS as error:
        raise DataError(f"plan {plan.digest}: {operation.name} with {operation.values}: {error}") from error


def arguments(operation: Operation, plan: Plan, shape: tuple[int, int]) -> dict[str, Any]:
    """The operation's parameters for an image that came as [*shape, 3]: a resize's side as height and width."""
    values = operation.values
    if operation.name == "resize":
        side = values.pop("side")
        if isinstance(side, str) or not 1 <= side <= MOST_ENLARGED * plan.size:
            raise DataError(f"plan {plan.digest}: resize.side is {side!r}, not 1 to {MOST_ENLARGED * plan.size} px")
        values["height"], values["width"] = (max(1, round(length * side / plan.size)) for length in shape)
    return values
