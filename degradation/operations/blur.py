"""Blur by a kernel that a few numbers state. Images: uint8 [H, W, 3]."""

import math
from typing import Any

import numpy as np

from anchorface.degradation import kernels
from anchorface.degradation.convolution import convolve, convolve_and_shrink

__all__ = ["OPERATIONS", "WORDS", "blur", "blur_and_shrink", "convolve", "sinc"]


def blur(image: np.ndarray, *, sigma_x: float, sigma_y: float, angle: float, kernel: int, kind: str = "gaussian",
         beta: float = 1.0) -> np.ndarray:
    """Blur with a bell over an ellipse, cut off at `kernel` x `kernel` pixels, mirrored at the border.

    Args:
        image: uint8 [H, W, 3].
        sigma_x: extent along the first axis, px; a Gaussian's standard deviation.
        sigma_y: the same along the second axis, px; equal to `sigma_x` means round.
        angle: of the first axis against the picture's x axis, degrees.
        kernel: odd side of the kernel, px.
        kind: gaussian, generalised (with the exponent `beta`) or plateau, as in `degradation.kernels.blur`.
        beta: shape of the two latter; a generalised Gaussian of 1 is the Gaussian.

    Raises:
        DataError: an impossible parameter, which is named.
    """
    return convolve(image, kernels.blur(
        sigma_x=sigma_x, sigma_y=sigma_y, angle=angle, kernel=kernel, kind=kind, beta=beta))


def blur_and_shrink(image: np.ndarray, *, height: int, width: int, **bell: Any) -> np.ndarray:
    """`blur` with the parameters `bell`, then a bilinear `resize`, at the price of what is left after it."""
    return convolve_and_shrink(image, kernels.blur(**bell), height=height, width=width)


def sinc(image: np.ndarray, *, cutoff: float, kernel: int) -> np.ndarray:
    """The circular low-pass that rings at edges, as of resizing and compressing.

    Args:
        image: uint8 [H, W, 3].
        cutoff: radians per pixel, 0.001 to pi.
        kernel: odd side of the kernel, px.

    Raises:
        DataError: an impossible parameter, which is named.

    Source: Real-ESRGAN, arXiv 2107.10833, section 3.2.
    """
    return convolve(image, kernels.sinc(cutoff=cutoff, kernel=kernel))


def _blur_words(*, sigma_x: float, sigma_y: float, angle: float, kernel: int, kind: str = "gaussian",
                beta: float = 1.0) -> str:
    shape = {"gaussian": "", "generalised": f"generalised (beta {beta:.2g}) ", "plateau": f"plateau (beta {beta:.2g}) "}
    if sigma_x == sigma_y:
        return f"round {shape[kind]}blur sigma {sigma_x:.1f} px"
    return f"oval {shape[kind]}blur sigma {sigma_x:.1f} x {sigma_y:.1f} px at {angle:.0f} degrees"


def _sinc_words(*, cutoff: float, kernel: int) -> str:
    return f"sinc low-pass from {cutoff / (2 * math.pi):.2f} cycles per px over {kernel} px"


OPERATIONS = (blur, sinc)
WORDS = {"blur": _blur_words, "sinc": _sinc_words}
