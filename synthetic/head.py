"""Who a synthetic person is: every number that stays the same between two photographs of them.

Lengths in decimetres, colours in sRGB 0..1, ages in years. A `Head` is drawn by `identity(seed)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorface.records import rng

HAIR_STYLES = (
    "bald",
    "buzz",
    "short",
    "side_part",
    "quiff",
    "fringe",
    "bob",
    "long",
    "long_part",
    "curly",
    "curly_long",
    "afro",
    "bun",
    "slick",
)
BEARD_STYLES = ("none", "stubble", "moustache", "goatee", "short", "full")

# sRGB skin tones from very light to very dark; a person's tone lies between two neighbours.
SKIN_TONES = np.array(
    [(0.96, 0.83, 0.75), (0.91, 0.75, 0.65), (0.86, 0.68, 0.56), (0.78, 0.58, 0.44),
     (0.66, 0.46, 0.33), (0.52, 0.35, 0.25), (0.39, 0.255, 0.185), (0.28, 0.185, 0.14)]
)  # fmt: skip
HAIR_COLOURS = {
    "black": (0.075, 0.065, 0.065), "dark_brown": (0.17, 0.11, 0.08), "brown": (0.31, 0.20, 0.13),
    "light_brown": (0.46, 0.33, 0.21), "blond": (0.74, 0.59, 0.37), "pale_blond": (0.88, 0.79, 0.58),
    "auburn": (0.43, 0.17, 0.09), "ginger": (0.74, 0.36, 0.14),
}  # fmt: skip
IRIS_COLOURS = {
    "dark_brown": (0.17, 0.10, 0.06), "brown": (0.33, 0.19, 0.09), "hazel": (0.45, 0.36, 0.16),
    "green": (0.33, 0.47, 0.28), "blue": (0.30, 0.50, 0.70), "pale_blue": (0.52, 0.67, 0.78),
    "grey": (0.48, 0.53, 0.55),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Head:
    """One identity. Positions are on the face seen from the front, x to the right and y up."""

    seed: int  # also seeds the fine detail: pores, strands, freckles, wrinkles
    masculine: float  # 0..1
    skull_width: float
    skull_height: float
    skull_depth: float
    cheek_width: float
    jaw_width: float
    jaw_square: float  # exponent of the jaw's outline
    chin_width: float
    chin_forward: float
    chin_length: float  # mouth to chin
    cleft: float
    brow_ridge: float
    cheekbone: float
    fullness: float  # hollow -1 .. 1 full cheeks
    eye_y: float
    eye_x: float  # half the distance between the eyes
    eye_width: float  # half width
    eye_open: float
    eye_slant: float
    eye_depth: float
    lid_fold: float  # 0 no crease .. 1 deep crease
    iris: tuple[float, float, float]
    iris_radius: float
    brow_height: float  # above the eye
    brow_thickness: float
    brow_arch: float
    brow_slant: float
    brow_length: float
    brow_density: float
    nose_length: float
    nose_width: float
    nose_bridge: float
    nose_out: float
    nose_hump: float
    nose_tip: float
    nose_upturn: float
    philtrum: float  # nose to mouth
    mouth_width: float  # half width
    upper_lip: float
    lower_lip: float
    bow: float
    mouth_corner: float
    lip_tint: tuple[float, float, float]
    ear_size: float
    ear_out: float
    skin: tuple[float, float, float]
    blush: float
    freckles: float
    moles: tuple[tuple[float, float, float, float], ...]  # x, y, radius, darkness
    scars: tuple[tuple[float, float, float, float], ...]  # x, y, angle (degrees), length
    hair_colour: tuple[float, float, float]
    hair_style: str
    hairline: float  # height above the eyes
    widows_peak: float
    hair_volume: float
    hair_part: float  # -1..1
    recession: float  # 0..1, how far the hairline goes back with age
    grey_age: float  # half of the hair is grey
    beard_style: str
    beard_density: float
    neck_width: float
    glasses_shape: float  # 0 round .. 1 square
    glasses_size: float
    glasses_colour: tuple[float, float, float]
    wears_glasses: float  # share of this person's photographs with glasses
    wrinkling: float

    @property
    def nose_y(self) -> float:
        """Height of the nose tip."""
        return self.eye_y - self.nose_length

    @property
    def mouth_y(self) -> float:
        """Height of the closed mouth's line."""
        return self.nose_y - self.philtrum

    @property
    def chin_y(self) -> float:
        """Height of the chin's lower edge."""
        return self.mouth_y - self.chin_length


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    """A number in [low, high], wide but denser in the middle (mean of a uniform and a triangular draw)."""
    return float(low + (high - low) * generator.beta(1.35, 1.35))


