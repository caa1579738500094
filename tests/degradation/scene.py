"""What the tests of degradation share: a scene, plans by position, and a hash of pixels."""

import hashlib

import cv2
import numpy as np

from anchorface.degradation import Plan, apply, draw
from anchorface.records import rng


def picture(height: int, width: int | None = None) -> np.ndarray:
    """A deterministic scene with soft and sharp edges at every scale, made of whole numbers only.

    Returns:
        uint8 [height, width, 3]; square if no width is given.
    """
    width = height if width is None else width
    y, x = np.mgrid[0:height, 0:width]
    y, x = y * 512 // height, x * 512 // width
    rings = ((x - 250) ** 2 + (y - 200) ** 2) // 900 % 3 * 70
    stripes = (x // 24 + y // 40) % 2 * 60
    shade = (x + 2 * y) // 12 % 128
    channels = (rings + shade // 2, stripes + shade, 255 - rings - stripes // 2)
    return np.stack(channels, axis=2).clip(0, 255).astype(np.uint8)


def clip(frames: int, side: int) -> np.ndarray:
    """The scene out of focus, as it goes by, two pixels a frame; uint8 [frames, side, side, 3]."""
    soft = cv2.resize(cv2.GaussianBlur(picture(512), (0, 0), 8), (side, side), interpolation=cv2.INTER_AREA)
    return np.stack([np.roll(soft, 2 * place, axis=1) for place in range(frames)])


def plans(name: str, count: int, size: int = 512) -> list[Plan]:
    """Plans of the first positions of seed 0."""
    return [draw(name, rng(0, "degradation", position), size) for position in range(count)]


def sha(image: np.ndarray) -> str:
    """SHA-256 of the pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def damage_apart(name: str, large: np.ndarray, count: int) -> float:
    """How much less a 512 px picture is damaged than the same at 128 px: mean difference of PSNR over plans, dB.

    Args:
        large: uint8 [512, 512, 3]; its damage is measured at 128 px.
    """
    small = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)

    def psnr(position: int, image: np.ndarray) -> float:
        result = apply(image, draw(name, rng(0, "damage", position), len(image)))
        result = cv2.resize(result, (128, 128), interpolation=cv2.INTER_AREA)
        return 10 * np.log10(255**2 / np.mean((result.astype(np.float64) - small) ** 2))

    return float(np.mean([psnr(position, large) - psnr(position, small) for position in range(count)]))
