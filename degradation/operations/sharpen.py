"""Sharpening, as cameras and editors do it before a picture is shared. Images: uint8 [H, W, 3]."""

import cv2
import numpy as np

from anchorface.degradation.operations.blur import blur
from anchorface.records.errors import DataError


def sharpen(image: np.ndarray, *, amount: float, sigma: float, kernel: int, threshold: float) -> np.ndarray:
    """Unsharp mask: away from the blurred picture where the two differ by more than a threshold, softly elsewhere.

        sharp = clip(x + amount (x - blur(x)))        soft = blur(|x - blur(x)| > threshold)
        result = soft sharp + (1 - soft) x            channel by channel

    Args:
        image: uint8 [H, W, 3].
        amount: 0 leaves the picture as it is; to 10.
        sigma, kernel: of both round Gaussian blurs, px; as in `blur`.
        threshold: 8-bit levels, 0..255.

    Raises:
        DataError: an impossible parameter.

    Source: Real-ESRGAN, section 3.4 and `USMSharp`.
    """
    for field, value, high in (("amount", amount, 10), ("threshold", threshold, 255)):
        if not 0 <= value <= high:
            raise DataError(f"sharpen.{field} is {value}; from 0 to {high}")
    blurred = blur(image, sigma_x=sigma, sigma_y=sigma, angle=0.0, kernel=kernel)
    # Both are whole levels, so that more than the threshold means more than its floor.
    _, edges = cv2.threshold(cv2.absdiff(image, blurred), int(threshold), 255, cv2.THRESH_BINARY)
    soft = blur(edges, sigma_x=sigma, sigma_y=sigma, angle=0.0, kernel=kernel)
    sharp = cv2.addWeighted(image, 1.0 + amount, blurred, -amount, 0)
    gain = cv2.subtract(sharp, image, dtype=cv2.CV_16S)
    # Of one type: OpenCV multiplies mixed ones seven times slower.
    return cv2.add(image, cv2.multiply(gain, soft.astype(np.int16), scale=1 / 255), dtype=cv2.CV_8U)


OPERATIONS = (sharpen,)
WORDS = {"sharpen": "sharpened by {amount:.1f} over {sigma:.1f} px"}
