"""Which photo helps which: references of the same person that differ from the target, and why each was chosen.

Rows are dictionaries with (some of) the keys of records.Face: face_id, photo_id, uri, yaw, pitch (degrees), age
(years or None), taken (date or None), brightness (0..255), norm, sharpness, perceptual_hash (64-bit int),
embedding (unit). Pure functions on a few rows: the training feed calls them for every sample.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np

from records.errors import ConfigurationError

Row = Mapping[str, Any]

REFERENCE_KEYS = (
    "face_id", "photo_id", "uri", "yaw", "pitch", "age", "taken", "brightness", "light_x", "light_y", "smile", "norm",
    "sharpness", "perceptual_hash", "embedding",
)
"""The columns of a face that choosing references reads."""


@dataclass(frozen=True, kw_only=True)
class MismatchPolicy:
    """How references are chosen. All numbers are our choice.

    mode: `mismatch` prefers large gaps to the target, `random` draws evenly from whatever is allowed.
    *_bins: ends of the bins of a gap; a gap past n of its N ends scores n / N, times its weight. Yaw and pitch in
    degrees, age in years (without ages the gap between the dates taken), brightness in 8-bit levels.
    quality_weight: for the norm, as a share of the best candidate's. diversity_weight: for gaps to the
    references already chosen. spread: of the random part of the score (Gumbel), so that epochs differ.
    minimum_norm, minimum_sharpness: candidates below are never chosen.
    duplicate_cosine, duplicate_bits: at least that similar with at most that many differing hash bits is a
    near-duplicate.
    """

    mode: str = "mismatch"
    yaw_bins: tuple[float, ...] = (8.0, 15.0, 25.0, 40.0)
    pitch_bins: tuple[float, ...] = (6.0, 12.0, 20.0)
    age_bins: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0)
    brightness_bins: tuple[float, ...] = (15.0, 30.0, 60.0)
    yaw_weight: float = 1.0
    pitch_weight: float = 0.5
    age_weight: float = 1.0
    brightness_weight: float = 0.5
    quality_weight: float = 0.5
    diversity_weight: float = 0.5
    spread: float = 0.15
    minimum_norm: float = 0.0
    minimum_sharpness: float = 0.0
    duplicate_cosine: float = 0.9
    duplicate_bits: int = 8

    def __post_init__(self) -> None:
        if self.mode not in ("mismatch", "random"):
            raise ConfigurationError(f"reference policy: mode {self.mode!r}; it is 'mismatch' or 'random'")
        for name in ("yaw_bins", "pitch_bins", "age_bins", "brightness_bins"):
            bins = tuple(getattr(self, name))
            object.__setattr__(self, name, bins)
            if not bins or bins[0] <= 0 or any(a >= b for a, b in pairwise(bins)):
                raise ConfigurationError(f"reference policy: {name} {bins}; rising numbers above 0 are needed")


@dataclass(frozen=True)
class Chosen:
    """One chosen reference and why, for example `yaw gap 34°, age gap 12 years`."""

    face_id: str
    reason: str


def references(
    target: Row, candidates: Sequence[Row], policy: MismatchPolicy, k: int, rng: np.random.Generator
) -> list[Chosen]:
    """Choose up to k references for a target.

    Args:
        target: the face to restore.
        candidates: faces of the same person; the target itself may stand among them. Their order does not matter.
        policy: the rules.
        k: how many are wanted.
        rng: decides between equals, or everything in mode `random`.

    Returns:
        At most k, best first; fewer where fewer are allowed. Never the target, a face of its photo or a near-duplicate.
    """
    allowed = sorted((row for row in candidates if _allowed(target, row, policy)), key=lambda row: row["face_id"])
    if not allowed or k <= 0:
        return []
    if policy.mode == "random":
        order = rng.permutation(len(allowed))[:k].tolist()
        return [Chosen(allowed[i]["face_id"], f"at random; {reason(target, allowed[i], policy)}") for i in order]
    best = max(float(row["norm"]) for row in allowed) or 1.0
    chance = rng.gumbel(size=len(allowed)).tolist()
    scores = [
        mismatch(target, row, policy) + policy.quality_weight * float(row["norm"]) / best + policy.spread * chance[i]
        for i, row in enumerate(allowed)
    ]
    left = list(range(len(allowed)))
    apart = [math.inf] * len(allowed)
    chosen: list[int] = []
    while left and len(chosen) < k:
        pick = max(left, key=lambda i: scores[i] + (policy.diversity_weight * apart[i] if chosen else 0.0))
        left.remove(pick)
        chosen.append(pick)
        if len(chosen) < k:
            for i in left:
                apart[i] = min(apart[i], mismatch(allowed[pick], allowed[i], policy))
    return [Chosen(allowed[i]["face_id"], reason(target, allowed[i], policy)) for i in chosen]


def mismatch(one: Row, two: Row, policy: MismatchPolicy) -> float:
    """How much two faces differ: the weighted sum of their gaps' bins, 0 (alike) to the sum of the weights."""
    return sum(
        weight * bisect_right(bins, size) / len(bins) for (_, size, _), bins, weight in _binned(one, two, policy)
    )