def _pick(generator: np.random.Generator, names: tuple[str, ...], weights: tuple[float, ...]) -> str:
    share = np.asarray(weights, dtype=np.float64)
    return names[int(generator.choice(len(names), p=share / share.sum()))]


def _colouring(generator: np.random.Generator) -> dict[str, Any]:
    """Skin, hair and eye colours; pale eyes and hair are rarer on darker skin, never impossible."""
    tone = float(generator.uniform(0.0, len(SKIN_TONES) - 1.001))
    low = int(tone)
    skin = SKIN_TONES[low] * (1 - tone + low) + SKIN_TONES[low + 1] * (tone - low)
    hue = generator.normal(0.0, 0.024, 3) * skin
    skin = np.clip(skin + hue - hue.mean() * 0.5, 0.08, 0.98)
    pale = max(0.03, 1.0 - tone / 3.2)
    hair = _pick(
        generator,
        tuple(HAIR_COLOURS),
        (
            0.25 + 0.5 * (tone > 2),
            0.28,
            0.24 * pale + 0.08,
            0.22 * pale,
            0.2 * pale,
            0.14 * pale,
            0.14 * pale + 0.02,
            0.2 * pale,
        ),
    )
    iris = _pick(
        generator,
        tuple(IRIS_COLOURS),
        (0.22 + 0.6 * (tone > 3), 0.3, 0.14, 0.17 * pale, 0.22 * pale, 0.14 * pale, 0.12 * pale),
    )
    red = generator.uniform(0.0, 1.0)
    lips = skin * np.array([0.93 - 0.05 * red, 0.72 - 0.14 * red, 0.74 - 0.10 * red])
    return {
        "skin": tuple(map(float, skin)),
        "hair_colour": tuple(float(c) for c in np.clip(
            np.array(HAIR_COLOURS[hair]) * generator.uniform(0.78, 1.22) * generator.normal(1, 0.05, 3), 0.03, 0.95)),
        "iris": tuple(float(c) for c in np.clip(
            np.array(IRIS_COLOURS[iris]) * generator.uniform(0.85, 1.2) + generator.normal(0, 0.02, 3), 0.04, 0.9)),
        "lip_tint": tuple(float(c) for c in np.clip(lips, 0.05, 0.95)),
        "blush": float(generator.uniform(0.0, 1.0)),
        "freckles": float(max(0.0, generator.normal(-0.1, 0.5)) * (1.0 if tone < 3 else 0.25)),
    }  # fmt: skip


def _marks(generator: np.random.Generator) -> dict[str, Any]:
    """Moles and scars; most people have a few small moles, some have one that names them."""
    moles = [
        (float(generator.uniform(-0.6, 0.6)), float(generator.uniform(-0.85, 0.5)),
         float(generator.uniform(0.010, 0.020)), float(generator.uniform(0.35, 0.7)))
        for _ in range(int(generator.poisson(2.2)))
    ]  # fmt: skip
    if generator.random() < 0.3:
        moles.append((float(generator.choice((-1, 1)) * generator.uniform(0.15, 0.5)),
                      float(generator.uniform(-0.75, -0.2)), float(generator.uniform(0.024, 0.036)), 0.85))  # fmt: skip
    scars = tuple(
        (float(generator.uniform(-0.5, 0.5)), float(generator.uniform(-0.6, 0.55)),
         float(generator.uniform(0, 180)), float(generator.uniform(0.12, 0.3)))
        for _ in range(int(generator.random() < 0.14))
    )  # fmt: skip
    return {"moles": tuple(moles), "scars": scars}


