"""What a profile's hand draws, and how well it follows the profile's table."""

import math
from collections import defaultdict
from typing import Any

import numpy as np
from scipy import stats

from anchorface.degradation import Profile
from anchorface.degradation.ranges import DECIMALS, Chance, Choice, Draws, LogUniform, Range, Uniform, Whole
from anchorface.records import rng


def seen(chosen: Profile, count: int, size: int = 512) -> dict[str, list[Any]]:
    """The drawn values by key, over `count` plans."""
    values: dict[str, list[Any]] = defaultdict(list)
    generator = rng(0, "families", 0)
    for _ in range(count):
        draws = Draws(chosen.ranges, generator, size)
        chosen.family(draws)
        for key, value in draws.seen:
            values[key].append(value)
    return values


def chance_of(values: list[Any], stated: Range) -> float:
    """p of a test of the values against the range: 1 where there is but one value."""
    match stated:
        case Chance(probability):
            return float(stats.binomtest(sum(values), len(values), probability).pvalue)
        case Choice(words, weights):
            shares = np.array(weights or [1.0] * len(words))
            possible = shares > 0
            counts = np.array([values.count(word) for word in words])
            assert counts.sum() == len(values) and not counts[~possible].any()
            expected = shares[possible] / shares.sum() * len(values)
            return 1.0 if len(expected) == 1 else float(stats.chisquare(counts[possible], expected).pvalue)
        case Whole(low, high, step):
            wanted = np.arange(low, high + 1, step)
            counts = np.array([values.count(int(number)) for number in wanted])
            assert counts.sum() == len(values)
            return 1.0 if len(wanted) == 1 else float(stats.chisquare(counts).pvalue)
        case Uniform(low, high) | LogUniform(low, high):
            numbers = np.array(values)
            assert numbers.min() >= low - 1e-4 and numbers.max() <= high + 1e-4
            if low == high:
                assert set(values) == {round(low, DECIMALS)}
                return 1.0
            if isinstance(stated, LogUniform):
                numbers, low, high = np.log(numbers), math.log(low), math.log(high)
            return float(stats.kstest(numbers, stats.uniform(low, high - low).cdf).pvalue)
    raise AssertionError(stated)
