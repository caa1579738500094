"""Where the numbers of a frozen setting must lie, said beside the field, and checked by one function.

    learning_rate: Annotated[float, Bounds(0, 1, above=True)] = 1e-5
    betas: Annotated[tuple[float, float], Bounds(0, 1, below=True, count=2)] = (0.9, 0.99)

    def __post_init__(self) -> None:
        check(self, "recipe: ")

A bound holds for every number of a field, tuples within tuples included; None and words are no numbers. A number
without bounds must still be finite.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, get_args, get_origin

from anchorface.records.errors import ConfigurationError


@dataclass(frozen=True)
class Bounds:
    """least, most: a number's ends, both allowed unless `above` (least is not) or `below` (most is not) says otherwise.
    count: how many numbers a tuple has, 0 for any."""

    least: float
    most: float
    above: bool = False
    below: bool = False
    count: int = 0

    def hold(self, number: Any) -> bool:
        """Whether a number lies inside; NaN never does."""
        low = self.least < number if self.above else self.least <= number
        high = number < self.most if self.below else number <= self.most
        return bool(low and high)

    def __str__(self) -> str:
        low = f"above {self.least:,}" if self.above else f"from {self.least:,}"
        return f"{low} {'to below' if self.below else 'to'} {self.most:,}"


SHARE = Bounds(0, 1)
COUNT = Bounds(1, 10**12)
COUNT_OR_NONE = Bounds(0, 10**12)
SEED = Bounds(-(2**63), 2**63 - 1)
AMOUNT = Bounds(0, 1e9)
SIZE = Bounds(1, 10**6)
SIZE_OR_NONE = Bounds(0, 10**6)


def check(value: Any, place: str) -> None:
    """Refuse a dataclass whose numbers lie outside their bounds, are not finite, or are none where one must stand.

    Args:
        value: a dataclass. place: what stands before a field's name in the error, such as `feed.`.

    Raises:
        ConfigurationError: names the first such field, its value and what it may be.
    """
    for entry in fields(value):
        require(type(value), entry.name, getattr(value, entry.name), f"{place}{entry.name}")


def require(kind: type, name: str, given: Any, called: str) -> None:
    """Refuse a value for a field of a dataclass; see `check`.

    Args:
        kind: the dataclass. name: its field. given: the value. called: the field's name in the error.
    """
    bounds = declared(kind).get(name)
    if bounds is None:
        if any(isinstance(number, float) and not math.isfinite(number) for number in _leaves(given)):
            raise ConfigurationError(f"{called} is {given!r}: finite numbers are needed")
        return
    types = _types(next(entry.type for entry in fields(kind) if entry.name == name))
    if given is None and type(None) in types:
        return
    numbers = [leaf for leaf in _leaves(given) if not (isinstance(leaf, str) and str in types)]
    whole, several = float not in types, tuple in types
    fits = all(_is_number(number, whole) and bounds.hold(number) for number in numbers)
    if not fits or several != isinstance(given, tuple | list) or len(numbers) != (bounds.count or len(numbers)):
        what = f"{bounds.count or ''} {'whole ' if whole else ''}number{'s' if several else ''} {bounds}".strip()
        raise ConfigurationError(f"{called} is {given!r}: {'' if several else 'a '}{what} "
                                 f"{'are' if several else 'is'} needed")


def declared(kind: type) -> dict[str, Bounds]:
    """The bounds of a dataclass's fields, by name; fields without bounds are left out."""
    found = {}
    for entry in fields(kind):
        for note in getattr(entry.type, "__metadata__", ()):
            if isinstance(note, Bounds):
                found[entry.name] = note
    return found


def _leaves(given: Any) -> Iterator[Any]:
    """The values inside tuples within tuples."""
    if isinstance(given, tuple | list):
        for part in given:
            yield from _leaves(part)
    else:
        yield given


def _is_number(value: Any, whole: bool) -> bool:
    return isinstance(value, Integral if whole else Real) and not isinstance(value, bool)


def _types(annotation: Any) -> set[Any]:
    """The types that an annotation is made of, `tuple` among them if it is one."""
    inner = [part for part in get_args(annotation) if isinstance(part, type) or get_origin(part)]
    return {get_origin(annotation)}.union(*map(_types, inner)) if inner else {annotation}
