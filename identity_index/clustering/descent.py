"""A neighbour graph made better by asking neighbours for theirs: a neighbour of a neighbour is likely a neighbour.

Source: Dong, Moses, Li 2011, NN-descent; one round at a time, on the best FEW edges of each row and those that point
to it.
"""

import numpy as np
from numpy.typing import NDArray

FEW = 10
ROWS = 512
PAIRS = 65_536

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


def descend(embeddings: np.ndarray, rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> Found:
    """One round: each row is compared with the neighbours of its neighbours.

    Args:
        embeddings: unit float32 [N, D].
        rows, cosines: a graph [N, k], nearest first, padded with -1 and -inf.

    Returns:
        A graph of the same shape in which no neighbour is worse.
    """
    near = _both_ways(rows[:, :FEW], cosines[:, :FEW])
    better_rows, better_cosines = np.empty_like(rows), np.empty_like(cosines)
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        own = np.arange(start, start + len(rows[part]))[:, None]
        asked = near[near[part]].reshape(len(own), -1)
        known = rows.shape[1]
        numbers = np.concatenate([rows[part], asked], 1)
        order = np.argsort(numbers, axis=1, kind="stable")
        ordered = np.take_along_axis(numbers, order, 1)
        fresh = order >= known
        fresh[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
        fresh &= ordered != own
        values = np.full(numbers.shape, -np.inf, np.float32)
        values[:, :known] = cosines[part]
        values = np.take_along_axis(values, order, 1)
        one, place = np.nonzero(fresh)
        values[one, place] = _cosines(embeddings, one + start, ordered[one, place])
        # In order of row number, so equal cosines stay in that order.
        best = np.argsort(-values, axis=1, kind="stable")[:, :known]
        better_cosines[part] = np.take_along_axis(values, best, 1)
        better_rows[part] = np.where(better_cosines[part] == -np.inf, -1, np.take_along_axis(ordered, best, 1))
    return better_rows, better_cosines


def _both_ways(rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> NDArray[np.int64]:
    """[N, 2 FEW]: each row's edges and the nearest of those that point to it; the row itself pads."""
    count, few = rows.shape
    source, place = np.nonzero(rows >= 0)
    target = rows[source, place]
    order = np.lexsort((source, -cosines[source, place], target))
    source, target = source[order], target[order]
    rank = np.arange(len(target)) - np.searchsorted(target, target)
    kept = rank < few
    result = np.repeat(np.arange(count)[:, None], 2 * few, axis=1)
    result[:, :few] = np.where(rows >= 0, rows, result[:, :few])
    result[target[kept], few + rank[kept]] = source[kept]
    return result


def _cosines(embeddings: np.ndarray, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.float32]:
    found = np.empty(len(one), np.float32)
    for start in range(0, len(one), PAIRS):
        part = slice(start, start + PAIRS)
        found[part] = np.vecdot(embeddings[one[part]], embeddings[two[part]])
    return found
