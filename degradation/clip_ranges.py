"""What a clip's profile draws from: the ranges of `degradation.ranges`, and how numbers go over the frames.

A number stays for the clip, drifts, or is new in every frame. One that drifts starts anywhere in its range `key` and
changes from each frame to the next by a draw from `key_step`, held at the ends of its range.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorface.degradation.clip_plan import ClipOperation
from anchorface.degradation.profiles.first_order import shrunk_side
from anchorface.degradation.ranges import DECIMALS, REFERENCE_SIZE, Draws, Profile, Range, Uniform, Whole


class ClipDraws(Draws):
    """The hand that draws one clip plan.

    frames: of the clip. rate: frames per second. reference: what the side would be at this point of a plan for 512 px,
    see `degradation.profiles.steps`. The rest as in Draws.
    """

    def __init__(self, ranges: Mapping[str, Range], rng: np.random.Generator, size: int, frames: int,
                 rate: float) -> None:
        super().__init__(ranges, rng, size)
        self.frames, self.rate, self.reference = frames, rate, float(REFERENCE_SIZE)

    @property
    def grain(self) -> float:
        """By what lengths stated for 512 px are scaled at this point of the plan."""
        return self.side / self.reference

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
        """A drifting length stated for 512 px, in px of the frames as they are."""
        return tuple(round(value * self.grain, DECIMALS) for value in self.drift(key))

    def resized(self, reference: float) -> int:
        """The side for a step that ends at `reference` in a plan for 512 px, where the frames are from then on."""
        self.reference, self.side = reference, shrunk_side(REFERENCE_SIZE / reference, self.size)
        return self.side

    def anew(self, key: str) -> tuple[Any, ...]:
        """A value per frame, each drawn for itself."""
        return tuple(self(key) for _ in range(self.frames))

    def seeds(self) -> tuple[int, ...]:
        """A seed per frame."""
        return tuple(int(seed) for seed in self.rng.integers(2**32, size=self.frames))


@dataclass(frozen=True, kw_only=True)
class ClipProfile(Profile):
    """A named way to make clips worse: as a picture's, but its family draws over the frames."""

    family: Callable[[ClipDraws], list[ClipOperation]]  # type: ignore[assignment]
