"""Boxes of faces: x0, y0, x1, y1 in pixels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shared(box: ArrayLike, boxes: ArrayLike, *, of_smaller: bool = False) -> NDArray[np.float64]:
    """Intersection over union (or over the smaller one) of one box [4] with boxes [N, 4], 0..1: float64 [N]."""
    one, others = np.asarray(box, np.float64), np.asarray(boxes, np.float64).reshape(-1, 4)
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(np.maximum(others[:, 2:] - others[:, :2], 0), axis=1)
    own = np.prod(np.maximum(one[2:] - one[:2], 0))
    whole = np.minimum(own, areas) if of_smaller else own + areas - both
    return np.asarray(both / np.maximum(whole, 1e-12), np.float64)


def suppress(boxes: NDArray[np.float64], scores: NDArray[np.float32], overlap: float, *,
             of_smaller: bool = False) -> list[int]:
    """Greedy non-maximum suppression: the indices that are kept, best first. overlap: what two may share."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[shared(boxes[best], boxes[order], of_smaller=of_smaller) <= overlap]
    return kept
