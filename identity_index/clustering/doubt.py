"""How sure each identity is, and what speaks against it, for a person to look at.

In: unit embeddings [N, D], each face's person, the graph of nearest faces, what is known, and the faces' attributes.
Out: per person an estimated purity (share of the faces that are really this person), the reasons for doubt in words,
strongest first, and the faces that fit worst.

A face belongs to its person with a probability read from its mean cosine to the person's other faces: the collection's
own faces give the level for those who belong, their nearest other person the level for those who do not (two normal
distributions, fitted to the median and the quantile one deviation below it; odds of 19 to 1 beforehand; our choice). A
person that falls into two groups is as pure as the larger group, as far as the cosine between the groups says that
they are two. It is an estimate from looks: two persons whom the embedder cannot tell apart look pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anchorface.identity_index.clustering.cluster import Graph
from anchorface.identity_index.clustering.constraints import YEAR, Constraints
from anchorface.identity_index.clustering.linkage import CHUNK, Groups

WRONG = 0.05
NARROWEST = 0.02
NEAR_THRESHOLD = 0.05
SMALLEST_SPLIT = 4
CHILD_YEARS = 3.0
LARGE, TIMES_USUAL = 50, 20
WEAK_NORM = 0.5
DOUBTFUL = 0.9
MOST_DOUBTFUL = 48


@dataclass(kw_only=True)
class Doubt:
    """One person's purity (0..1), reasons as (weight 0..3, kind, words), and the rows that fit worst, worst first."""

    purity: float = 1.0
    reasons: list[tuple[float, str, str]] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The reasons, strongest first."""
        return "; ".join(words for _, _, words in sorted(self.reasons, key=lambda reason: (-reason[0], reason[2])))

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts the most suspicious first."""
        return -max((weight for weight, _, _ in self.reasons), default=0.0), self.purity


def doubts(
    vectors: NDArray[np.float32], persons: NDArray[np.int64], nearest: Graph, merged: Constraints, threshold: float,
    names: Sequence[str], attributes: Mapping[str, Sequence],
) -> list[Doubt]:
    """What speaks against each person.

    Args:
        vectors: unit [N, D].
        persons: int64 [N], 0 to P - 1.
        nearest: the rows' graph.
        merged: the persons' constraints (Constraints.merged); who is barred from being one is not proposed to be.
        threshold: at which groups were joined.
        names: P, what the persons are called.
        attributes: columns of the faces: `norm`, `age`, `birth_date`, `taken` (None where unknown).

    Returns:
        P doubts, in order of person.
    """
    groups = Groups(vectors, persons, merged)
    result = [Doubt() for _ in names]
    own = _own(groups, vectors, persons)
    other, rival = _rivals(groups, vectors, persons, nearest)
    belief = _Belief(own, other)
    certain = belief(own)
    order = np.argsort(persons, kind="stable")
    bounds = np.searchsorted(persons[order], np.arange(len(names) + 1))
    perhaps = _same_person(result, groups, persons, nearest, threshold, names)
    for person, doubt in enumerate(result):
        rows = order[bounds[person] : bounds[person + 1]]
        if len(rows) > 1:
            _look_inside(doubt, vectors, rows, own, certain, belief)
            better = [row for row in rows.tolist() if other[row] > own[row] and (person, rival[row]) not in perhaps]
            _compare(doubt, better, own, other, rival, names)
    _contradictions(result, persons, attributes)
    _unusual(result, persons, attributes)
    for doubt in result:
        doubt.doubtful = list(dict.fromkeys(doubt.doubtful))[:MOST_DOUBTFUL]
    return result


