"""Average linkage along a sparse graph, under constraints, for a million faces.

In: groups of faces (sums of unit vectors, counts, what is known of each) and edges between them. Out: which group
each group became part of, and the mean cosine at each joining.

Method (our choice). Always joining the pair with the highest mean cosine is what average linkage means; one pair
after another is slow. The mean cosine of a joined group with a third one never exceeds the higher of its two parts',
and a rule that forbids a part forbids the whole. So pairs that are each other's best can all be joined at once, with
the same result: rounds over arrays. When a round joins few, what is left (large groups that grow face by face) goes
through a heap. The mean cosine of two groups is the product of their sums over their sizes.
"""

import heapq
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from anchorface.identity_index.clustering.constraints import Constraints

CHUNK = 16_384
FEW = 600
"""A round that joins fewer than one in so many edges hands over to the heap."""


class Groups:
    """Groups of faces while they are joined; a joined group keeps the smaller number.

    totals: float32 [G, D], sums of unit vectors. counts: [G]. parent: int64 [G], the group that each became part of.
    """

    def __init__(self, vectors: NDArray[np.float32], start: NDArray[np.int64], known: Constraints) -> None:
        """`start` is each row's group."""
        count = len(known.label)
        self.counts = np.bincount(start, minlength=count).astype(np.float64)
        if count == len(vectors):
            self.totals = np.empty_like(vectors)
            self.totals[start] = vectors
        else:
            rows = np.arange(len(vectors))
            spread = csr_array((np.ones(len(vectors), np.float32), (start, rows)), shape=(count, len(vectors)))
            self.totals = np.asarray(spread @ vectors, np.float32)
        self.parent = np.arange(count)
        self.label, self.name = known.label.copy(), known.name.copy()
        self.low, self.high, self.taken = known.born_low.copy(), known.born_high.copy(), known.taken.copy()
        self.apart = {group: set(marks) for group, marks in known.apart.items()}
        self.marked = np.zeros(count, bool)
        self.marked[list(self.apart)] = True

    def cosines(self, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean cosine between the faces of paired groups, rounded so that the order of summing cannot decide."""
        result = np.empty(len(one), np.float32)
        for place in range(0, len(one), CHUNK):
            a, b = one[place : place + CHUNK], two[place : place + CHUNK]
            products = np.einsum("ij,ij->i", self.totals[a], self.totals[b])
            result[place : place + CHUNK] = np.round(products / (self.counts[a] * self.counts[b]), 6)
        return result

    def may_join(self, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether nothing that is known forbids paired groups to be one person."""
        allowed = ((self.label[one] < 0) | (self.label[two] < 0)) & ((self.name[one] < 0) | (self.name[two] < 0))
        allowed &= np.maximum(self.low[one], self.low[two]) <= np.minimum(self.high[one], self.high[two])
        allowed &= (self.taken[one] >= self.low[two]) & (self.taken[two] >= self.low[one])
        for place in np.flatnonzero(allowed & self.marked[one] & self.marked[two]).tolist():
            allowed[place] = self.apart[int(one[place])].isdisjoint(self.apart[int(two[place])])
        return allowed

    def join(self, one: NDArray[np.int64], two: NDArray[np.int64]) -> None:
        """Join each of `two` into its partner in `one`; no group stands twice."""
        self.parent[two] = one
        for place in range(0, len(one), CHUNK):
            a, b = one[place : place + CHUNK], two[place : place + CHUNK]
            self.totals[a] += self.totals[b]
        self.counts[one] += self.counts[two]
        for values in (self.label, self.name):
            values[one] = np.maximum(values[one], values[two])
        self.low[one] = np.maximum(self.low[one], self.low[two])
        self.high[one] = np.minimum(self.high[one], self.high[two])
        self.taken[one] = np.minimum(self.taken[one], self.taken[two])
        for place in np.flatnonzero(self.marked[two]).tolist():
            self.apart.setdefault(int(one[place]), set()).update(self.apart.pop(int(two[place])))
        self.marked[one] |= self.marked[two]

    def roots(self) -> NDArray[np.int64]:
        """int64 [G]: the group that each is part of in the end."""
        roots = self.parent
        while not np.array_equal(further := roots[roots], roots):
            roots = further
        return roots


def link(
    groups: Groups, one: NDArray[np.int64], two: NDArray[np.int64], cosines: NDArray[np.float32], threshold: float
) -> list[float]:
    """Join groups along edges as long as the best allowed mean cosine reaches the threshold.

    Args:
        groups: changed in place.
        one, two: int64 [E], edges, one < two, each once, sorted.
        cosines: float32 [E], mean cosine between the two groups of each edge.
        threshold: smallest mean cosine at which two groups become one person.

    Returns:
        The mean cosine at each joining, in no particular order.
    """
    allowed = groups.may_join(one, two)
    one, two, cosines = one[allowed], two[allowed], cosines[allowed]
    heights: list[float] = []
    while len(chosen := _mutual(len(groups.parent), one, two, cosines, threshold)):
        heights += cosines[chosen].tolist()
        groups.join(one[chosen], two[chosen])
        one, two, cosines = _renewed(groups, one, two, cosines, one[chosen])
        if len(chosen) * FEW < len(one):
            heights += _finish(groups, one, two, cosines, threshold)
            break
    return heights


def _mutual(
    count: int, one: NDArray[np.int64], two: NDArray[np.int64], cosines: NDArray[np.float32], threshold: float
) -> NDArray[np.int64]:
    """The edges that are the best of both their groups; of equal ones the first."""
    live = np.flatnonzero(cosines >= threshold)
    a, b, values = one[live], two[live], cosines[live]
    best = np.full(count, -np.inf, np.float32)
    np.maximum.at(best, a, values)
    np.maximum.at(best, b, values)
    both = np.flatnonzero((values == best[a]) & (values == best[b]))
    first = np.full(count, len(live))
    np.minimum.at(first, a[both], both)
    np.minimum.at(first, b[both], both)
    return live[both[(first[a[both]] == both) & (first[b[both]] == both)]]


def _renewed(
    groups: Groups, one: NDArray[np.int64], two: NDArray[np.int64], cosines: NDArray[np.float32],
    grown: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The edges after a round: those of grown groups are renamed, counted once, checked and measured again."""
    touched = np.zeros(len(groups.parent), bool)
    touched[grown] = True
    a, b = groups.parent[one], groups.parent[two]
    changed = touched[a] | touched[b]
    fresh = np.unique(np.minimum(a, b)[changed] * len(touched) + np.maximum(a, b)[changed])
    first, second = np.divmod(fresh, len(touched))
    keep = first != second
    first, second = first[keep], second[keep]
    allowed = groups.may_join(first, second)
    first, second = first[allowed], second[allowed]
    same = ~changed
    return (
        np.concatenate([one[same], first]), np.concatenate([two[same], second]),
        np.concatenate([cosines[same], groups.cosines(first, second)]),
    )


def _finish(
    groups: Groups, one: NDArray[np.int64], two: NDArray[np.int64], cosines: NDArray[np.float32], threshold: float
) -> list[float]:
    """The same with a heap, one joining after the other, for the parts of the graph where something is left to do."""
    count = len(groups.parent)
    _, part = connected_components(csr_array((np.ones(len(one), bool), (one, two)), shape=(count, count)), False)
    alive = np.zeros(count, bool)
    alive[part[one[cosines >= threshold]]] = True
    kept = alive[part[one]]
    near: dict[int, set[int]] = defaultdict(set)
    grown: dict[int, int] = defaultdict(int)
    heap = []
    for a, b, value in zip(one[kept].tolist(), two[kept].tolist(), cosines[kept].tolist(), strict=True):
        near[a].add(b)
        near[b].add(a)
        if value >= threshold:
            heap.append((-value, a, b, 0, 0))
    heapq.heapify(heap)
    heights = []
    while heap:
        height, a, b, then_a, then_b = heapq.heappop(heap)
        if (grown[a], grown[b]) != (then_a, then_b):
            continue
        groups.join(np.array([a]), np.array([b]))
        heights.append(-height)
        grown[a], grown[b] = grown[a] + 1, -1
        _leave(near, b)
        others = np.array(sorted((near[a] | near.pop(b)) - {a, b}), np.int64)
        hub = np.full(len(others), a)
        allowed = groups.may_join(hub, others)
        for other in others[~allowed].tolist():
            near[other].discard(a)
        others = others[allowed]
        near[a] = set(others.tolist())
        for other, value in zip(others.tolist(), groups.cosines(hub[: len(others)], others).tolist(), strict=True):
            near[other].add(a)
            if value >= threshold:
                first, second = min(a, other), max(a, other)
                heapq.heappush(heap, (-value, first, second, grown[first], grown[second]))
    return heights


def _leave(near: dict[int, set[int]], gone: int) -> None:
    for other in near[gone]:
        near[other].discard(gone)


def edges_of(
    groups: Groups, start: NDArray[np.int64], rows: NDArray[np.int64], cosines: NDArray[np.float32], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Pairs of groups that some pair of neighbouring rows proposes, each once, with their mean cosine.

    Groups with a mean cosine above `least` hold a pair of faces above it, so only such pairs are proposed.
    """
    face, place = np.nonzero((cosines >= least) & (rows >= 0))
    values = cosines[face, place]
    count = len(groups.parent)
    a, b = start[face], start[rows[face, place]]
    keys, first = np.unique(np.minimum(a, b) * count + np.maximum(a, b), return_index=True)
    a, b = np.divmod(keys, count)
    values = np.round(values[first], 6)
    different = a != b
    a, b, values = a[different], b[different], values[different]
    many = (groups.counts[a] > 1) | (groups.counts[b] > 1)
    values[many] = groups.cosines(a[many], b[many])
    return a, b, values

