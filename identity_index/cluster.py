"""Who is who: identities from given labels and from embeddings, under constraints.

In: embeddings [N, D] (any length, the direction counts), the photo of each face, labels where somebody gave them.
Out: an identity name per face. Labels win: faces of one subject are one person, faces of two subjects never are.
Otherwise two faces of one photo are never one person. The result does not depend on the order of the rows.

Method (our choice): each face proposes its nearest faces (exact, by blocks), then average linkage along these
proposals: of all allowed pairs of groups, always join the one with the highest mean cosine, until it falls below
the threshold. The mean cosine of two groups of unit vectors is the product of their sums over their sizes, so
a group is a sum and a count, and the work grows with the number of proposals, not with N squared.
"""

import heapq
from collections import Counter
from collections.abc import Sequence

import numpy as np

from identity_index.neighbours import neighbours, unit
from records.errors import DataError


def cluster(
    embeddings: np.ndarray,
    photo_ids: Sequence[str],
    subjects: Sequence[str | None] | None,
    threshold: float,
    *,
    face_ids: Sequence[str] | None = None,
    proposals: int = 32,
) -> list[str]:
    """Name the person of each face.

    Args:
        embeddings: float [N, D].
        photo_ids: the photo of each face, N.
        subjects: a given label or None per face, N; None for no labels at all.
        threshold: smallest mean cosine between two groups that are joined; see `calibrate_threshold`.
        face_ids: N unique ids; names follow their order. Without them, photo id and place among the rows.
        proposals: nearest faces that each face proposes to join with.

    Returns:
        N names, `p000001`, `p000002`, ... by each person's first face id.

    Raises:
        DataError: columns of different lengths, an embedding that is not finite, or a face id given twice.
    """
    keys = _keys(embeddings, photo_ids, subjects, face_ids)
    if not keys:
        return []
    order = sorted(range(len(keys)), key=keys.__getitem__)
    labels = [subjects[i] if subjects is not None else None for i in order]
    vectors = unit(np.asarray(embeddings, np.float32)[order])
    groups, member = _start(vectors, [photo_ids[i] for i in order], labels)
    _join(groups, _edges(vectors, member, proposals, threshold), threshold)
    first: dict[int, str] = {}
    names = [""] * len(keys)
    for place, start in enumerate(member.tolist()):
        names[order[place]] = first.setdefault(groups.root(start), f"p{len(first) + 1:06d}")
    return names


def joining_heights(embeddings: np.ndarray, photo_ids: Sequence[str], lowest: float, proposals: int = 32) -> np.ndarray:
    """Mean cosine at each joining when faces without labels are joined down to `lowest`; float [at most N - 1]."""
    vectors = unit(embeddings)
    groups, member = _start(vectors, photo_ids, [None] * len(vectors))
    return np.array(_join(groups, _edges(vectors, member, proposals, lowest), lowest))


def pairwise_scores(predicted: Sequence[str], truth: Sequence[str]) -> tuple[float, float, float]:
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


class _Groups:
    """Faces held to be one person while joining. A joined group gets a new number; `into` tells where it went."""

    def __init__(
        self, labels: list[str | None], photos: list[set[str]], totals: np.ndarray, counts: np.ndarray
    ) -> None:
        room = 2 * len(labels)
        self.labels, self.photos = labels, photos
        self.totals = np.zeros((room, totals.shape[1]))
        self.totals[: len(labels)] = totals
        self.counts = np.zeros(room)
        self.counts[: len(labels)] = counts
        self.near: list[set[int]] = [set() for _ in labels]
        self.into: list[int | None] = [None for _ in labels]

    def cosines(self, group: int, others: list[int]) -> np.ndarray:
        """Mean cosine between a group's faces and each other group's, rounded so that summation order cannot decide."""
        return np.round(self.totals[others] @ self.totals[group] / (self.counts[others] * self.counts[group]), 9)

    def may_join(self, one: int, two: int) -> bool:
        """Labels first: two labels never; then no photo may show one person twice."""
        if self.labels[one] is not None and self.labels[two] is not None:
            return False
        return self.photos[one].isdisjoint(self.photos[two])

    def join(self, one: int, two: int) -> int:
        """Make one group of two."""
        fresh = len(self.labels)
        self.labels.append(self.labels[one] if self.labels[one] is not None else self.labels[two])
        self.photos.append(self.photos[one] | self.photos[two])
        self.totals[fresh] = self.totals[one] + self.totals[two]
        self.counts[fresh] = self.counts[one] + self.counts[two]
        self.near.append((self.near[one] | self.near[two]) - {one, two})
        for other in self.near[fresh]:
            self.near[other] -= {one, two}
            self.near[other].add(fresh)
        self.into.append(None)
        self.into[one] = self.into[two] = fresh
        for group in (one, two):
            self.photos[group], self.near[group] = set(), set()
        return fresh

    def root(self, group: int) -> int:
        """The group that a group has become part of."""
        while (into := self.into[group]) is not None:
            group = into
        return group


