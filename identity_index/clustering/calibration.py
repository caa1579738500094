"""The threshold for `cluster`, read off the data without labels (our choice).

Joined by average linkage down to strangers' level, a collection shows two kinds of joinings: within a person, high,
and between persons, low. Where the embedder tells these people apart, a valley lies between the two humps, and it
lies elsewhere for each embedder and collection (a studio's portraits are more alike than a family's album). The
threshold is the bottom of the clearest valley in the smoothed heights.

Two floors keep it from being too low. Faces that stand in one photo are different people: where there are enough such
pairs, the threshold stays above nearly all of them. And strangers' cosines lie around their median like those of random
directions in as many dimensions as their spread tells; the threshold stays where fewer than one in 200 pairs above it
are to be expected from strangers whom nothing else keeps apart. That floor rises with the collection: a million faces
hold 5 * 10**11 pairs.

Nearly all pairs of a large collection are strangers. An album of a few people is not like that: there strangers are the
pairs that the threshold so far leaves apart, and where none is left, or they look like one person's by the levels that
the embedder has on ordinary photographs, those levels stand for the collection's own.

Where there is no valley (too few faces, one person, nobody twice, a weak embedder) a threshold between the embedder's
two levels is used, or the floor where that is higher, and the reason says so: look at the result then, or give labels.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anchorface.identity_index.clustering.cluster import Graph, cluster, graph, joining_heights
from anchorface.identity_index.clustering.constraints import known
from anchorface.identity_index.unit import unit
from anchorface.records.errors import DataError

FALLBACK = 0.4
"""The threshold where neither data nor embedder's levels tell one."""
APART = 0.7
"""Share of the way from strangers' level to one person's from which on two faces look like one person's (our choice):
on photographs of 22 people one stranger in 20 passes it with adaface_small, one in 500 with dlib."""
SMALLEST = 20
FEW_SHARE = 0.1
"""Share of one person's pairs among all, from which on a collection's pairs tell nothing of strangers (our choice)."""
LARGEST = 4096
SMOOTHING = 0.03
CLEAR = 0.75
HIGHEST = 0.75
GRID_STEP = 0.002
FALSE_PAIRS = 0.005
WIDER = 1.06
"""How much wider strangers' cosines spread above their median than below: 1.01 to 1.12 on the photographs measured."""
STRANGERS = 1024


