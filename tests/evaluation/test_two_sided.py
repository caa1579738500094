"""Strata, paired differences and their test."""

import numpy as np
import pytest

from anchorface.evaluation.strata import STRATA, UNKNOWN
from anchorface.evaluation.two_sided import DRAWS, difference
from anchorface.records import rng


def cases(values: np.ndarray, each: int = 3) -> dict[int, tuple[float, str]]:
    return {n: (float(value), f"p{n // each}") for n, value in enumerate(values)}


def test_bins_cover_every_value_in_order() -> None:
    pose = STRATA[0]
    assert [pose.bin(v) for v in (0, 9.9, 10, 34, 35, 90, None)] == [
        "under 10°", "under 10°", "10 to 20°", "20 to 35°", "35° and more", "35° and more", UNKNOWN]
    for stratum in STRATA:
        assert len(set(stratum.bins)) == len(stratum.edges) + 2


def test_a_difference_is_paired_and_over_persons() -> None:
    draw = rng(0, "differences")
    people = np.repeat(draw.normal(0, 5, 30), 3)
    one, other = cases(people), cases(people + 0.1 + np.repeat(draw.normal(0, 0.05, 30), 3))
    found = difference(one, other)
    assert found is not None and found["mean"] == pytest.approx(0.1, abs=0.03)
    assert 0 < found["low"] < found["mean"] < found["high"] and found["p"] == 1 / DRAWS
    assert (found["rows"], found["identities"]) == (90, 30)
    del other[0]
    again = difference(one, other)
    assert again is not None and again["rows"] == 89


def test_the_test_is_wrong_as_seldom_as_it_says() -> None:
    wrong = 0
    for trial in range(200):
        draw = rng(trial, "no difference")
        noise = np.repeat(draw.normal(0, 1, 25), 3) + draw.normal(0, 0.3, 75)
        found = difference(cases(np.zeros(75)), cases(noise), seed=trial)
        assert found is not None
        wrong += found["p"] < 0.05
    assert 0.02 <= wrong / 200 <= 0.12


def test_one_person_tells_nothing() -> None:
    assert difference({0: (1.0, "a"), 1: (2.0, "a")}, {0: (2.0, "a"), 1: (2.0, "a")}) is None
    assert difference({}, {}) is None
