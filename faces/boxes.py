"""Boxes of faces: x0, y0, x1, y1 in pixels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shared(box: ArrayLike, boxes: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of one box [4] with boxes [N, 4], 0..1: float64 [N]."""
    one, others = np.asarray(box, np.float64), np.asarray(boxes, np.float64).reshape(-1, 4)
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(np.maximum(others[:, 2:] - others[:, :2], 0), axis=1)
    union = np.prod(np.maximum(one[2:] - one[:2], 0)) + areas - both
    return np.asarray(both / np.maximum(union, 1e-12), np.float64)