@dataclass(frozen=True)
class Levels:
    """An embedder's cosines on ordinary photographs: strangers' median and spread (of the half below it, in standard
    deviations), and the median of one person's."""

    strangers: float
    spread: float
    own: float

    @property
    def apart(self) -> float:
        """From which on two faces look like one person's."""
        return self.strangers + APART * (self.own - self.strangers)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A threshold and how far to trust it.

    depth: joinings at the valley over those at the lower of the two humps, 0 (a clean gap) to 1 (no valley).
    reason: a few words for the log and the page.
    """

    threshold: float
    depth: float
    reason: str


def calibrate(
    embeddings: np.ndarray, photo_ids: Sequence[str], *, fallback: float | None = None, levels: Levels | None = None,
    neighbours: Graph | None = None, possible: float = 1.0,
) -> Calibration:
    """Choose the smallest mean cosine at which two groups of faces are one person.

    Args:
        embeddings: [N, D].
        photo_ids: the photo of each face, N.
        fallback: the threshold where the data show no valley; None takes the levels', or 0.4.
        levels: the embedder's, where they were measured; without, all pairs of the collection count as strangers.
        neighbours: the faces' graph where it is there already; the result then depends on the order of the rows.
        possible: share of all pairs that nothing but their looks keeps apart (`Constraints.possible`).

    Returns:
        The threshold with its reason. The order of the rows does not matter. More than 4096 faces are represented
        by evenly spread ones with their nearest neighbours; pairs above the threshold are counted over all.

    Raises:
        DataError: columns of different lengths.
    """
    vectors = unit(embeddings)
    if len(vectors) != len(photo_ids):
        raise DataError(f"calibration: {len(vectors)} embeddings for {len(photo_ids)} photo ids")
    if fallback is None:
        fallback = levels.apart if levels else FALLBACK
    if len(vectors) < SMALLEST:
        return Calibration(
            threshold=round(fallback, 3), depth=1.0, reason=f"default: fewer than {SMALLEST} faces")
    photos = list(photo_ids)
    if neighbours is None:
        order = np.lexsort(vectors.T[:2])
        vectors, photos = vectors[order], [photos[row] for row in order]
        neighbours = graph(vectors)
    everyone, everywhere = vectors, photos
    near = neighbours
    if len(vectors) > LARGEST:
        seeds = np.linspace(0, len(vectors) - 1, LARGEST // 16).astype(np.int64)
        sample = np.unique(np.concatenate([seeds, neighbours.rows[seeds, :15].ravel()]))
        sample = sample[sample >= 0]
        vectors, photos = vectors[sample], [photos[row] for row in sample]
        near = graph(vectors)
    strangers = _mean_cosine(vectors)
    if levels is not None and strangers > levels.apart:
        strangers = levels.strangers
    heights = joining_heights(vectors, photos, strangers, near)
    found = _valley(heights, strangers)
    threshold, depth = found or (fallback, 1.0)
    reason = f"valley of {len(heights)} joinings, {depth:.0%} as high as the lower hump"
    if found is None:
        reason = "default: no valley between two humps"
    together = _together(vectors, photos)
    if len(together) >= SMALLEST and (apart := float(np.quantile(together, 0.95))) > threshold:
        threshold, reason = apart, f"95 % of {len(together)} pairs within a photo lie below"
    floor = _strangers_floor(everyone, everywhere, neighbours, possible, threshold, levels)
    if floor > threshold:
        threshold, reason = floor, f"{reason} at {threshold:.2f}; strangers reach {floor:.2f}"
    return Calibration(threshold=round(threshold, 3), depth=round(depth, 3), reason=reason)


def calibrate_threshold(
    embeddings: np.ndarray, photo_ids: Sequence[str], *, fallback: float | None = None, levels: Levels | None = None
) -> float:
    """The threshold of `calibrate` alone."""
    return calibrate(embeddings, photo_ids, fallback=fallback, levels=levels).threshold


def middle_and_spread(cosines: np.ndarray) -> tuple[float, float]:
    """The median, and the spread of the half below it in standard deviations of a normal distribution."""
    from scipy.stats import norm  # half a second, which a feed's worker need not wait

    middle, low = np.quantile(cosines, [0.5, norm.cdf(-1.5)])
    return float(middle), float(middle - low) / 1.5


def _mean_cosine(vectors: np.ndarray) -> float:
    """Of all pairs: nearly all pairs of a collection are strangers, so this is their level."""
    total, count = vectors.sum(axis=0, dtype=np.float64), len(vectors)
    return float((total @ total - count) / (count * (count - 1)))


def _strangers_floor(
    vectors: np.ndarray, photos: Sequence[str], neighbours: Graph, possible: float, threshold: float,
    levels: Levels | None,
) -> float:
    """The cosine above which at most one in 200 pairs, or half a pair, is to be expected from strangers.

    With a part m in common, two codes are m + (1 - m) c alike where c is the cosine of random directions in d
    dimensions, whose law is a beta distribution with both parameters (d - 1) / 2 and whose deviation is d**-.5.
    """
    from scipy.stats import beta  # half a second, which a feed's worker need not wait

    seeds = np.linspace(0, len(vectors) - 1, min(len(vectors), STRANGERS)).astype(np.int64)
    middle, spread = _strangers(vectors[seeds], [photos[seed] for seed in seeds], threshold, levels)
    spread *= WIDER
    grid = np.arange(middle, 1.0, GRID_STEP)
    share, freedom = (grid - middle) / (1.0 - middle), (((1.0 - middle) / max(spread, 1e-6)) ** 2 - 1.0) / 2
    pairs = possible * len(vectors) * (len(vectors) - 1) / 2
    expected = pairs * beta.cdf((1.0 - share) / 2, max(freedom, 1.0), max(freedom, 1.0))
    # A pair stands in the graph once or twice; half the entries count it once in collections that are not tiny.
    seen = np.sort(neighbours.cosines[neighbours.rows >= 0])
    above = (len(seen) - np.searchsorted(seen, grid)) / 2
    fine = expected <= np.maximum(FALSE_PAIRS * above, 0.5)
    return float(grid[np.argmax(fine)]) if fine.any() else 1.0


def _strangers(
    vectors: np.ndarray, photos: Sequence[str], threshold: float, levels: Levels | None
) -> tuple[float, float]:
    """Strangers' median cosine and its spread below the median."""
    one, two = np.triu_indices(len(vectors), 1)
    cosines = (vectors @ vectors.T)[one, two]
    if levels is not None:
        if np.median(cosines) > levels.apart:
            return levels.strangers, levels.spread
        persons = cluster(vectors, known([f"{row:09d}" for row in range(len(vectors))], photos), threshold)
        apart = persons[one] != persons[two]
        if apart.mean() < 1 - FEW_SHARE:
            cosines = cosines[apart]
        if len(cosines) < SMALLEST or np.median(cosines) > levels.apart:
            return levels.strangers, levels.spread
    return middle_and_spread(cosines)


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
