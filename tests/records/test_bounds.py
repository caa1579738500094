"""Bounds beside a field hold for every number in it."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from anchorface.records.bounds import COUNT, SHARE, Bounds, check, declared
from anchorface.records.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of each form."""

    count: Annotated[int, COUNT] = 1
    rate: Annotated[float, Bounds(0, 1, above=True)] = 0.5
    pair: Annotated[tuple[float, float], Bounds(0, 1, below=True, count=2)] = (0.0, 0.9)
    named: Annotated[tuple[tuple[str, tuple[float, ...]], ...], SHARE] = (("yaw", (0.5, 0.5)),)
    channels: Annotated[tuple[int, ...] | None, COUNT] = None
    free: float = 0.0
    word: str = "nan"

    def __post_init__(self) -> None:
        check(self, "setting.")


@pytest.mark.parametrize("right", [
    {}, {"count": 10**12}, {"rate": 1}, {"pair": (0, 0.999)}, {"named": ()}, {"channels": (8, 16)}, {"free": -1e300},
])
def test_what_lies_inside_is_taken(right: dict) -> None:
    Setting(**right)


@pytest.mark.parametrize("wrong", [
    {"count": 0}, {"count": 2.0}, {"count": True}, {"count": float("nan")}, {"count": "3"}, {"count": None},
    {"rate": 0.0}, {"rate": float("nan")}, {"rate": float("inf")}, {"rate": 1.1}, {"rate": ()}, {"rate": (0.5, 0.5)},
    {"pair": (0.9,)}, {"pair": (0.9, 0.9, 0.9)}, {"pair": (0.9, 1.0)}, {"pair": (0.9, "0.9")}, {"pair": 0.9},
    {"named": (("yaw", (0.5, float("nan"))),)}, {"named": (("yaw", (-0.1, 1.1)),)}, {"channels": (8, 16.5)},
    {"free": float("-inf")},
])
def test_what_lies_outside_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ConfigurationError, match=rf"^setting\.{next(iter(wrong))} is .*need"):
        Setting(**wrong)


def test_an_error_says_what_may_stand_there() -> None:
    with pytest.raises(ConfigurationError, match=r"rate is 2: a number above 0 to 1 is needed"):
        Setting(rate=2)
    with pytest.raises(ConfigurationError, match=r"pair is \(1,\): 2 numbers from 0 to below 1 are needed"):
        Setting(pair=(1,))
    assert declared(Setting).keys() == {"count", "rate", "pair", "named", "channels"}
