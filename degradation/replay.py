"""Carrying a Plan out, and saying it in words. Images: uint8 [S, S, 3], RGB."""

from collections.abc import Callable

import numpy as np

from degradation import operations
from degradation.plan import Operation, Plan
from records.errors import DataError

_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (
        operations.blur, operations.resize, operations.noise, operations.jpeg, operations.shift_colour,
        operations.grey, operations.brightness, operations.contrast, operations.saturation, operations.hue,
    )
}


def apply(image: np.ndarray, plan: Plan) -> np.ndarray:
    """Degrade an image as the plan says; the image itself is left as it is.

    Args:
        image: uint8 [plan.size, plan.size, 3], RGB.
        plan: from `draw` or `Plan.from_json`.

    Returns:
        uint8 [plan.size, plan.size, 3], RGB. The same image and plan give the same pixels.

    Raises:
        DataError: an image of another kind or side, or an operation that this version does not know.
    """
    if image.dtype != np.uint8 or image.shape != (plan.size, plan.size, 3):
        raise DataError(
            f"plan {plan.digest} is for uint8 [{plan.size}, {plan.size}, 3], the image is {image.dtype} "
            f"{list(image.shape)}: draw a plan with size={image.shape[0]}, or resize the image")
    result = image
    for operation in plan.operations:
        result = _carry_out(result, operation, plan)
    return result.copy() if result is image else result


def _carry_out(image: np.ndarray, operation: Operation, plan: Plan) -> np.ndarray:
    function = _FUNCTIONS.get(operation.name)
    if function is None:
        raise DataError(f"plan {plan.digest}: no operation {operation.name!r}; known: {', '.join(_FUNCTIONS)}")
    try:
        return function(image, **operation.values)
    except TypeError as error:
        raise DataError(f"plan {plan.digest}: {operation.name} with {operation.values}: {error}") from error


def explain(plan: Plan) -> str:
    """The plan in words and units, one sentence."""
    parts, side = [], plan.size
    for operation in plan.operations:
        after = int(operation.values.get("side", side))
        if operation.name != "resize" or after != side:
            parts.append(_words(operation, side))
        side = after
    return f"{plan.profile} at {plan.size} px: " + ", ".join(parts)


def _words(operation: Operation, side: int) -> str:
    """One operation in words; side: of the image before it, px."""
    values = operation.values
    match operation.name:
        case "blur" if values["sigma_x"] == values["sigma_y"]:
            return f"round blur sigma {values['sigma_x']:.1f} px"
        case "blur":
            return (f"oval blur sigma {values['sigma_x']:.1f} x {values['sigma_y']:.1f} px "
                    f"at {values['angle']:.0f} degrees")
        case "resize" if values["side"] > side:
            return f"enlarged {values['side'] / side:.1f} times to {values['side']} px"
        case "resize":
            return f"shrunk {side / values['side']:.1f} times to {values['side']} px"
        case "noise":
            return f"noise of {values['level']:.1f} levels"
        case "jpeg":
            return f"JPEG quality {values['quality']}"
        case "shift_colour":
            return "colour shifted by {red:+.0f} {green:+.0f} {blue:+.0f} levels".format(**values)
        case "grey":
            return "grey"
        case "hue":
            return f"hue turned by {values['turn']:+.0f} degrees"
        case name:
            return " ".join([name, *(f"times {v:.2f}" if k == "factor" else f"{k} {v}" for k, v in values.items())])
