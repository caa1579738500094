"""What a profile draws from: named ranges as data, and the hand that draws.

A `Profile` is a flat table `key -> range` and a family: the function that draws from the table and writes operations.
So every distribution can be read, tested and overridden by its key, and the order of operations stands in code once
per family. A key is `step.parameter` (`blur.sigma`); lengths are stated for 512 px.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np

from anchorface.degradation.plan import Operation, Value
from anchorface.records.errors import ConfigurationError

REFERENCE_SIZE = 512
DECIMALS = 4
"""Real numbers are rounded to so many decimals, so that a plan's JSON stays short."""


@dataclass(frozen=True)
class Uniform:
    """Real numbers, evenly between the ends."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        return round(float(rng.uniform(self.low, self.high)), DECIMALS)

    def fault(self) -> str | None:
        return None if -math.inf < self.low <= self.high < math.inf else f"{self.low} to {self.high} is no range"


@dataclass(frozen=True)
class LogUniform:
    """Positive real numbers whose logarithm is even between the ends' logarithms."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        return round(float(np.exp(rng.uniform(math.log(self.low), math.log(self.high)))), DECIMALS)

    def fault(self) -> str | None:
        return None if 0 < self.low <= self.high < math.inf else f"{self.low} to {self.high} is no positive range"


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`, both included, in steps."""

    low: int
    high: int
    step: int = 1

    def draw(self, rng: np.random.Generator) -> int:
        return self.low + self.step * int(rng.integers((self.high - self.low) // self.step + 1))

    def fault(self) -> str | None:
        if not all(isinstance(n, int) for n in (self.low, self.high, self.step)):
            return "the ends must be whole numbers"
        return None if self.low <= self.high and self.step > 0 else f"{self.low} to {self.high} is no range"


@dataclass(frozen=True)
class Choice:
    """One of some values, with probabilities in proportion to their weights; even if there are none."""

    values: tuple[Value, ...]
    weights: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator) -> Value:
        if not self.weights:
            return self.values[int(rng.integers(len(self.values)))]
        return self.values[int(rng.choice(len(self.values), p=np.array(self.weights) / sum(self.weights)))]

    def fault(self) -> str | None:
        if not self.values or (self.weights and len(self.weights) != len(self.values)):
            return f"{len(self.values)} values with {len(self.weights)} weights"
        if any(not 0 <= weight < math.inf for weight in self.weights) or (self.weights and not sum(self.weights)):
            return f"weights {self.weights} are no probabilities"
        return None


@dataclass(frozen=True)
class Chance:
    """Yes with this probability."""

    probability: float

    def draw(self, rng: np.random.Generator) -> bool:
        return bool(rng.random() < self.probability)

    def fault(self) -> str | None:
        return None if 0 <= self.probability <= 1 else f"{self.probability} is no probability"


Range = Uniform | LogUniform | Whole | Choice | Chance


class Draws:
    """The hand that draws one plan.

    Args:
        ranges: the profile's table. rng: where the numbers come from. size: side of the image, px.

    Attributes:
        scale: size / 512, by which lengths shrink for smaller images. side: of the image at this point of the plan,
        px; a family keeps it true. seen: every (key, drawn value) so far, before any scaling. name: what the plan is
        called, if a family sets it; otherwise it bears the profile's name.
    """

    def __init__(self, ranges: Mapping[str, Range], rng: np.random.Generator, size: int) -> None:
        self.ranges, self.rng, self.size = ranges, rng, size
        self.scale, self.side = size / REFERENCE_SIZE, size
        self.seen: list[tuple[str, Any]] = []
        self.name = ""

    def __call__(self, key: str) -> Any:
        """Draw from the range of this key."""
        value = self.ranges[key].draw(self.rng)
        self.seen.append((key, value))
        return value

    def length(self, key: str) -> float:
        """Draw a length stated for 512 px, in pixels of this plan's size."""
        return round(self(key) * self.scale, DECIMALS)

    def seed(self) -> int:
        """A seed for what is too large to stand in a plan: a noise field, the places of scratches."""
        return int(self.rng.integers(2**32))

    def order(self, count: int) -> list[int]:
        """A random order of `count` things."""
        return [int(place) for place in self.rng.permutation(count)]


Kind = TypeVar("Kind")
Family = Callable[[Draws], list[Operation]]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A named way to make faces worse.

    family: draws the numbers and writes the operations. ranges: what it draws from. source: where the numbers are
    from ("our choice" where nobody published them). limits: key -> lowest and highest number that its range may hold,
    or for a Choice all words that it may.
    """

    name: str
    family: Family
    ranges: Mapping[str, Range]
    source: str
    limits: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in self.ranges.items():
            if fault := value.fault() or _excess(value, self.limits.get(key)):
                raise ConfigurationError(f"degradation profile {self.name!r}, {key}: {fault}")

    def with_ranges(self, overrides: Mapping[str, Any]) -> Self:
        """This profile with some ranges replaced.

        Args:
            overrides: key -> a Range of the same kind, or its numbers: `{"jpeg.quality": [30, 90]}`,
                `{"grey.chance": 0.5}`; for a Choice a mapping value -> weight.

        Raises:
            ConfigurationError: an unknown key (with its neighbours) or an impossible range; the key is named.
        """
        ranges = dict(self.ranges)
        for key, given in overrides.items():
            if key not in ranges:
                near = difflib.get_close_matches(key, ranges, n=3, cutoff=0.4)
                raise ConfigurationError(f"degradation profile {self.name!r} has no range {key!r}"
                                         + (f"; did you mean {', '.join(near)}?" if near else ""))
            ranges[key] = _as_range(ranges[key], given, f"degradation profile {self.name!r}, {key}")
        return replace(self, ranges=ranges)


def _excess(given: Range, limit: tuple[Value, ...] | None) -> str | None:
    """What a range holds beyond its limit, in words: two numbers are ends, anything else is all that may be chosen."""
    if limit is None or isinstance(given, Chance):
        return None
    values: tuple[Any, ...] = given.values if isinstance(given, Choice) else (given.low, given.high)
    if len(limit) == 2 and not any(isinstance(value, str) for value in (*limit, *values)):
        ends: tuple[Any, ...] = limit
        strange = [value for value in values if not ends[0] <= value <= ends[1]]
        return f"{' to '.join(map(str, values))} leaves {ends[0]} to {ends[1]}" if strange else None
    strange = [value for value in values if value not in limit]
    return f"{', '.join(map(repr, strange))} is none of {', '.join(map(str, limit))}" if strange else None


def _as_range(old: Range, given: Any, what: str) -> Range:
    kind = type(old)
    try:
        if isinstance(given, kind):
            return given
        if isinstance(old, Choice):
            return Choice(tuple(given), tuple(float(weight) for weight in given.values()))
        if isinstance(old, Chance):
            return Chance(float(given))
        low, high = given
        return replace(old, low=low, high=high)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{what}: {given!r} cannot replace {old}") from error


def named(name: str, known: Mapping[str, Kind], of: str = "") -> Kind:
    """The profile of that name; of: said after the name where it is refused.

    Raises:
        ConfigurationError: there is none; its neighbours and all names are given.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigurationError(f"no degradation profile {name!r}{of}{hint} Known: {', '.join(known)}")
    return known[name]
