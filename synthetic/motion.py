"""A smooth path of a synthetic person through a film: turning, speaking, blinking, ageing.

Times in seconds, angles in degrees, ages in years. Amplitudes and rates are our choice: people speak three to five
syllables in a second.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anchorface.records import rng
from anchorface.synthetic.state import OLDEST, YOUNGEST, State, draw_state

BLINK = 0.12
"""Standard deviation of a blink, seconds."""


def motion(seed: int, frames: int, *, rate: float = 25.0, age: float | None = None, years: float = 10.0
           ) -> tuple[State, ...]:
    """The states of a film's frames.

    Light, place, hair, beard and brows stay as they are, and nobody wears glasses, since what is drawn over a picture
    has no flow.

    Args:
        seed: which path; the first frames do not depend on how many there are.
        frames: how many, at least 1. rate: frames per second.
        age: at the first frame; None: drawn. years: how much older the person is a second later, at most until OLDEST.
    Returns:
        A `State` a frame.
    Raises:
        ValueError: no frame, or no rate.
    """
    if frames < 1 or not rate > 0:
        raise ValueError(f"frames {frames}, rate {rate}: at least one frame, and some in a second")
    g = rng(seed, "synthetic film")
    start = replace(draw_state(g, age, 0.0), brow_raise=0.1, glasses=False)
    t = np.arange(frames) / rate
    yaw = 0.5 * start.yaw + _wave(g, t, 18.0, 0.15, 0.5)
    pitch = 0.5 * start.pitch + _wave(g, t, 7.0, 0.15, 0.6)
    roll = 0.5 * start.roll + _wave(g, t, 5.0, 0.1, 0.4)
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * (g.uniform(3, 5) * t + g.random()) + _wave(g, t, 1.0, 0.5, 1.5))
    phrases = np.clip(0.7 + _wave(g, t, 0.7, 0.2, 0.6), 0, 1)
    mouth, smile = 0.5 * syllables * phrases, np.clip(0.25 + _wave(g, t, 0.25, 0.1, 0.4), 0, 1)
    pause, first = g.uniform(1.5, 4.0), g.uniform(0.2, 3.0)
    since = np.abs((t - first + 0.5 * pause) % pause - 0.5 * pause)
    blink = np.maximum(0.05, np.exp(-0.5 * (since / BLINK) ** 2))
    gaze = [_wave(g, t, 0.4, 0.2, 0.8) for _ in range(2)]
    across, down = (start.offset[k] + _wave(g, t, 0.012, 0.2, 0.8) for k in (0, 1))
    ages = np.clip(start.age + years * t, YOUNGEST, OLDEST)
    return tuple(
        replace(start, yaw=float(yaw[k]), pitch=float(pitch[k]), roll=float(roll[k]), mouth_open=float(mouth[k]),
                smile=float(smile[k]), eyes_closed=float(blink[k]), gaze=(float(gaze[0][k]), float(gaze[1][k])),
                offset=(float(across[k]), float(down[k])), age=float(ages[k]))
        for k in range(frames)
    )


def _wave(g: np.random.Generator, t: np.ndarray, most: float, slowest: float, fastest: float) -> np.ndarray:
    """A sum of three sines within -most..most, of `slowest` to `fastest` turns in a second."""
    rates, phases, shares = g.uniform(slowest, fastest, 3), g.random(3), g.dirichlet((2.0, 2.0, 2.0))
    return np.asarray(most * (shares[:, None] * np.sin(2 * np.pi * (rates[:, None] * t + phases[:, None]))).sum(axis=0))
