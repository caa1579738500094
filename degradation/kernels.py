"""Blur kernels from their formulas: float32 [kernel, kernel], sum 1, row by row from the top; lengths in px.

What `operations.blur` convolves with, cheaply, and what an accelerator or a test may convolve with as it is.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import j1

from anchorface.records.errors import DataError

KINDS = ("gaussian", "generalised", "plateau")
LARGEST = 1023
"""Longest side of a kernel, px (our choice: far more than any profile draws)."""
SMALLEST_SIGMA = 1e-3
"""A narrower kernel is a single pixel anyway."""
SMALLEST_CUTOFF, LARGEST_CUTOFF = 1e-3, math.pi * math.sqrt(2)


def dense(name: str, **values: Any) -> np.ndarray:
    """The kernel of the operation `name` ("blur" or "sinc") with these parameters.

    Raises:
        DataError: no such kernel, or an impossible parameter, which is named.
    """
    if name not in _DENSE:
        raise DataError(f"no kernel {name!r}; known: {', '.join(_DENSE)}")
    return _DENSE[name](**values)


def blur(*, sigma_x: float, sigma_y: float, angle: float, kernel: int, kind: str = "gaussian",
         beta: float = 1.0) -> np.ndarray:
    """A bell over an ellipse. With q the squared distance from the centre in units of sigma along both axes:

        gaussian      exp(-q / 2)
        generalised   exp(-q^beta / 2)
        plateau       1 / (1 + q^beta)

    Args:
        sigma_x, sigma_y: along the first and the second axis, px, from 0.
        angle: of the first axis against the picture's x axis, degrees, towards y (downwards).
        kernel: odd side, px.
        kind, beta: above; beta is positive and means nothing to a Gaussian.

    Raises:
        DataError: an impossible parameter.

    Source: the kernels of Real-ESRGAN (arXiv 2107.10833, section 3.1); generalised Gaussian and plateau after
    arXiv 1701.00823.
    """
    check_blur(sigma_x=sigma_x, sigma_y=sigma_y, angle=angle, kernel=kernel, kind=kind, beta=beta)
    x, y = _grid(int(kernel))
    turn = math.radians(angle)
    first = (x * math.cos(turn) + y * math.sin(turn)) / max(sigma_x, SMALLEST_SIGMA)
    second = (y * math.cos(turn) - x * math.sin(turn)) / max(sigma_y, SMALLEST_SIGMA)
    square = first**2 + second**2
    if kind != "gaussian":
        with np.errstate(over="ignore"):
            square **= beta
    return _normal(1.0 / (1.0 + square) if kind == "plateau" else np.exp(-0.5 * square))


def check_blur(*, sigma_x: float, sigma_y: float, angle: float, kernel: int, kind: str, beta: float) -> None:
    """Refuse what `blur` cannot make.

    Raises:
        DataError: names the parameter.
    """
    _check_side("blur", kernel)
    for field, value in (("sigma_x", sigma_x), ("sigma_y", sigma_y)):
        if not 0 <= value < math.inf:
            raise DataError(f"blur.{field} is {value}; from 0 px up")
    if not math.isfinite(angle):
        raise DataError(f"blur.angle is {angle}; degrees are needed")
    if kind not in KINDS:
        raise DataError(f"blur.kind is {kind!r}; one of {', '.join(KINDS)}")
    if not 0 < beta < math.inf:
        raise DataError(f"blur.beta is {beta}; a positive number is needed")


def sinc(*, cutoff: float, kernel: int) -> np.ndarray:
    """The circular low-pass: in frequency a disc of radius `cutoff`, cut off at `kernel` px, so that it rings.

    Args:
        cutoff: radians per pixel, from 0.001; from pi times root 2 up a picture holds nothing to cut off.
        kernel: odd side, px.

    Raises:
        DataError: an impossible parameter.

    Source: Real-ESRGAN, equation 6: cutoff * J1(cutoff * distance) / (2 pi distance).
    """
    check_sinc(cutoff=cutoff, kernel=kernel)
    distance = np.hypot(*_grid(int(kernel)))
    centre = int(kernel) // 2
    distance[centre, centre] = 1.0
    weights = cutoff * j1(cutoff * distance) / (2 * math.pi * distance)
    weights[centre, centre] = cutoff**2 / (4 * math.pi)
    return _normal(weights)


def check_sinc(*, cutoff: float, kernel: int) -> None:
    """Refuse what `sinc` cannot make.

    Raises:
        DataError: names the parameter.
    """
    _check_side("sinc", kernel)
    if not SMALLEST_CUTOFF <= cutoff <= LARGEST_CUTOFF:
        raise DataError(f"sinc.cutoff is {cutoff}; from {SMALLEST_CUTOFF} to {LARGEST_CUTOFF:.3f} radians per pixel")


def _grid(kernel: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of every weight, px from the centre; float64 [1, kernel] and [kernel, 1]."""
    across = np.arange(kernel, dtype=np.float64) - kernel // 2
    return across[None], across[:, None]


def _normal(weights: np.ndarray) -> np.ndarray:
    return (weights / weights.sum()).astype(np.float32)


def _check_side(name: str, kernel: int) -> None:
    if kernel != int(kernel) or kernel % 2 != 1 or not 1 <= kernel <= LARGEST:
        raise DataError(f"{name}.kernel is {kernel}; an odd number of px from 1 to {LARGEST} is needed")


_DENSE: dict[str, Callable[..., np.ndarray]] = {"blur": blur, "sinc": sinc}
