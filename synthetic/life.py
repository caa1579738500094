"""A person's life in photographs: when they were born, when each picture was taken, how old they were.

Ages are years (days / 365.25), always taken minus born.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from anchorface.records import rng
from anchorface.synthetic.head import Head, identity
from anchorface.synthetic.state import OLDEST, YOUNGEST, State, draw_state

YEAR = 365.25
LAST_YEAR = 2025  # no picture is taken later


@dataclass(frozen=True)
class Person:
    """One photograph's share of a life: who, how they looked, when it was taken, when they were born."""

    head: Head
    state: State
    taken: date
    born: date


def album(seed: int, photos: int) -> Iterator[Person]:
    """A person's photographs in the order they were taken.

    Args:
        seed: identity seed, as for `identity`.
        photos: how many, at least 1.
    Yields:
        A `Person` each. Ages spread over 15 to 50 years of adult life (our choice); every fourth person
        keeps one haircut length for life.
    Raises:
        ValueError: if `photos` is below 1.
    """
    if photos < 1:
        raise ValueError(f"photos is {photos}; an album has at least one")
    head = identity(seed)
    g = rng(seed, "synthetic life")
    span = float(g.uniform(15, 50))
    youngest = float(g.uniform(YOUNGEST + 0.1, max(YOUNGEST + 0.2, OLDEST - 2 - span)))
    last_birth = LAST_YEAR - int(youngest + span) - 1
    born = date(int(g.integers(1930, max(1931, last_birth + 1))), 1, 1) + timedelta(days=int(g.integers(365)))
    ages = np.sort(g.uniform(youngest, youngest + span, photos))
    for position, age in enumerate(ages):
        taken = born + timedelta(days=round(age * YEAR))
        exact = (taken - born).days / YEAR
        state = draw_state(rng(seed, "synthetic photograph", position), exact, head.wears_glasses)
        yield Person(head, replace(state, age=exact), taken, born)
