"""Bootstrap intervals cover, count people rather than rows, and repeat."""

import numpy as np

from anchorface.evaluation import Interval, bootstrap
from anchorface.records import rng


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    covered = 0
    for trial in range(300):
        draw = rng(trial, "people")
        people = draw.normal(0.3, 0.2, 30)
        values = np.repeat(people, 4) + draw.normal(0, 0.05, 120)
        found = bootstrap(values, np.repeat(np.arange(30).astype(str), 4), draws=400, seed=trial)
        assert found is not None
        covered += found.low <= 0.3 <= found.high
    assert 0.88 <= covered / 300 <= 0.99


def test_many_pictures_of_few_people_do_not_narrow_the_interval() -> None:
    people = rng(0, "people").normal(0, 1, 12)
    once = bootstrap(people, [str(n) for n in range(12)])
    often = bootstrap(np.repeat(people, 50), np.repeat(np.arange(12).astype(str), 50))
    assert once is not None and often is not None
    assert (often.high - often.low) > 0.95 * (once.high - once.low)
    assert (often.rows, often.identities, once.identities) == (600, 12, 12)


def test_mean_is_over_rows_and_same_seed_gives_same_interval() -> None:
    values, who = [1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"]
    one, two = bootstrap(values, who, seed=3), bootstrap(values, who, seed=3)
    assert one == two
    assert one is not None and one.mean == 2.0 and (one.low, one.high) == (1.0, 5.0)


def test_nothing_has_no_interval() -> None:
    assert bootstrap([], []) is None


def test_apart_means_no_overlap() -> None:
    def interval(low: float, high: float) -> Interval:
        return Interval(mean=(low + high) / 2, low=low, high=high, rows=1, identities=1)

    assert interval(0, 1).apart(interval(2, 3)) and interval(2, 3).apart(interval(0, 1))
    assert not interval(0, 2).apart(interval(1, 3))
