"""Which photo helps which: references of the same person that differ from the target, and why each was chosen.

Rows are dictionaries with (some of) the keys of records.Face: face_id, photo_id, uri, yaw, pitch (degrees), age
(years or None), taken (date or None), brightness (0..255), light_x, light_y, smile, norm, sharpness, score,
perceptual_hash (64-bit int), embedding (unit). Pure functions on one person's faces: the training feed calls them for
every sample.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anchorface.identity_index.retrieval.album import Album, Row
from anchorface.identity_index.retrieval.compared import Compared
from anchorface.identity_index.retrieval.exclusions import refusals
from anchorface.identity_index.retrieval.policy import AXES, MismatchPolicy, asked_policy

__all__ = [
    "REFERENCE_KEYS", "Chosen", "MismatchPolicy", "Selection", "asked_policy", "mismatch", "near_duplicate",
    "references", "select",
]

REFERENCE_KEYS = (
    "face_id", "photo_id", "uri", "yaw", "pitch", "age", "taken", "brightness", "light_x", "light_y", "smile", "norm",
    "sharpness", "score", "perceptual_hash", "embedding",
)
"""The columns of a face that choosing references reads."""


@dataclass(frozen=True)
class Chosen:
    """One chosen reference and why, for example `yaw gap 34°, age gap 12 years`."""

    face_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What became of one target's candidates, by their numbers in the album.

    chosen: at most k, best first. wanted: int64 [chosen, axes], the bin that was drawn for each, -1 where none was
    asked. admitted: int64 [M], sorted by face id. sizes: float64 [axes, M], theirs on the axes of AXES, NaN where
    unknown. timed: bool [M], where the age gap is one of dates. refused: int8 [N], numbers into exclusions.CAUSES.
    """

    chosen: tuple[int, ...]
    wanted: NDArray[np.int64]
    admitted: NDArray[np.int64]
    sizes: NDArray[np.float64]
    timed: NDArray[np.bool_]
    refused: NDArray[np.int8]
    policy: MismatchPolicy

    @property
    def places(self) -> list[int]:
        """Where the chosen stand among the admitted."""
        numbers = self.admitted.tolist()
        return [numbers.index(number) for number in self.chosen]

    def reasons(self) -> list[str]:
        """Why each was chosen, in words and numbers."""
        sizes = self.sizes[:, self.places]
        said = [_reason(size, bin_, bool(self.timed[place]), wanted, self.policy) for place, size, bin_, wanted in
                zip(self.places, sizes.T.tolist(), self.policy.passed(sizes).T.tolist(), self.wanted.tolist(),
                    strict=True)]
        return [f"at random; {words}" for words in said] if self.policy.mode == "random" else said

    def references(self, album: Album) -> list[Chosen]:
        """The chosen by name, each with its reason."""
        return [Chosen(str(album.face_id[number]), words)
                for number, words in zip(self.chosen, self.reasons(), strict=True)]


def references(
    target: Row, candidates: Sequence[Row], policy: MismatchPolicy, k: int, rng: np.random.Generator
) -> list[Chosen]:
    """Choose up to k references for a target.

    Args:
        target: the face to restore.
        candidates: faces of the same person; the target itself may stand among them. Their order does not matter.
        policy: the rules.
        k: how many are wanted.
        rng: decides the wanted bins in mode `asked`, between equals, or everything in mode `random`.

    Returns:
        At most k, best first; fewer where fewer are allowed. Never the target, a face of its photo or a near-duplicate.
    """
    album = Album.of_rows([target, *candidates])
    return select(album, 0, policy, k, rng).references(album)


def select(album: Album, target: int, policy: MismatchPolicy, k: int, rng: np.random.Generator) -> Selection:
    """Choose up to k references for one face of an album, among the others.

    Mode `mismatch` scores gaps, the norm, chance, and gaps to those already chosen. Mode `asked` draws, for each of the
    k, one wanted bin per asked axis from the asked shares, and takes the candidate that misses them least (by the sum
    of weight times bins missed over bin ends; an unknown size misses as far as can be); among equals what is no copy of
    a chosen one, then norm, chance and gaps to those already chosen decide. Over many targets the chosen then follow
    the asked shares as far as the candidates reach; where they do not reach a bin, the nearest takes its share.
    Source: our choice.

    Args:
        album: faces of one person, in any order.
        target: number of the face to restore.
        policy, k, rng: as for `references`.
    """
    return choose(Compared(album, policy), target, k, rng)