def _keys(
    embeddings: np.ndarray,
    photo_ids: Sequence[str],
    subjects: Sequence[str | None] | None,
    face_ids: Sequence[str] | None,
) -> list[tuple[str, int]]:
    count = len(photo_ids)
    lengths = {"embeddings": len(embeddings), "subjects": count if subjects is None else len(subjects),
               "face_ids": count if face_ids is None else len(face_ids)}
    for name, length in lengths.items():
        if length != count:
            raise DataError(f"cluster: {length} {name} for {count} photo ids; one per face is needed")
    broken = np.flatnonzero(~np.isfinite(np.asarray(embeddings, np.float32)).all(axis=-1))
    if len(broken):
        raise DataError(f"cluster: the embedding in row {broken[0]} is not finite; embed that face again or drop it")
    if face_ids is None:
        return list(zip(photo_ids, range(count), strict=True))
    twice = [name for name, times in Counter(face_ids).items() if times > 1]
    if twice:
        raise DataError(f"cluster: face id {twice[0]} stands in more than one row; face ids must be unique")
    return [(name, 0) for name in face_ids]


def _start(
    vectors: np.ndarray, photos: Sequence[str], labels: Sequence[str | None]
) -> tuple[_Groups, np.ndarray]:
    """One group per label and one per face without label; the group that each row starts in."""
    by_label: dict[str, int] = {}
    group_labels: list[str | None] = []
    group_photos: list[set[str]] = []
    member = np.empty(len(vectors), np.int64)
    for row, (photo, label) in enumerate(zip(photos, labels, strict=True)):
        number = len(group_labels) if label is None else by_label.setdefault(label, len(group_labels))
        if number == len(group_labels):
            group_labels.append(label)
            group_photos.append(set())
        group_photos[number].add(photo)
        member[row] = number
    totals = np.zeros((len(group_labels), vectors.shape[1]))
    np.add.at(totals, member, vectors)
    return _Groups(group_labels, group_photos, totals, np.bincount(member, minlength=len(group_labels))), member


def _edges(vectors: np.ndarray, member: np.ndarray, proposals: int, threshold: float) -> np.ndarray:
    """Pairs of groups [E, 2] that some face proposes, each once, the smaller number first.

    Groups with a mean cosine above the threshold hold a pair of faces above it, so only such pairs are proposed.
    """
    if len(vectors) < 2:
        return np.empty((0, 2), np.int64)
    rows, cosines = neighbours(vectors, proposals)
    face, place = np.nonzero(cosines >= threshold)
    pairs = np.stack([member[face], member[rows[face, place]]], axis=1)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def _join(groups: _Groups, edges: np.ndarray, threshold: float) -> list[float]:
    """Average linkage along the edges; returns the mean cosine at each joining."""
    heap: list[tuple[float, int, int]] = []

    def propose(group: int, others: list[int]) -> None:
        for other, cosine in zip(others, groups.cosines(group, others).tolist(), strict=True):
            if cosine >= threshold and groups.may_join(group, other):
                heapq.heappush(heap, (-cosine, min(group, other), max(group, other)))

    starts, firsts = np.unique(edges[:, 0], return_index=True)
    for start, others in zip(starts.tolist(), np.split(edges[:, 1], firsts[1:]), strict=bool(len(starts))):
        propose(start, others.tolist())
    for one, two in edges.tolist():
        groups.near[one].add(two)
        groups.near[two].add(one)
    heights = []
    while heap:
        height, one, two = heapq.heappop(heap)
        if groups.into[one] is None and groups.into[two] is None:
            fresh = groups.join(one, two)
            heights.append(-height)
            propose(fresh, sorted(groups.near[fresh]))
    return heights
