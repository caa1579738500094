"""What a clip's profile draws from: the ranges of `degradation.ranges`, and how numbers go over the frames.

A number stays for the clip, drifts, or is new in every frame. One that drifts starts anywhere in its range `key` and
changes from each frame to the next by a draw from `key_step`, held at the ends of its range.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from degradation.clip_plan import ClipOperation
from degradation.ranges import DECIMALS, Draws, Profile, Range, Uniform, Whole


class ClipDraws(Draws):
    """The hand that draws one clip plan. frames: of the clip. rate: frames per second. The rest as in Draws."""

    def __init__(self, ranges: Mapping[str, Range], rng: np.random.Generator, size: int, frames: int,
                 rate: float) -> None:
        super().__init__(ranges, rng, size)
        self.frames, self.rate = frames, rate

    def drift(self, key: str, start: float | None = None) -> tuple[Any, ...]:
        """A value per frame, drifting as said above; start: the first one, where it is not drawn from `key`."""
        span = self.ranges[key]
        assert isinstance(span, Uniform | Whole), key
        values = [self(key) if start is None else start]
        for _ in range(self.frames - 1):
            value = min(max(values[-1] + self(f"{key}_step"), span.low), span.high)
            values.append(round(value) if isinstance(span, Whole) else round(value, DECIMALS))
        return tuple(values)

    def drifting_length(self, key: str) -> tuple[float, ...]:
        """A drifting length stated for 512 px, in pixels of this plan's size."""
        return tuple(round(value * self.scale, DECIMALS) for value in self.drift(key))

    def anew(self, key: str) -> tuple[Any, ...]:
        """A value per frame, each drawn for itself."""
        return tuple(self(key) for _ in range(self.frames))

    def seeds(self) -> tuple[int, ...]:
        """A seed per frame."""
        return tuple(int(seed) for seed in self.rng.integers(2**32, size=self.frames))


@dataclass(frozen=True, kw_only=True)
class ClipProfile:
    """A named way to make clips worse; fields as in `degradation.ranges.Profile`."""

    name: str
    family: Callable[[ClipDraws], list[ClipOperation]]
    ranges: Mapping[str, Range]
    source: str

    def __post_init__(self) -> None:
        self._table()

    def with_ranges(self, overrides: Mapping[str, Any]) -> "ClipProfile":
        """This profile with some ranges replaced; arguments and errors as in `Profile.with_ranges`."""
        return replace(self, ranges=self._table().with_ranges(overrides).ranges)

    def _table(self) -> Profile:
        """The table as that of an image's profile, which checks and overrides it."""
        return Profile(name=self.name, family=lambda draws: [], ranges=self.ranges, source=self.source)
