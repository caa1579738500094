"""Blur by a kernel that a few numbers state. Images: uint8 [H, W, 3]."""

import cv2
import numpy as np


def blur(image: np.ndarray, *, sigma_x: float, sigma_y: float, angle: float, kernel: int) -> np.ndarray:
    """Gaussian blur, truncated to `kernel` x `kernel` pixels, mirrored at the border.

    Args:
        image: uint8 [H, W, 3].
        sigma_x: standard deviation along the first axis, px.
        sigma_y: the same along the second axis, px; equal to `sigma_x` means isotropic (separable, 10 times faster).
        angle: of the first axis against the picture's x axis, degrees.
        kernel: odd side of the kernel, px.
    """
    if sigma_x == sigma_y:
        sigma = max(sigma_x, 1e-3)
        return cv2.GaussianBlur(image, (kernel, kernel), sigma, sigmaY=sigma, hint=cv2.ALGO_HINT_ACCURATE)
    return cv2.filter2D(image, -1, anisotropic_kernel(sigma_x, sigma_y, angle, kernel))


def anisotropic_kernel(sigma_x: float, sigma_y: float, angle: float, kernel: int) -> np.ndarray:
    """A rotated Gaussian, float32 [kernel, kernel], sum 1. Units as in `blur`."""
    across = np.arange(kernel, dtype=np.float64) - kernel // 2
    x, y = np.meshgrid(across, across)
    turn = np.deg2rad(angle)
    first, second = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    weights = np.exp(-0.5 * ((first / max(sigma_x, 1e-3)) ** 2 + (second / max(sigma_y, 1e-3)) ** 2))
    return (weights / weights.sum()).astype(np.float32)


def _words(*, sigma_x: float, sigma_y: float, angle: float, kernel: int) -> str:
    if sigma_x == sigma_y:
        return f"round blur sigma {sigma_x:.1f} px"
    return f"oval blur sigma {sigma_x:.1f} x {sigma_y:.1f} px at {angle:.0f} degrees"


OPERATIONS = (blur,)
WORDS = {"blur": _words}
