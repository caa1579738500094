"""Carrying a Plan out. Images: uint8 [H, W, 3], RGB."""

import numpy as np

from degradation.operations import FUNCTIONS
from degradation.plan import Operation, Plan
from records.errors import DataError


def apply(image: np.ndarray, plan: Plan) -> np.ndarray:
    """Degrade an image as the plan says; the image itself is left as it is.

    Args:
        image: uint8 [H, W, 3], RGB, of any size; plans are drawn for a square of `plan.size`, and where one resizes to
            `side` this image becomes side / plan.size times as large as it came, in both directions.
        plan: from `draw` or `Plan.from_json`.

    Returns:
        uint8 [H, W, 3], RGB. The same image and plan give the same pixels.

    Raises:
        DataError: an image of another kind, or an operation that this version does not know; the field is named.
    """
    check_image(image)
    result, shape = image, image.shape[:2]
    for operation in plan.operations:
        result = carry_out(result, operation, plan, shape)
    if result.shape[:2] != shape:
        raise DataError(f"plan {plan.digest} ends at {list(result.shape[:2])}, not at the image's {list(shape)}")
    return result.copy() if np.may_share_memory(result, image) else np.ascontiguousarray(result)


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


def carry_out(image: np.ndarray, operation: Operation, plan: Plan, shape: tuple[int, int]) -> np.ndarray:
    """One operation of a plan on an image that came as [*shape, 3].

    Raises:
        DataError: an unknown operation, or parameters that it does not take.
    """
    function = FUNCTIONS.get(operation.name)
    if function is None:
        raise DataError(f"plan {plan.digest}: no operation {operation.name!r}; known: {', '.join(FUNCTIONS)}")
    values = operation.values
    try:
        if operation.name == "resize":
            side = values.pop("side")
            values["height"], values["width"] = (max(1, round(length * side / plan.size)) for length in shape)
        return function(image, **values)
    except (TypeError, KeyError) as error:
        raise DataError(f"plan {plan.digest}: {operation.name} with {operation.values}: {error}") from error
