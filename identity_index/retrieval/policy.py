"""How references are chosen, as a frozen value: bins of each gap, shares asked of them, weights, exclusions.

An axis is one way in which a reference differs from its target. Sizes: yaw and pitch in degrees, age in years
(without ages the time between the dates taken), brightness in 8-bit levels; light is the distance between the two
directions (light_x, light_y), smile the difference in mouth width over eye distance. quality is no gap: the
reference's norm as a share of the best admissible candidate's.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from numbers import Real
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from anchorface.records.bounds import AMOUNT, SHARE, Bounds, check
from anchorface.records.errors import ConfigurationError

MODES = ("mismatch", "random", "asked")
AXES = ("yaw", "pitch", "age", "brightness", "light", "smile", "quality")
UNITS = {"yaw": (1, "°"), "pitch": (1, "°"), "age": (1, " years"), "brightness": (1, " levels"), "light": (100, " %"),
         "smile": (100, " %"), "quality": (100, " %")}
"""What a size is multiplied by, and the unit after it, when it is told in words."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a policy: ends of its bins, its weight, the shares asked of the bins (empty: none asked), and those
    that wanted bins are drawn from."""

    name: str
    bins: tuple[float, ...]
    weight: float
    asked: tuple[float, ...]
    drawn: tuple[float, ...]

    def told(self, size: float) -> str:
        """A size in words, for example `34°`."""
        times, unit = UNITS[self.name]
        return f"{size * times:.0f}{unit}"

    def bin_told(self, number: int) -> str:
        """A bin in words: `under 8°`, `8 to 15°`, `from 40°`."""
        if number == 0:
            return f"under {self.told(self.bins[0])}"
        if number == len(self.bins):
            return f"from {self.told(self.bins[-1])}"
        return f"{self.bins[number - 1] * UNITS[self.name][0]:.0f} to {self.told(self.bins[number])}"


@dataclass(frozen=True, kw_only=True)
class MismatchPolicy:
    """How references are chosen. All numbers are our choice.

    mode: `mismatch` prefers large gaps to the target; `asked` follows the asked shares; `random` draws evenly from
    whatever is allowed.
    *_bins: ends of the bins of an axis; in `mismatch`, a gap past n of its N ends scores n / N, times its weight.
    *_asked: the share of references that shall fall into each of the N + 1 bins; empty where nothing is asked. In
    `asked`, missing the wanted bin by n costs n / N, times the axis's weight.
    drawn: (axis, shares) to draw wanted bins from instead of the asked ones, as `fit_shares` finds them for a
    collection; a mapping is taken, and kept as its pairs.
    quality_weight: for the norm, as a share of the best candidate's. diversity_weight: for gaps to the
    references already chosen. spread: of the random part of the score (Gumbel), so that epochs differ.
    minimum_norm, minimum_sharpness, minimum_score: candidates below are never chosen; 0 asks nothing.
    duplicate_cosine, duplicate_bits, duplicate_smile: at least that similar, with at most that many differing hash bits
    and less than that smile gap, is a near-duplicate; of 122 copies of photographs, cropped or at half size and JPEG
    quality 40, the smile moves by .046 (98 %) and at most by .06.
    clip_seconds: frames of one clip less than so far apart are one picture, also across the border of two seconds.
    other_day: faces known to be taken on the target's day are left out as of one session.
    """

    mode: str = "mismatch"
    yaw_bins: Annotated[tuple[float, ...], AMOUNT] = (8.0, 15.0, 25.0, 40.0)
    pitch_bins: Annotated[tuple[float, ...], AMOUNT] = (6.0, 12.0, 20.0)
    age_bins: Annotated[tuple[float, ...], AMOUNT] = (2.0, 5.0, 10.0, 20.0)
    brightness_bins: Annotated[tuple[float, ...], AMOUNT] = (15.0, 30.0, 60.0)
    light_bins: Annotated[tuple[float, ...], AMOUNT] = (0.05, 0.1, 0.2)
    smile_bins: Annotated[tuple[float, ...], AMOUNT] = (0.05, 0.1, 0.2)
    quality_bins: Annotated[tuple[float, ...], AMOUNT] = (0.8, 0.9)
    yaw_asked: Annotated[tuple[float, ...], SHARE] = ()
    pitch_asked: Annotated[tuple[float, ...], SHARE] = ()
    age_asked: Annotated[tuple[float, ...], SHARE] = ()
    brightness_asked: Annotated[tuple[float, ...], SHARE] = ()
    light_asked: Annotated[tuple[float, ...], SHARE] = ()
    smile_asked: Annotated[tuple[float, ...], SHARE] = ()
    quality_asked: Annotated[tuple[float, ...], SHARE] = ()
    drawn: Annotated[tuple[tuple[str, tuple[float, ...]], ...], SHARE] = ()
    yaw_weight: Annotated[float, AMOUNT] = 1.0
    pitch_weight: Annotated[float, AMOUNT] = 0.5
    age_weight: Annotated[float, AMOUNT] = 1.0
    brightness_weight: Annotated[float, AMOUNT] = 0.5
    light_weight: Annotated[float, AMOUNT] = 0.25
    smile_weight: Annotated[float, AMOUNT] = 0.25
    quality_weight: Annotated[float, AMOUNT] = 0.5
    diversity_weight: Annotated[float, AMOUNT] = 0.5
    spread: Annotated[float, AMOUNT] = 0.15
    minimum_norm: Annotated[float, AMOUNT] = 0.0
    minimum_sharpness: Annotated[float, AMOUNT] = 0.0
    minimum_score: Annotated[float, AMOUNT] = 0.0
    duplicate_cosine: Annotated[float, Bounds(-1, 2)] = 0.9
    duplicate_bits: Annotated[int, Bounds(-1, 64)] = 8
    duplicate_smile: Annotated[float, AMOUNT] = 0.08
    clip_seconds: Annotated[float, AMOUNT] = 1.0
    other_day: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigurationError(f"reference policy: mode {self.mode!r}; it is one of {', '.join(MODES)}")
        given: Any = self.drawn
        try:
            pairs = sorted((str(name), tuple(shares)) for name, shares in dict(given).items())
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"reference policy: drawn {given!r}; axes with their shares are needed, such as "
                                     '{"yaw": [0.2, 0.3, 0.5]}') from error
        object.__setattr__(self, "drawn", tuple(pairs))
        for axis in AXES:
            bins, asked = self._numbers(f"{axis}_bins"), self._numbers(f"{axis}_asked")
            if not bins or bins[0] <= 0 or any(a >= b for a, b in pairwise(bins)):
                raise ConfigurationError(f"reference policy: {axis}_bins {bins}; rising numbers above 0 are needed")
            if asked:
                _check_shares(f"{axis}_asked", asked, bins)
        for axis, shares in pairs:
            if not getattr(self, f"{axis}_asked", ()):
                raise ConfigurationError(f"reference policy: drawn {axis!r}; nothing is asked of such an axis")
            _check_shares(f"drawn {axis}", shares, getattr(self, f"{axis}_bins"))
        if self.mode == "asked" and not any(axis.asked for axis in self.axes):
            raise ConfigurationError("reference policy: mode 'asked' asks for nothing; give shares for at least one "
                                     f"axis: {', '.join(f'{axis}_asked' for axis in AXES)}")
        check(self, "reference policy: ")

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The policy, axis by axis in the order of AXES."""
        drawn = dict(self.drawn)
        return tuple(Axis(name=name, bins=getattr(self, f"{name}_bins"), weight=getattr(self, f"{name}_weight"),
                          asked=(asked := getattr(self, f"{name}_asked")), drawn=drawn.get(name, asked))
                     for name in AXES)

    @cached_property
    def ends(self) -> NDArray[np.float64]:
        """The ends of all bins, float64 [axes, 1, most ends], short rows filled up with infinity."""
        filled = np.full((len(AXES), 1, max(len(axis.bins) for axis in self.axes)), np.inf)
        for row, axis in zip(filled, self.axes, strict=True):
            row[0, :len(axis.bins)] = axis.bins
        return filled

    def passed(self, sizes: NDArray[np.float64]) -> NDArray[np.int64]:
        """The bin that each size falls into: how many ends of its axis's bins it has reached.

        Args:
            sizes: [axes, ...] in the order of AXES, or fewer of the first axes; an unknown one, NaN, has reached none.
        """
        ends = self.ends[:len(sizes)].reshape(len(sizes), *[1] * (sizes.ndim - 1), -1)
        found: NDArray[np.int64] = (sizes[..., None] >= ends).sum(axis=-1)
        return found

    def score(self, gaps: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much faces differ: for each of gaps [6, ...], 0 (alike) to the sum of the gaps' weights."""
        total = np.zeros(gaps.shape[1:])
        for axis, passed in zip(self.axes[:-1], self.passed(gaps), strict=True):
            total = total + axis.weight * passed / len(axis.bins)
        return total

    def _numbers(self, name: str) -> tuple[float, ...]:
        """A field's numbers, kept as a tuple."""
        given: Any = getattr(self, name)
        if not _are_numbers(given):
            raise ConfigurationError(f"reference policy: {name} {given!r}; a list of numbers is needed")
        object.__setattr__(self, name, tuple(given))
        return tuple(given)


def _are_numbers(given: Any) -> bool:
    return isinstance(given, tuple | list) and all(isinstance(number, Real) for number in given)


def _check_shares(name: str, shares: tuple[float, ...], bins: tuple[float, ...]) -> None:
    if (not _are_numbers(shares) or len(shares) != len(bins) + 1 or min(shares) < 0
            or abs(sum(shares) - 1.0) > 1e-6):
        raise ConfigurationError(f"reference policy: {name} {shares}; the ends {bins} make {len(bins) + 1} bins: as "
                                 "many shares that add up to 1 are needed")


def asked_policy() -> MismatchPolicy:
    """Mostly turned by 15 to 40 degrees and mostly years apart, with some of everything: our choice."""
    return MismatchPolicy(mode="asked", yaw_asked=(0.1, 0.2, 0.3, 0.25, 0.15), age_asked=(0.3, 0.2, 0.2, 0.2, 0.1))
