"""Who is who: persons from embeddings, under everything else that is known.

In: embeddings [N, D] (any length, the direction counts) and `Constraints`. Out: a person's number per face. What is
known wins (see `constraints`); the rest is average linkage along the graph of nearest faces (see `linkage`): two groups
become one person while their mean cosine reaches the threshold, so one wrong edge between two persons joins nothing.
The result does not depend on the order of the rows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anchorface.identity_index.clustering.constraints import Constraints, known
from anchorface.identity_index.clustering.linkage import Groups, edges_of, link
from anchorface.identity_index.unit import unit
from anchorface.records.errors import DataError

PROPOSALS = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """The nearest other rows of each row: `rows` int64 [N, k] (-1 for none) and `cosines` float32 [N, k]."""

    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]


def graph(vectors: NDArray[np.float32], proposals: int = PROPOSALS) -> Graph:
    """The nearest neighbours of unit vectors [N, D]."""
    from anchorface.identity_index.clustering.neighbours import neighbours  # torch, which a feed's worker never needs

    if len(vectors) < 2:
        return Graph(rows=np.empty((len(vectors), 0), np.int64), cosines=np.empty((len(vectors), 0), np.float32))
    rows, cosines = neighbours(vectors, proposals)
    return Graph(rows=rows, cosines=cosines)


def cluster(
    embeddings: np.ndarray, constraints: Constraints, threshold: float, *, nearest: Graph | None = None
) -> NDArray[np.int64]:
    """Number the person of each face.

    Args:
        embeddings: float [N, D].
        constraints: of the same faces in the same order.
        threshold: smallest mean cosine between two groups that are joined; see `calibrate`.
        nearest: the faces' graph where it is there already; the rows then stand in order of face id.

    Returns:
        int64 [N]: 0, 1, 2, ... by each person's first face id.

    Raises:
        DataError: another number of embeddings than faces, or one that is not finite.
    """
    if len(embeddings) != len(constraints):
        raise DataError(f"cluster: {len(embeddings)} embeddings for {len(constraints)} faces; one per face is needed")
    check_finite(embeddings)
    if not len(constraints):
        return np.empty(0, np.int64)
    order = np.array(sorted(range(len(constraints)), key=constraints.face_ids.__getitem__))
    in_order = bool((order[1:] > order[:-1]).all())
    assert nearest is None or in_order, "a graph belongs to rows in order of face id"
    vectors = unit(embeddings if in_order else np.asarray(embeddings, np.float32)[order])
    start = constraints.start[order]
    found = nearest or graph(vectors)
    groups = Groups(vectors, start, constraints)
    link(groups, *edges_of(groups, start, found.rows, found.cosines, threshold), threshold)
    # Groups are numbered by their first face id and a joined one keeps the smaller number, so this order is theirs.
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.unique(groups.roots()[start], return_inverse=True)[1]
    return numbers


def joining_heights(
    vectors: NDArray[np.float32], photo_ids: Sequence[str], lowest: float, nearest: Graph | None = None
) -> NDArray[np.float64]:
    """Mean cosine at each joining when unit vectors are joined down to `lowest`; float [at most N - 1]."""
    row_names = [f"{row:09d}" for row in range(len(vectors))]
    loose = known(row_names, photo_ids)
    found = nearest or graph(vectors)
    groups = Groups(vectors, loose.start, loose)
    return np.array(link(groups, *edges_of(groups, loose.start, found.rows, found.cosines, lowest), lowest))


def check_finite(embeddings: np.ndarray) -> None:
    """Raise DataError on an embedding that is not finite, with its row."""
    for start in range(0, len(embeddings), 65_536):
        broken = np.flatnonzero(~np.isfinite(np.asarray(embeddings[start : start + 65_536])).all(axis=-1))
        if len(broken):
            row = start + int(broken[0])
            raise DataError(f"cluster: the embedding in row {row} is not finite; embed that face again or drop it")


def pairwise_scores(predicted: Sequence[object], truth: Sequence[object]) -> tuple[float, float, float]:
    """Precision, recall and F1 over pairs of faces: said to be one person against being one person.

    A share of nothing counts as 1 (no pair was claimed, or none was there to be found).
    """
    def pairs(counts: Counter) -> int:
        return sum(n * (n - 1) // 2 for n in counts.values())

    right = pairs(Counter(zip(predicted, truth, strict=True)))
    claimed, real = pairs(Counter(predicted)), pairs(Counter(truth))
    precision = right / claimed if claimed else 1.0
    recall = right / real if real else 1.0
    return precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0


def b_cubed_scores(predicted: Sequence[object], truth: Sequence[object]) -> tuple[float, float, float]:
    """Precision, recall and F1 by faces: of the faces that a face is put with, the share that is its person.

    Source: Bagga and Baldwin 1998, B-cubed.
    """
    both = Counter(zip(predicted, truth, strict=True))
    said, real = Counter(predicted), Counter(truth)
    count = max(len(predicted), 1)
    precision = sum(n * n / said[one] for (one, _), n in both.items()) / count
    recall = sum(n * n / real[other] for (_, other), n in both.items()) / count
    return precision, recall, 2 * precision * recall / (precision + recall) if both else 0.0
