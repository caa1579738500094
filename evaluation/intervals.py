"""Bootstrap intervals over identities: rows of one person are not independent, so persons are drawn, not rows.

In: values [N] and each row's identity. Out: the mean over rows with a percentile interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from anchorface.records import rng

PIECE = 250
"""Samples that are multiplied at once."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval (or another coverage), over `rows` rows of `identities` persons."""

    mean: float
    low: float
    high: float
    rows: int
    identities: int

    def apart(self, other: "Interval") -> bool:
        """Whether the two intervals do not overlap."""
        return self.high < other.low or other.high < self.low

    def to_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "low": self.low, "high": self.high, "rows": self.rows,
                "identities": self.identities}


def bootstrap(values: Sequence[float] | np.ndarray, identities: Sequence[str], *, draws: int = 4000,
              coverage: float = 0.95, seed: int = 0) -> Interval | None:
    """The mean over rows and its percentile bootstrap interval, drawing identities with replacement.

    Args:
        values: [N], any unit; booleans count as 0 and 1.
        identities: [N], who stands in each row.
        draws: resamples. coverage: 0..1.
        seed: equal arguments give equal intervals.

    Returns:
        The interval; None where there are no rows.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0:
        return None
    people, place = np.unique(np.asarray(identities), return_inverse=True)
    sums = np.bincount(place, weights=numbers, minlength=len(people))
    counts = np.bincount(place, minlength=len(people)).astype(np.float64)
    means = resampled(sums, counts, draws=draws, seed=seed)
    low, high = np.quantile(means, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(mean=float(numbers.mean()), low=float(low), high=float(high), rows=len(numbers),
                    identities=len(people))


def resampled(sums: np.ndarray, counts: np.ndarray, *, draws: int = 4000, seed: int = 0) -> np.ndarray:
    """The mean over rows of each of `draws` samples of as many persons, drawn with replacement: float64 [draws].

    Args:
        sums, counts: [persons], each one's sum of values and number of rows.
    """
    return np.concatenate([(drawn @ sums) / (drawn @ counts) for drawn in _drawn(len(sums), draws, seed)])


@lru_cache(maxsize=4)
def _drawn(persons: int, draws: int, seed: int) -> tuple[np.ndarray, ...]:
    """How often each person stands in each sample, pieces of [draws, persons]: the same for every measure of as many
    persons. Small whole numbers in a byte or two, and a product turns one piece at a time into floats."""
    generator, shares = rng(seed, "bootstrap"), np.full(persons, 1 / persons)
    pieces = []
    for start in range(0, draws, PIECE):
        piece = generator.multinomial(persons, shares, size=min(PIECE, draws - start))
        pieces.append(piece.astype(np.min_scalar_type(piece.max(initial=0))))
    return tuple(pieces)
