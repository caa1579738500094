"""What lies before the camera or beside the face: a crop that missed, haze, damage that differs from place to place.

Images: uint8 [H, W, 3].
"""

import math

import cv2
import numpy as np

from anchorface.degradation.operations.blur import blur
from anchorface.degradation.operations.compression import jpeg
from anchorface.degradation.operations.noise import noise
from anchorface.degradation.operations.resize import resize
from anchorface.records.errors import DataError


def shift(image: np.ndarray, *, x: int, y: int) -> np.ndarray:
    """Move the picture; what comes in is its mirror image, the outermost pixels twice.

    Args:
        image: uint8 [H, W, 3].
        x: to the right, px. y: down, px. Beyond a picture's side the mirror is mirrored again.

    Raises:
        DataError: not whole numbers.

    Source: RestoreFormer++, `shift_prob`.
    """
    for field, value in (("x", x), ("y", y)):
        if value != int(value):
            raise DataError(f"shift.{field} is {value}; a whole number of px is needed")
    height, width = image.shape[:2]
    # Mirrored at both ends, a row repeats itself after twice its length.
    down, right = (int(step + side) % (2 * side) - side for step, side in ((y, height), (x, width)))
    padded = cv2.copyMakeBorder(image, max(down, 0), max(-down, 0), max(right, 0), max(-right, 0), cv2.BORDER_REFLECT)
    return np.ascontiguousarray(padded[max(-down, 0):, max(-right, 0):][:height, :width])


def haze(image: np.ndarray, *, alpha: float) -> np.ndarray:
    """A white veil: alpha of the picture is left, 0..1.

    Raises:
        DataError: another alpha.

    Source: RestoreFormer++, `hazy_prob`.
    """
    if not 0 <= alpha <= 1:
        raise DataError(f"haze.alpha is {alpha}; from 0 to 1")
    return cv2.LUT(image, np.rint(255 + alpha * (np.arange(256) - 255.0)).astype(np.uint8))


def uneven(image: np.ndarray, *, x: int, y: int, side: int, edge: float,
           inside_sigma_x: float, inside_sigma_y: float, inside_angle: float, inside_kernel: int, inside_alpha: float,
           inside_shrink: float, inside_level: float, inside_seed: int, inside_quality: int,
           outside_sigma_x: float, outside_sigma_y: float, outside_angle: float, outside_kernel: int,
           outside_alpha: float, outside_shrink: float, outside_level: float, outside_seed: int,
           outside_quality: int) -> np.ndarray:
    """Two degradations of one picture, each by the first-order formula: one inside a square and one around it.

    Args:
        image: uint8 [H, W, 3].
        x, y: the square's left and upper end, px from the picture's; what lies outside the picture is no matter.
        side: of the square, px, from 0.
        edge: width of the blend between the two, px; 0 is a hard edge.
        *_sigma_x, *_sigma_y, *_angle, *_kernel: as in `blur`.
        *_alpha: as in `haze`; 1 is no haze.
        *_shrink: the size before over the size after, 1/16..1024; back to size at the end.
        *_level, *_seed: as in `noise`. *_quality: as in `jpeg`.

    Raises:
        DataError: an impossible parameter; a blur's, a noise's and a JPEG's is named as theirs.

    Source: RestoreFormer++, `uneven_prob`: two independent draws and a hard square; the soft edge is our choice.
    """
    if not (side >= 0 and 0 <= edge < math.inf):
        raise DataError(f"uneven.side is {side} and uneven.edge is {edge}; both from 0 px up")
    inside = _first_order(image, inside_sigma_x, inside_sigma_y, inside_angle, inside_kernel, inside_alpha,
                          inside_shrink, inside_level, inside_seed, inside_quality, "inside")
    outside = _first_order(image, outside_sigma_x, outside_sigma_y, outside_angle, outside_kernel, outside_alpha,
                           outside_shrink, outside_level, outside_seed, outside_quality, "outside")
    height, width = image.shape[:2]
    share = _ramp(height, y, side, edge)[:, None] * _ramp(width, x, side, edge)
    return cv2.blendLinear(inside, outside, share, 1 - share)


def _first_order(image: np.ndarray, sigma_x: float, sigma_y: float, angle: float, kernel: int, alpha: float,
                 shrink: float, level: float, seed: int, quality: int, where: str) -> np.ndarray:
    if not 1 / 16 <= shrink <= 1024:
        raise DataError(f"uneven.{where}_shrink is {shrink}; from 1/16 to 1024")
    height, width = image.shape[:2]
    result = blur(image, sigma_x=sigma_x, sigma_y=sigma_y, angle=angle, kernel=kernel)
    if alpha != 1:
        result = haze(result, alpha=alpha)
    result = resize(result, height=max(1, round(height / shrink)), width=max(1, round(width / shrink)))
    result = jpeg(noise(result, level=level, seed=seed), quality=quality)
    return resize(result, height=height, width=width)


def _ramp(length: int, start: float, side: float, edge: float) -> np.ndarray:
    """1 from `start` for `side` px, 0 beyond, a straight line of `edge` px across both ends; float32 [length]."""
    middle = np.arange(length) + 0.5
    inwards = np.minimum(middle - start, start + side - middle)
    return np.clip(inwards / max(edge, 1e-6) + 0.5, 0, 1).astype(np.float32)


def _uneven_words(*, x: int, y: int, side: int, edge: float, **values: float) -> str:
    def branch(where: str) -> str:
        veil = f", haze {values[where + '_alpha']:.2f}" if values[where + "_alpha"] != 1 else ""
        return (f"blur {values[where + '_sigma_x']:.1f} x {values[where + '_sigma_y']:.1f} px{veil}, "
                f"shrunk {values[where + '_shrink']:.1f} times, noise of {values[where + '_level']:.1f} levels, "
                f"JPEG quality {values[where + '_quality']:.0f}")
    return f"uneven: in a square of {side} px at {x} {y} ({branch('inside')}), around it ({branch('outside')})"


OPERATIONS = (shift, haze, uneven)
WORDS = {"shift": "moved by {x:+d} {y:+d} px", "haze": "haze of {alpha:.2f}", "uneven": _uneven_words}