def _grooming(generator: np.random.Generator, masculine: float) -> dict[str, Any]:
    """Hair style, beard, glasses."""
    male = masculine > 0.5
    weights = (
        (0.7, 1.1, 1.7, 1.6, 1.5, 0.6, 0.12, 0.3, 0.25, 1.1, 0.25, 0.6, 0.2, 0.9) if male
        else (0.06, 0.15, 0.45, 0.5, 0.25, 1.2, 1.4, 1.5, 1.6, 0.6, 1.4, 0.7, 1.2, 0.5)
    )  # fmt: skip
    beard = _pick(generator, BEARD_STYLES, (1.2, 1.0, 0.5, 0.6, 0.8, 0.7) if male else (1, 0, 0, 0, 0, 0))
    frames = ((0.05, 0.05, 0.06), (0.30, 0.17, 0.09), (0.62, 0.52, 0.32), (0.55, 0.57, 0.6), (0.45, 0.08, 0.1),
              (0.1, 0.16, 0.35))  # fmt: skip
    return {
        "hair_style": _pick(generator, HAIR_STYLES, weights),
        "hairline": _between(generator, 0.52, 0.74),
        "widows_peak": float(max(0.0, generator.normal(0.0, 0.5))),
        "hair_volume": _between(generator, 0.6, 1.5),
        "hair_part": float(generator.uniform(-1, 1)),
        "recession": float(generator.beta(1.2, 1.6) if male else generator.beta(1.0, 6.0)),
        "grey_age": _between(generator, 40, 68),
        "beard_style": beard,
        "beard_density": _between(generator, 0.55, 1.0),
        "glasses_shape": float(generator.random()),
        "glasses_size": _between(generator, 0.85, 1.15),
        "glasses_colour": frames[int(generator.integers(len(frames)))],
        "wears_glasses": float(generator.choice((0.0, 0.1, 0.75), p=(0.55, 0.25, 0.2))),
    }


def identity(seed: int) -> Head:
    """Draw a person.

    Args:
        seed: any non-negative integer; the same seed is the same person for ever.
    Returns:
        A `Head`. The ranges are our choice: wide, so that people differ more than their photographs do.
    """
    g = rng(seed, "synthetic head")
    masculine = float(g.beta(0.5, 0.5))
    m = masculine - 0.5
    cheek = _between(g, 0.65, 0.82)
    return Head(
        seed=seed,
        masculine=masculine,
        skull_width=cheek + _between(g, -0.02, 0.08),
        skull_height=_between(g, 1.08, 1.28),
        skull_depth=_between(g, 0.92, 1.04),
        cheek_width=cheek,
        jaw_width=cheek * (_between(g, 0.72, 0.98) + 0.05 * m),
        jaw_square=_between(g, 2.3, 3.7),
        chin_width=_between(g, 0.22, 0.50) + 0.06 * m,
        chin_forward=_between(g, -0.03, 0.12),
        chin_length=_between(g, 0.33, 0.52) + 0.03 * m,
        cleft=float(max(0.0, g.normal(-0.3, 0.6))),
        brow_ridge=_between(g, 0.0, 0.05) + 0.05 * masculine,
        cheekbone=_between(g, 0.0, 0.09),
        fullness=_between(g, -1.0, 1.0),
        eye_y=_between(g, 0.06, 0.18),
        eye_x=_between(g, 0.265, 0.355),
        eye_width=_between(g, 0.130, 0.180),
        eye_open=_between(g, 0.050, 0.092) - 0.008 * m,
        eye_slant=_between(g, -0.26, 0.36),
        eye_depth=_between(g, 0.04, 0.13),
        lid_fold=_between(g, 0.0, 1.0),
        iris_radius=_between(g, 0.058, 0.072),
        brow_height=_between(g, 0.15, 0.25) - 0.03 * m,
        brow_thickness=_between(g, 0.010, 0.036) + 0.010 * m,
        brow_arch=_between(g, 0.0, 0.09) - 0.02 * m,
        brow_slant=_between(g, -0.12, 0.16),
        brow_length=_between(g, 0.17, 0.25),
        brow_density=_between(g, 0.45, 1.0),
        nose_length=_between(g, 0.24, 0.38),
        nose_width=_between(g, 0.105, 0.205),
        nose_bridge=_between(g, 0.03, 0.15),
        nose_out=_between(g, 0.15, 0.28),
        nose_hump=float(max(-0.03, g.normal(0.0, 0.03))),
        nose_tip=_between(g, 0.0, 0.07),
        nose_upturn=_between(g, -0.06, 0.05),
        philtrum=_between(g, 0.30, 0.39),
        mouth_width=_between(g, 0.215, 0.325),
        upper_lip=_between(g, 0.030, 0.085) - 0.014 * m,
        lower_lip=_between(g, 0.048, 0.110) - 0.014 * m,
        bow=_between(g, 0.0, 1.0),
        mouth_corner=_between(g, -0.050, 0.022),
        ear_size=_between(g, 0.85, 1.25),
        ear_out=_between(g, 0.06, 0.20),
        neck_width=_between(g, 0.42, 0.53) + 0.10 * m,
        wrinkling=_between(g, 0.55, 1.25),
        **_colouring(g),
        **_marks(g),
        **_grooming(g, masculine),
    )
