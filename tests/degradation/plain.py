"""Slow, plain references: every operation once more, straight from its formula. Levels are floats 0..255, unrounded.

`apply` carries a whole Plan out the way public code does: in floating point, with the dense kernel, at full size.
"""

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from anchorface.degradation import Plan

LUMA = np.array([0.299, 0.587, 0.114])


def bell(sigma_x: float, sigma_y: float, angle: float, kernel: int, kind: str = "gaussian",
         beta: float = 1.0) -> np.ndarray:
    """Real-ESRGAN's kernels with the inverse covariance, float64 [kernel, kernel]."""
    turn = math.radians(angle)
    axes = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    inverse = np.linalg.inv(axes @ np.diag([sigma_x**2, sigma_y**2]) @ axes.T)
    place = np.stack(np.meshgrid(*[np.arange(kernel) - kernel // 2] * 2), -1)
    distance = np.einsum("yxi,ij,yxj->yx", place, inverse, place)
    weights = {"gaussian": np.exp(-distance / 2), "generalised": np.exp(-(distance**beta) / 2),
               "plateau": 1 / (1 + distance**beta)}[kind]
    return weights / weights.sum()


def low_pass(cutoff: float, kernel: int) -> np.ndarray:
    """The circular low-pass as the mean of plane waves over a disc of frequencies, float64 [kernel, kernel].

    The formula's Bessel function is the transform of a disc: integrating over the disc's chords gives it again.
    """
    across = np.arange(kernel) - kernel // 2
    distance = np.hypot(across[None], across[:, None])
    angle = (np.arange(200) + 0.5) / 200 * math.pi
    # A chord of the disc at frequency c cos(a) is 2 c sin(a) long, and d(c cos(a)) = c sin(a) da.
    waves = np.cos(cutoff * np.cos(angle) * distance[..., None]) * np.sin(angle) ** 2
    weights = waves.mean(-1)
    return weights / weights.sum()


def convolved(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The dense sum, weight by weight, with a border mirrored about the outermost pixel; float32."""
    (height, width), (tall, wide) = image.shape[:2], kernel.shape
    padded = np.pad(image.astype(np.float32), ((tall // 2,) * 2, (wide // 2,) * 2, (0, 0)), mode="reflect")
    result = np.zeros(image.shape, np.float32)
    for y, x in np.ndindex(kernel.shape):
        if kernel[y, x]:
            result += np.float32(kernel[y, x]) * padded[y:y + height, x:x + width]
    return result


def resized(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Interpolation along both axes as products with matrices; pixel centres lie at half numbers."""
    down, across = (weights(*sides, interpolation) for sides in ((image.shape[0], height), (image.shape[1], width)))
    return np.einsum("iy,yxc,jx->ijc", down, image.astype(np.float64), across, optimize=True)


def weights(before: int, after: int, interpolation: str) -> np.ndarray:
    """What each sample after takes from each before, float64 [after, before]; rows sum to 1."""
    scale, pixel = before / after, np.arange(before)
    if interpolation == "area":
        left = np.arange(after)[:, None] * scale
        overlap = np.minimum(pixel + 1, left + scale) - np.maximum(pixel, left)
        return np.clip(overlap, 0, None) / scale
    if interpolation == "nearest":
        return (np.floor((np.arange(after) + 0.5) * scale)[:, None] == pixel).astype(np.float64)
    place = (np.arange(after) + 0.5) * scale - 0.5
    result = np.zeros((after, before))
    for offset in range(-1, 3):
        source = np.floor(place).astype(int) + offset
        distance = np.abs(place - source)
        share = np.clip(1 - distance, 0, None) if interpolation == "linear" else keys(distance)
        np.add.at(result, (np.arange(after), np.clip(source, 0, before - 1)), share)
    return result


def keys(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    """The cubic convolution kernel of Keys, 1981."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def hue_turned(image: np.ndarray, turn: float) -> np.ndarray:
    """Hue, saturation and value by their definition, and back."""
    values = image / 255.0
    value, chroma = values.max(-1), np.ptp(values, -1)
    red, green, blue = np.moveaxis(values, -1, 0)
    safe = np.where(chroma > 0, chroma, 1)
    sextant = np.where(value == red, ((green - blue) / safe) % 6,
                       np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4))
    sextant = (sextant + turn / 60) % 6
    place = (np.array([5, 3, 1]) + sextant[..., None]) % 6
    return 255 * (value[..., None] - chroma[..., None] * np.clip(np.minimum(place, 4 - place), 0, 1))


def contrasted(image: np.ndarray, factor: float) -> np.ndarray:
    """A blend with the mean luma."""
    return factor * image + (1 - factor) * (image @ LUMA).mean()


def saturated(image: np.ndarray, factor: float) -> np.ndarray:
    """A blend with the luma."""
    return factor * image + (1 - factor) * (image @ LUMA)[..., None]


def bytes_of(image: np.ndarray) -> np.ndarray:
    """Rounded and clipped."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int, subsampling: str = "420") -> np.ndarray:
    """OpenCV's libjpeg there and back."""
    assert subsampling == "420"
    encoded = cv2.imencode(".jpg", cv2.cvtColor(bytes_of(image), cv2.COLOR_RGB2BGR),
                           [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def noise(image: np.ndarray, level: float, seed: int, grey: int) -> np.ndarray:
    """Normal noise from NumPy's generator."""
    shape = (*image.shape[:2], 1) if grey else image.shape
    return np.clip(image + level * np.random.default_rng(seed).standard_normal(shape), 0, 255)


def poisson(image: np.ndarray, scale: float, seed: int, grey: int) -> np.ndarray:
    """What a count of photons, 256 in white, differs from its mean, times a scale."""
    levels = np.clip((image @ LUMA)[..., None] if grey else image.astype(np.float64), 0, 255)
    counts = np.random.default_rng(seed).poisson(levels * 256 / 255)
    return np.clip(image + scale * (counts * 255 / 256 - levels), 0, 255)


def filtered(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The dense sum as public code takes it, by OpenCV in float32."""
    return cv2.filter2D(image, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)


def sharpen(image: np.ndarray, amount: float, sigma: float, kernel: int, threshold: float) -> np.ndarray:
    """Real-ESRGAN's unsharp mask."""
    weights = bell(sigma, sigma, 0, kernel)
    blurred = filtered(image, weights)
    soft = filtered((np.abs(image - blurred) > threshold).astype(np.float32), weights)
    return soft * np.clip(image + amount * (image - blurred), 0, 255) + (1 - soft) * image


def _resize(image: np.ndarray, side: int, interpolation: str = "linear") -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation={
        "linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC,
        "nearest": cv2.INTER_NEAREST}[interpolation])


def _blur(image: np.ndarray, sigma_x: float, sigma_y: float, **bell_values: object) -> np.ndarray:
    return filtered(image, bell(max(sigma_x, 1e-3), max(sigma_y, 1e-3), **bell_values))  # type: ignore[arg-type]


OPERATIONS = {
    "blur": _blur,
    "sinc": lambda image, **values: filtered(image, low_pass(**values)),
    "sharpen": sharpen,
    "resize": _resize,
    "noise": lambda image, level, seed, grey=0: noise(image, level, seed, grey),
    "poisson": lambda image, scale, seed, grey=0: poisson(image, scale, seed, grey),
    "jpeg": jpeg,
    "shift_colour": lambda image, red, green, blue: np.clip(image + np.array([red, green, blue]), 0, 255),
    "grey": lambda image: np.repeat((image @ LUMA)[..., None], 3, -1),
    "brightness": lambda image, factor: np.clip(image * factor, 0, 255),
    "contrast": lambda image, factor: np.clip(contrasted(image, factor), 0, 255),
    "saturation": lambda image, factor: np.clip(saturated(image, factor), 0, 255),
    "hue": lambda image, turn: hue_turned(np.clip(image, 0, 255), turn),
}


def apply(image: np.ndarray, plan: Plan,
          operations: Mapping[str, Callable[..., np.ndarray]] = OPERATIONS) -> np.ndarray:
    """A whole plan for a square image of the plan's size, in float32 between the steps; uint8 at the end.

    Args:
        operations: the plain forms to use.

    Raises:
        KeyError: an operation without a plain form.
    """
    result = image.astype(np.float32)
    for operation in plan.operations:
        result = operations[operation.name](result, **operation.values).astype(np.float32)
    return bytes_of(result)
