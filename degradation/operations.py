"""The steps of a degradation, as pure functions: uint8 [H, W, 3] RGB in, uint8 [h, w, 3] RGB out.

Each function takes the image, then numbers by name; the numbers stand in a Plan. Everything works on 8-bit values
with rounding after each step (our choice: the step after it is at least as coarse, and OpenCV's 8-bit Gaussian and
exact linear resize give the same bits on every processor and for every number of threads).
"""

import cv2
import numpy as np
import simplejpeg

LUMA = (0.299, 0.587, 0.114)


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


def resize(image: np.ndarray, *, side: int) -> np.ndarray:
    """Linear resize to `side` x `side` pixels, without low-pass (the formula's blur stands for it)."""
    if image.shape[0] == side and image.shape[1] == side:
        return image
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR_EXACT)


def noise(image: np.ndarray, *, level: float, seed: int) -> np.ndarray:
    """White Gaussian noise, independent per pixel and channel.

    Args:
        image: uint8 [H, W, 3].
        level: standard deviation in 8-bit levels.
        seed: the field is NumPy's PCG64(seed).standard_normal(H x W x 3, float32), row by row.
    """
    field = np.random.Generator(np.random.PCG64(int(seed))).standard_normal(image.shape, dtype=np.float32)
    field *= np.float32(level)
    field += image
    return _to_bytes(field)


def jpeg(image: np.ndarray, *, quality: int) -> np.ndarray:
    """JPEG there and back: libjpeg's slow integer transform, 4:2:0 chroma, quality 1..100."""
    encoded = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=int(quality), colorspace="RGB", colorsubsampling="420", fastdct=False)
    return simplejpeg.decode_jpeg(encoded, colorspace="RGB", fastdct=False, fastupsample=False)


def shift_colour(image: np.ndarray, *, red: float, green: float, blue: float) -> np.ndarray:
    """Add a constant to each channel, in 8-bit levels."""
    return _to_bytes(image + np.array([red, green, blue], np.float32))


def grey(image: np.ndarray) -> np.ndarray:
    """Luma in all three channels."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def brightness(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Multiply by `factor`."""
    return _to_bytes(image * np.float32(factor))


def contrast(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Blend with the mean luma: 0 is flat, 1 unchanged."""
    mean = float(image.reshape(-1, 3).mean(axis=0) @ np.array(LUMA))
    return _to_bytes(image * np.float32(factor) + np.float32((1.0 - factor) * mean))


def saturation(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Blend with the grey picture: 0 is grey, 1 unchanged."""
    luma = image.astype(np.float32) @ np.array(LUMA, np.float32)
    return _to_bytes(image * np.float32(factor) + (np.float32(1.0 - factor) * luma)[..., None])


def hue(image: np.ndarray, *, turn: float) -> np.ndarray:
    """Rotate the hue by `turn` degrees."""
    values = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2HSV)
    values[..., 0] = (values[..., 0] + np.float32(turn)) % np.float32(360)
    return _to_bytes(cv2.cvtColor(values, cv2.COLOR_HSV2RGB) * np.float32(255))


def _to_bytes(values: np.ndarray) -> np.ndarray:
    np.rint(values, out=values)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)
