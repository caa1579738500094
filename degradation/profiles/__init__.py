"""Named profiles, and drawing a Plan from one. A module lists its profiles in PROFILES."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from anchorface.degradation.plan import Plan
from anchorface.degradation.profiles import bsrgan, camera, first_order, iconface, photographs, second_order, wild
from anchorface.degradation.ranges import REFERENCE_SIZE, Draws, Profile, named
from anchorface.records.errors import ConfigurationError

MINIMUM_SIZE = 16

_MODULES = (first_order, second_order, bsrgan, iconface, camera, photographs, wild)
_PROFILES: dict[str, Profile] = {one.name: one for module in _MODULES for one in module.PROFILES}


def profiles() -> tuple[str, ...]:
    """The names that `draw` knows."""
    return tuple(_PROFILES)


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ConfigurationError: there is none.
    """
    return named(name, _PROFILES)


def with_overrides(name: str | Profile, overrides: Mapping[str, Any] | None = None) -> Profile:
    """A profile, by name or as it is, with the ranges that replace its own; arguments and errors as of `draw`."""
    chosen = profile(name) if isinstance(name, str) else name
    return chosen.with_ranges(overrides) if overrides else chosen


def draw(name: str | Profile, rng: np.random.Generator, size: int = REFERENCE_SIZE,
         overrides: Mapping[str, Any] | None = None) -> Plan:
    """Draw every number of one degradation.

    Args:
        name: one of `profiles()`, or a profile of your own.
        rng: where the numbers come from; `records.rng(seed, "degradation", position)` in a run.
        size: side of the image that the plan is for, px.
        overrides: ranges to use instead of the profile's own, as in `Profile.with_ranges`.

    Returns:
        The plan.

    Raises:
        ConfigurationError: an unknown profile or range, an impossible range, or a size below 16 px.
    """
    chosen = with_overrides(name, overrides)
    if size < MINIMUM_SIZE:
        raise ConfigurationError(f"degradation for {size} px: the smallest size is {MINIMUM_SIZE} px")
    draws = Draws(chosen.ranges, rng, size)
    operations = tuple(chosen.family(draws))
    return Plan(profile=draws.name or chosen.name, size=size, operations=operations)
