"""How a synthetic person looks in one photograph: pose, expression, age, light, background.

Angles in degrees, age in years, everything else without unit in the stated range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

YOUNGEST, OLDEST = 18.0, 85.0


@dataclass(frozen=True, kw_only=True)
class State:
    """What changes between two photographs of the same person."""

    yaw: float = 0.0  # positive: the nose points to the right of the picture
    pitch: float = 0.0  # positive: looks up
    roll: float = 0.0  # positive: head turned clockwise in the picture
    smile: float = 0.0  # 0..1
    mouth_open: float = 0.0  # 0..1
    brow_raise: float = 0.0  # 0..1
    eyes_closed: float = 0.0  # 0..1
    gaze: tuple[float, float] = (0.0, 0.0)  # -1..1 each, right and up
    age: float = 35.0  # 18..85 years
    light_azimuth: float = 30.0  # 0 is from the camera, 90 from the right of the picture
    light_elevation: float = 30.0
    light_warmth: float = 0.0  # -1 blue .. 1 orange
    ambient: float = 0.5  # 0 hard light .. 1 soft light
    exposure: float = 1.0
    background: int = 0  # seed of background and clothing
    hair_length: float = 1.0  # around 1: this year's cut
    beard_length: float = 1.0  # 0 shaved .. 1 as the person wears it
    glasses: bool = False
    scale: float = 1.0  # size of the head, 1 is the portrait framing
    offset: tuple[float, float] = (0.0, 0.0)  # of the head, in picture sizes, right and down

    def __post_init__(self) -> None:
        if not YOUNGEST <= self.age <= OLDEST:
            raise ValueError(f"age {self.age} is outside {YOUNGEST}..{OLDEST} years; synthetic people are adults")
        if abs(self.yaw) > 80 or abs(self.pitch) > 50:
            raise ValueError(f"yaw {self.yaw}, pitch {self.pitch}: at most 80 and 50 degrees either way")


def draw_state(rng: np.random.Generator, age: float | None = None, wears_glasses: float = 0.15) -> State:
    """Draw a natural photograph.

    Args:
        rng: source of all numbers.
        age: years, or None for an adult age at random.
        wears_glasses: probability of glasses.
    Returns:
        A `State`; the distribution is our choice: yaw mostly within 35 degrees with a tail to 60.
    """
    wide = rng.random() < 0.35
    smile = float(rng.beta(0.6, 0.9))
    drawn = float(rng.uniform(YOUNGEST, 80.0))
    return State(
        yaw=float(np.clip(rng.uniform(-60, 60) if wide else rng.normal(0, 17), -60, 60)),
        pitch=float(np.clip(rng.normal(0, 9), -25, 25)),
        roll=float(np.clip(rng.normal(0, 6), -20, 20)),
        smile=smile,
        mouth_open=float(max(0.0, rng.normal(-0.15, 0.3)) + 0.22 * smile * rng.random()),
        brow_raise=float(max(0.0, rng.normal(0.0, 0.3))),
        eyes_closed=float(1.0 if rng.random() < 0.02 else rng.beta(0.8, 6.0)),
        gaze=(float(np.clip(rng.normal(0, 0.3), -1, 1)), float(np.clip(rng.normal(0, 0.2), -1, 1))),
        age=drawn if age is None else float(age),
        light_azimuth=float(rng.uniform(-80, 80)),
        light_elevation=float(rng.uniform(5, 65)),
        light_warmth=float(np.clip(rng.normal(0.15, 0.4), -1, 1)),
        ambient=float(rng.uniform(0.25, 0.95)),
        exposure=float(np.exp(rng.normal(0.0, 0.16))),
        background=int(rng.integers(2**31)),
        hair_length=float(rng.uniform(0.8, 1.2)),
        beard_length=float(rng.choice((0.0, 0.5, 1.0), p=(0.2, 0.2, 0.6))),
        glasses=bool(rng.random() < wears_glasses),
        scale=float(rng.uniform(0.92, 1.12)),
        offset=(float(rng.normal(0, 0.012)), float(rng.normal(0, 0.012))),
    )
