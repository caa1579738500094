"""The threshold for `cluster`, read off the data without labels (our choice).

Joined by average linkage down to strangers' level, a collection shows two kinds of joinings: within a person, high,
and between persons, low. Where the embedder tells these people apart, a valley lies between the two humps, and it
lies elsewhere for each embedder and collection (a studio's portraits are more alike than a family's album). The
threshold is the bottom of the clearest valley in the smoothed heights.

Faces that stand in one photo are different people: where there are enough such pairs, the threshold is kept above
nearly all of them. Where there is no valley (too few faces, one person, nobody twice, a weak embedder) a fixed
threshold is used and the reason says so: look at the result then, or give labels.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from identity_index.cluster import joining_heights
from identity_index.neighbours import nearest, unit
from records.errors import DataError

FALLBACK = 0.4
SMALLEST = 20
LARGEST = 4096
SMOOTHING = 0.03
CLEAR = 0.75
HIGHEST = 0.75
GRID_STEP = 0.002


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A threshold and how far to trust it.

    depth: joinings at the valley over those at the lower of the two humps, 0 (a clean gap) to 1 (no valley).
    reason: a few words for the log and the page.
    """

    threshold: float
    depth: float
    reason: str


def calibrate(embeddings: np.ndarray, photo_ids: Sequence[str], *, fallback: float = FALLBACK) -> Calibration:
    """Choose the smallest mean cosine at which two groups of faces are one person.

    Args:
        embeddings: [N, D].
        photo_ids: the photo of each face, N.
        fallback: the threshold where the data show no valley.

    Returns:
        The threshold with its reason. The order of the rows does not matter. More than 4096 faces are represented
        by evenly spread ones with their nearest neighbours.

    Raises:
        DataError: columns of different lengths.
    """
    vectors = unit(embeddings)
    if len(vectors) != len(photo_ids):
        raise DataError(f"calibration: {len(vectors)} embeddings for {len(photo_ids)} photo ids")
    if len(vectors) < SMALLEST:
        return Calibration(threshold=fallback, depth=1.0, reason=f"default: fewer than {SMALLEST} faces")
    order = np.lexsort(vectors.T[:2])
    vectors, photos = vectors[order], [photo_ids[row] for row in order]
    if len(vectors) > LARGEST:
        seeds = np.linspace(0, len(vectors) - 1, LARGEST // 16).astype(np.int64)
        sample = np.unique(nearest(vectors[seeds], (vectors,), 16)[0])
        vectors, photos = vectors[sample], [photos[row] for row in sample]
    strangers = _mean_cosine(vectors)
    heights = joining_heights(vectors, photos, lowest=strangers)
    found = _valley(heights, strangers)
    if found is None:
        return Calibration(threshold=fallback, depth=1.0, reason="default: no valley between two humps")
    threshold, depth = found
    reason = f"valley of {len(heights)} joinings, {depth:.0%} as high as the lower hump"
    together = _together(vectors, photos)
    if len(together) >= SMALLEST and (floor := float(np.quantile(together, 0.95))) > threshold:
        threshold, reason = floor, f"95 % of {len(together)} pairs within a photo lie below"
    return Calibration(threshold=round(threshold, 3), depth=round(depth, 3), reason=reason)


def calibrate_threshold(embeddings: np.ndarray, photo_ids: Sequence[str], *, fallback: float = FALLBACK) -> float:
    """The threshold of `calibrate` alone."""
    return calibrate(embeddings, photo_ids, fallback=fallback).threshold


def _mean_cosine(vectors: np.ndarray) -> float:
    """Of all pairs: nearly all pairs of a collection are strangers, so this is their level."""
    total, count = vectors.sum(axis=0, dtype=np.float64), len(vectors)
    return float((total @ total - count) / (count * (count - 1)))


def _together(vectors: np.ndarray, photos: Sequence[str]) -> np.ndarray:
    """Cosines of all pairs within a photo."""
    rows = defaultdict(list)
    for row, photo in enumerate(photos):
        rows[photo].append(row)
    cosines = []
    for members in rows.values():
        block = vectors[members]
        cosines.append((block @ block.T)[np.triu_indices(len(members), 1)])
    return np.concatenate(cosines)


def _valley(heights: np.ndarray, strangers: float) -> tuple[float, float] | None:
    """The bottom of the clearest valley and its depth; None where there is none.

    Clearest by the square roots of smoothed counts, whose noise is the same at every height. Valleys above
    three quarters of the way from strangers to copies only part copies from photographs, not persons.
    """
    if len(heights) < SMALLEST // 2:
        return None
    grid = np.arange(heights.min() - 3 * SMOOTHING, heights.max() + 3 * SMOOTHING, GRID_STEP)
    counts = np.sqrt(2) * np.exp(-0.5 * ((grid[:, None] - heights) / SMOOTHING) ** 2).sum(axis=1)
    left, right = np.maximum.accumulate(counts), np.maximum.accumulate(counts[::-1])[::-1]
    rise = np.sqrt(np.minimum(left, right)) - np.sqrt(counts)
    rise[grid > strangers + HIGHEST * (1.0 - strangers)] = 0.0
    best = rise.max()
    if best < CLEAR:
        return None
    # A wide gap is flat: its middle, not its first point.
    bottom = int(np.median(np.flatnonzero(rise > best - 0.05)))
    return float(grid[bottom]), float(counts[bottom] / min(left[bottom], right[bottom]))
