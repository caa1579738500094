"""Exact nearest neighbours by blocks of matrix products.

Embeddings: unit float32 [N, D]. Cosines: float32. Memory stays at BLOCK x COLUMNS cosines whatever N is.
"""

from collections.abc import Iterable

import numpy as np

BLOCK = 512
COLUMNS = 8192


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32 [N, D]; a zero row stays zero."""
    values = np.asarray(embeddings, dtype=np.float32)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.maximum(length, np.float32(1e-12))


def nearest(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of a table that arrives in blocks.

    Args:
        queries: unit [Q, D].
        blocks: unit [n_i, D] each; row numbers count through all blocks.
        k: neighbours per query; fewer columns come back if the table has fewer rows.

    Returns:
        Row numbers int64 [Q, k] and cosines float32 [Q, k], nearest first; equal cosines in row order.
    """
    rows = np.empty((len(queries), 0), np.int64)
    cosines = np.empty((len(queries), 0), np.float32)
    start = 0
    for block in blocks:
        fresh = queries @ block.T
        numbers = np.broadcast_to(np.arange(start, start + len(block)), fresh.shape)
        if fresh.shape[1] > 4 * k:
            part = np.sort(np.argpartition(-fresh, k, axis=1)[:, :k], axis=1)
            fresh, numbers = np.take_along_axis(fresh, part, 1), np.take_along_axis(numbers, part, 1)
        cosines, rows = np.concatenate([cosines, fresh], 1), np.concatenate([rows, numbers], 1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        cosines, rows = np.take_along_axis(cosines, order, 1), np.take_along_axis(rows, order, 1)
        start += len(block)
    return rows, cosines


def neighbours(embeddings: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row's k nearest other rows: numbers int64 [N, k] and cosines float32 [N, k], nearest first."""
    count = len(embeddings)
    k = min(k, count - 1)
    rows, cosines = np.empty((count, k), np.int64), np.empty((count, k), np.float32)
    for start in range(0, count, BLOCK):
        part = slice(start, min(start + BLOCK, count))
        found, values = nearest(embeddings[part], _blocks(embeddings), k + 1)
        # A row finds itself, though not always first (exact duplicates): drop it, or else the farthest.
        other = found != np.arange(part.start, part.stop)[:, None]
        other[other.all(axis=1), -1] = False
        rows[part], cosines[part] = found[other].reshape(-1, k), values[other].reshape(-1, k)
    return rows, cosines


def _blocks(embeddings: np.ndarray) -> Iterable[np.ndarray]:
    for start in range(0, len(embeddings), COLUMNS):
        yield embeddings[start : start + COLUMNS]
