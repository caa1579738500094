"""Other sizes. Images: uint8 [H, W, 3]."""

import cv2
import numpy as np

INTERPOLATIONS = {"linear": cv2.INTER_LINEAR_EXACT, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC,
                  "nearest": cv2.INTER_NEAREST_EXACT}


def resize(image: np.ndarray, *, height: int, width: int, interpolation: str = "linear") -> np.ndarray:
    """Resize without low-pass, except for `area` (the formula's blur stands for it).

    Args:
        image: uint8 [H, W, 3].
        height, width: of the result, px. In a plan there stands `side` instead; see `degradation.replay`.
        interpolation: linear (bit-exact on every processor), area, cubic or nearest.
    """
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=INTERPOLATIONS[interpolation])


def _words(*, side: int, before: int, interpolation: str = "linear") -> str:
    how = "" if interpolation == "linear" else f" ({interpolation})"
    if side > before:
        return f"enlarged {side / before:.1f} times to {side} px{how}"
    return f"shrunk {before / side:.1f} times to {side} px{how}"


OPERATIONS = (resize,)
WORDS = {"resize": _words}