def choose(compared: Compared, target: int, k: int, rng: np.random.Generator) -> Selection:
    """As `select`, from an album that is compared once for all its faces."""
    album, policy, seen = compared.album, compared.policy, compared.of(target)
    admitted = compared.order[seen.refused[compared.order] == 0]
    norm = album.measure("norm")[admitted]
    best = float(norm.max()) if len(norm) else 0.0
    sizes = np.concatenate([seen.gaps[:, admitted], (norm / (best or 1.0))[None]])
    count = min(k, len(admitted))
    chosen: list[int] = []
    wanted = np.full((max(count, 0), len(AXES)), -1, np.int64)
    if count > 0 and policy.mode == "random":
        chosen = rng.permutation(len(admitted))[:count].tolist()
    elif count > 0:
        score = policy.quality_weight * norm / (best or 1.0)
        chance = policy.spread * rng.gumbel(size=len(admitted))
        if policy.mode == "mismatch":
            chosen = _spread_out(compared, admitted, seen.scores[admitted] + score + chance, count)
        else:
            wanted = _wanted(policy, rng.random((count, len(AXES))))
            chosen = _nearest(compared, admitted, policy.passed(sizes), np.isnan(sizes), score + chance, wanted)
    return Selection(chosen=tuple(admitted[chosen].tolist()), wanted=wanted, admitted=admitted, sizes=sizes,
                     timed=seen.timed[admitted], refused=seen.refused, policy=policy)


def mismatch(one: Row, two: Row, policy: MismatchPolicy) -> float:
    """How much two faces differ: the weighted sum of their gaps' bins, 0 (alike) to the sum of the weights."""
    gaps, _ = Album.of_rows([one, two]).gaps(np.array([0]))
    return float(policy.score(gaps)[0, 1])


def near_duplicate(one: Row, two: Row, policy: MismatchPolicy) -> bool:
    """Whether two faces are the same picture for our purpose; see `identity_index.retrieval.exclusions`."""
    return bool(1 <= refusals(Album.of_rows([one, two]), np.array([0]), policy)[0, 1] <= 4)


def _spread_out(compared: Compared, admitted: NDArray[np.int64], scores: NDArray[np.float64], count: int) -> list[int]:
    """The best, then again and again the best with regard to those already chosen."""
    chosen: list[int] = []
    apart = np.full(len(admitted), np.inf)
    while len(chosen) < count:
        totals = scores + compared.policy.diversity_weight * apart if chosen else scores.copy()
        totals[chosen] = -np.inf
        chosen.append(int(totals.argmax()))
        if len(chosen) < count:
            apart = np.minimum(apart, compared.of(int(admitted[chosen[-1]])).scores[admitted])
    return chosen


def _wanted(policy: MismatchPolicy, draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bins that uniform draws [k, axes] stand for, -1 on an axis of which nothing is asked."""
    wanted = np.full(draws.shape, -1, np.int64)
    for number, axis in enumerate(policy.axes):
        if axis.asked:
            ends = np.cumsum(axis.drawn)[:-1]
            wanted[:, number] = np.searchsorted(ends, draws[:, number], side="right")
    return wanted


def _nearest(compared: Compared, admitted: NDArray[np.int64], bins: NDArray[np.int64], unknown: NDArray[np.bool_],
             scores: NDArray[np.float64], wanted: NDArray[np.int64]) -> list[int]:
    """For each row of wanted bins the candidate that misses them least."""
    policy, chosen = compared.policy, list[int]()
    apart = np.full(len(admitted), np.inf)
    copy = np.zeros(len(admitted), np.bool_)
    for row in wanted.tolist():
        missed = np.zeros(len(admitted))
        for number, axis in enumerate(policy.axes):
            if axis.asked and axis.weight > 0:
                steps = np.where(unknown[number], len(axis.bins), np.abs(bins[number] - row[number]))
                missed = missed + axis.weight * steps / len(axis.bins)
        missed[copy] += 1e3  # a copy of a chosen one comes last
        missed[chosen] = np.inf
        totals = scores + policy.diversity_weight * apart if chosen else scores
        chosen.append(int(np.where(missed <= missed.min() + 1e-9, totals, -np.inf).argmax()))
        if len(chosen) < len(wanted):
            last = compared.of(int(admitted[chosen[-1]]))
            apart = np.minimum(apart, last.scores[admitted])
            refused = last.refused[admitted]
            copy |= (refused >= 1) & (refused <= 4)
    return chosen


def _reason(sizes: Sequence[float], bins: Sequence[int], timed: bool, wanted: Sequence[int],
            policy: MismatchPolicy) -> str:
    """What was asked first, then the gaps past their first bin, the one that weighs most first."""
    asked, counted = [], []
    for axis, size, passed, want in zip(policy.axes, sizes, bins, wanted, strict=True):
        name = "quality" if axis.name == "quality" else f"{'time' if timed and axis.name == 'age' else axis.name} gap"
        if want >= 0:
            told = "unknown" if math.isnan(size) else axis.told(size)
            asked.append(f"{name} {told} (asked {axis.bin_told(want)})")
        elif axis.name != "quality" and passed > 0 and axis.weight > 0:
            counted.append((-axis.weight * passed / len(axis.bins), f"{name} {axis.told(size)}"))
    return ", ".join([*asked, *(words for _, words in sorted(counted, key=lambda pair: pair[0]))]) or "no large gap"