def reason(one: Row, two: Row, policy: MismatchPolicy) -> str:
    """The gaps past their first bin in words, the one that weighs most first."""
    counted = [
        (-weight * bisect_right(bins, size) / len(bins), f"{name} gap {size:.0f}{unit}")
        for (name, size, unit), bins, weight in _binned(one, two, policy)
        if size >= bins[0] and weight > 0
    ]
    return ", ".join(words for _, words in sorted(counted, key=itemgetter(0))) or "no large gap"


def near_duplicate(one: Row, two: Row, policy: MismatchPolicy) -> bool:
    """Whether two faces are the same picture for our purpose.

    That is: one face, two faces of one photo or of one second of a clip (a uri that ends in `#t=seconds`), or a
    small hash distance together with a high cosine (copies, crops and recompressions of one picture, burst shots).
    """
    if one["face_id"] == two["face_id"] or one["photo_id"] == two["photo_id"]:
        return True
    if one.get("uri") is not None and _second(one["uri"]) == _second(two.get("uri")):
        return True
    first, second = one.get("perceptual_hash"), two.get("perceptual_hash")
    if first is None or second is None or (int(first) ^ int(second)).bit_count() > policy.duplicate_bits:
        return False
    cosine = np.dot(np.asarray(one["embedding"], np.float32), np.asarray(two["embedding"], np.float32))
    return bool(cosine >= policy.duplicate_cosine)


def _allowed(target: Row, row: Row, policy: MismatchPolicy) -> bool:
    if float(row["norm"]) < policy.minimum_norm:
        return False
    if policy.minimum_sharpness > 0 and float(row["sharpness"]) < policy.minimum_sharpness:
        return False
    return not near_duplicate(target, row, policy)


def _second(uri: str | None) -> tuple[str, int] | str | None:
    if uri is None or "#t=" not in uri:
        return uri
    path, _, seconds = uri.rpartition("#t=")
    try:
        return path, int(float(seconds))
    except ValueError:
        return uri


def _binned(
    one: Row, two: Row, policy: MismatchPolicy
) -> tuple[tuple[tuple[str, float, str], tuple[float, ...], float], ...]:
    """(name, size, unit) of each gap with its bins and its weight."""
    return (
        (("yaw", _difference(one, two, "yaw"), "°"), policy.yaw_bins, policy.yaw_weight),
        (("pitch", _difference(one, two, "pitch"), "°"), policy.pitch_bins, policy.pitch_weight),
        (_years(one, two), policy.age_bins, policy.age_weight),
        (("brightness", _difference(one, two, "brightness"), " levels"), policy.brightness_bins,
         policy.brightness_weight),
    )


def _difference(one: Row, two: Row, key: str) -> float:
    first, second = one.get(key), two.get(key)
    if first is None or second is None:
        return 0.0
    size = abs(float(first) - float(second))
    return 0.0 if math.isnan(size) else size


def _years(one: Row, two: Row) -> tuple[str, float, str]:
    if one.get("age") is not None and two.get("age") is not None:
        return "age", _difference(one, two, "age"), " years"
    first, second = one.get("taken"), two.get("taken")
    if first is None or second is None:
        return "time", 0.0, " years"
    return "time", abs((first - second).days) / 365.25, " years"
