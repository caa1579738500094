"""Looking whether files are still what they were when they were written.

In: checks, each of one file. Out: a row for each that is not whole, with what to do about it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from anchorface.records.errors import AnchorfaceError


@dataclass(frozen=True, kw_only=True)
class Check:
    """One file. look: raises an AnchorfaceError if it is not whole. advice: what to do then."""

    place: str
    look: Callable[[], object]
    advice: str


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A file that is not whole: what was found, and what to do."""

    place: str
    found: str
    advice: str


def carry_out(checks: Iterable[Check]) -> Iterator[Damage | None]:
    """Look at each file in order; None for one that is whole."""
    for check in checks:
        try:
            check.look()
        except AnchorfaceError as error:
            yield Damage(place=check.place, found=str(error), advice=check.advice)
        else:
            yield None