class _Belief:
    """The probability that a face with a mean cosine belongs."""

    def __init__(self, own: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        own, other = own[np.isfinite(own)], other[np.isfinite(other)]
        self.inside, self.inside_spread = _level(own)
        self.outside, self.outside_spread = _level(other) if len(other) else (0.0, 0.1)

    def __call__(self, cosines: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities; those of cosines that are no number are 1. Flat beyond the two levels, so never falling."""
        from scipy.stats import norm

        if self.inside <= self.outside:
            return np.where(np.isfinite(cosines), 0.5, 1.0)
        x = np.clip(np.nan_to_num(cosines, nan=1.0), self.outside, self.inside)
        right = (1 - WRONG) * norm.pdf(x, self.inside, self.inside_spread)
        wrong = WRONG * norm.pdf(x, self.outside, self.outside_spread)
        return np.where(np.isfinite(cosines), right / (right + wrong), 1.0)


def _level(cosines: NDArray[np.float32]) -> tuple[float, float]:
    """Median and spread below it, in standard deviations of a normal distribution."""
    from scipy.stats import norm

    if not len(cosines):
        return 1.0, NARROWEST
    middle, low = np.quantile(cosines, [0.5, norm.cdf(-1.0)])
    return float(middle), max(float(middle - low), NARROWEST)


def _own(groups: Groups, vectors: NDArray[np.float32], persons: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean cosine of each face to its person's other faces; no number for a single face."""
    counts = groups.counts[persons]
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((_products(groups, vectors, persons) - 1.0) / (counts - 1.0)).astype(np.float32)


def _products(groups: Groups, vectors: NDArray[np.float32], persons: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.empty(len(vectors))
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = np.einsum("ij,ij->i", vectors[part], groups.totals[persons[part]])
    return result


def _rivals(
    groups: Groups, vectors: NDArray[np.float32], persons: NDArray[np.int64], nearest: Graph
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Mean cosine of each face to the person of its nearest face that is not its own, and that person; -1 for none."""
    foreign = (nearest.rows >= 0) & (persons[nearest.rows] != persons[:, None])
    has = foreign.any(axis=1)
    rival, other = np.full(len(vectors), -1), np.full(len(vectors), np.nan, np.float32)
    if not has.any():
        return other, rival  # a single face has no neighbours at all
    rival[has] = persons[nearest.rows[has, np.argmax(foreign[has], axis=1)]]
    other[has] = _products(groups, vectors[has], rival[has]) / groups.counts[rival[has]]
    return other, rival


def _look_inside(
    doubt: Doubt, vectors: NDArray[np.float32], rows: NDArray[np.int64], own: NDArray[np.float32],
    certain: NDArray[np.float64], belief: _Belief,
) -> None:
    """Purity, faces far off, and whether there are two groups inside."""
    count, share = len(rows), certain[rows]
    worst = rows[np.argsort(own[rows], kind="stable")]
    doubt.doubtful += [row for row in worst.tolist() if certain[row] < DOUBTFUL]
    # Of two faces that are two persons, one is right.
    doubt.purity = float(share.mean()) if count > 2 else 0.5 + 0.5 * float(share.mean())
    if count >= SMALLEST_SPLIT:
        side, between = _halves(vectors[rows])
        small, large = sorted((int(side.sum()), count - int(side.sum())))
        one = float(belief(np.array([between], np.float32))[0])
        if small > 1 and one < 0.5:
            doubt.purity = one * doubt.purity + (1.0 - one) * large / count
            said = f"two groups inside ({large} and {small} faces, cosine {between:.2f} between)"
            doubt.reasons.append((1.0 + (1.0 - one), "two groups inside", said))
            doubt.doubtful[:0] = (rows[side] if side.sum() <= count / 2 else rows[~side]).tolist()
            return
    far = [row for row in worst.tolist() if certain[row] < 0.5]
    if far:
        said = f"{len(far)} face{'s' * (len(far) > 1)} far off" if count > 2 else "the two faces differ"
        doubt.reasons.append((1.0 - float(share.min()), "far off", f"{said} (cosine {own[far[0]]:.2f})"))
    elif doubt.purity < DOUBTFUL:
        said = f"loose: its faces differ much (mean cosine {own[rows].mean():.2f})"
        doubt.reasons.append((1.0 - doubt.purity, "loose", said))


def _halves(vectors: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float]:
    """The two sides along the direction in which a person's faces differ most, and the mean cosine between them."""
    centred = vectors - vectors.mean(axis=0)
    direction = centred[np.argmax(np.einsum("ij,ij->i", centred, centred))]
    for _ in range(12):
        direction = (centred @ direction) @ centred
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    side = centred @ direction > 0
    if side.all() or not side.any():
        return side, 1.0
    return side, float(vectors[side].mean(axis=0) @ vectors[~side].mean(axis=0))


def _compare(
    doubt: Doubt, better: list[int], own: NDArray[np.float32], other: NDArray[np.float32], rival: NDArray[np.int64],
    names: Sequence[str],
) -> None:
    """Faces that fit another person better than their own."""
    if better:
        first = max(better, key=lambda row: other[row] - own[row])
        said = f"{len(better)} face{'s' * (len(better) > 1)} fit{'s' * (len(better) == 1)} {names[rival[first]]} better"
        doubt.reasons.append((0.9, "fits another better", said))
        doubt.doubtful[:0] = better


def _same_person(
    result: list[Doubt], groups: Groups, persons: NDArray[np.int64], nearest: Graph, threshold: float,
    names: Sequence[str],
) -> set[tuple[int, int]]:
    """Pairs of persons who may be one: near the threshold or above it, and nothing that is known bars them.

    Returns:
        The pairs, both ways round.
    """
    least = threshold - NEAR_THRESHOLD
    face, place = np.nonzero((nearest.cosines >= least) & (nearest.rows >= 0))
    a, b = persons[face], persons[nearest.rows[face, place]]
    keys = np.unique(np.minimum(a, b)[a != b] * len(names) + np.maximum(a, b)[a != b])
    one, two = np.divmod(keys, len(names))
    cosines = groups.cosines(one, two)
    fine = (cosines >= least) & groups.may_join(one, two)
    best: dict[int, tuple[float, int]] = {}
    pairs: set[tuple[int, int]] = set()
    for a_person, b_person, value in zip(one[fine].tolist(), two[fine].tolist(), cosines[fine].tolist(), strict=True):
        for person, partner in ((a_person, b_person), (b_person, a_person)):
            pairs.add((person, partner))
            best[person] = max(best.get(person, (-1.0, -1)), (value, partner))
    for person, (value, partner) in best.items():
        said = f"perhaps the same person as {names[partner]} (cosine {value:.2f})"
        result[person].reasons.append((0.6 + min(max(0.0, value - threshold), 0.25), "perhaps another's", said))
    return pairs


def _contradictions(result: list[Doubt], persons: NDArray[np.int64], attributes: Mapping[str, Sequence]) -> None:
    """Dates that one person cannot have, which labels, decisions or an existing identity put together."""
    births: dict[int, set] = {}
    for row, (person, birth, taken) in enumerate(
        zip(persons.tolist(), attributes["birth_date"], attributes["taken"], strict=True)
    ):
        if birth is None:
            continue
        births.setdefault(person, set()).add(birth)
        if taken is not None and taken < birth:
            years = (birth - taken).days / YEAR
            result[person].reasons.append((3.0, "dates", f"a face taken {years:.0f} years before the birth date"))
            result[person].doubtful.insert(0, row)
    for person, dates in births.items():
        if len(dates) > 1:
            result[person].reasons.append((3.0, "dates", f"{len(dates)} birth dates"))


def _unusual(result: list[Doubt], persons: NDArray[np.int64], attributes: Mapping[str, Sequence]) -> None:
    """What makes mistakes likelier: very many faces, small children, weak embeddings."""
    counts = np.bincount(persons, minlength=len(result))
    usual = float(np.median(counts))
    norms = np.array([np.nan if value is None else value for value in attributes["norm"]], np.float64)
    ages = np.array([np.nan if value is None else value for value in attributes["age"]], np.float64)
    weak = np.bincount(persons, norms < WEAK_NORM * np.nanmedian(norms), len(result)) if len(norms) else counts * 0
    small = np.bincount(persons, ages < CHILD_YEARS, len(result))
    for person in np.flatnonzero(counts > max(LARGE, TIMES_USUAL * usual)).tolist():
        said = f"very large ({counts[person]} faces; most have {usual:.0f})"
        result[person].reasons.append((0.3, "very large", said))
    for person in np.flatnonzero(small >= 2).tolist():
        said = f"{small[person]:.0f} faces of a small child, hard to tell apart"
        result[person].reasons.append((0.3, "small child", said))
    for person in np.flatnonzero((weak > 0) & (weak >= counts / 2) & (counts > 1)).tolist():
        result[person].reasons.append((0.2, "weak embeddings", f"{weak[person]:.0f} faces with weak embeddings"))
