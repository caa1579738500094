"""Paint on the head: skin with its marks and wrinkles, beard, brows.

Everything is painted on the chart in base coordinates (see `surface`). Colours are sRGB 0..1 float32; `crease`
is fine relief in decimetres that only tilts the light; `gloss` is the strength of the highlight, 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from anchorface.records import rng
from anchorface.synthetic.chart import blend, brighten, bump, ramp, window
from anchorface.synthetic.features import paint_eyes, paint_mouth, paint_nostrils
from anchorface.synthetic.hair import hair_tint
from anchorface.synthetic.surface import Surface, old


@dataclass(frozen=True)
class Paint:
    """colour: float32 [n, n, 3]; crease, gloss: float32 [n, n]; eyeball: float32 [n, n, 4], normal and share."""

    colour: np.ndarray
    crease: np.ndarray
    gloss: np.ndarray
    eyeball: np.ndarray


def paint(surface: Surface) -> Paint:
    """Paint a shaped head.

    Args:
        surface: the head.
    Returns:
        Its `Paint`.
    """
    head, state, n = surface.head, surface.state, surface.n
    years = old(state.age)
    colour = _skin(surface)
    crease = np.zeros((n, n), np.float32)
    gloss = np.full((n, n), 0.22 - 0.07 * years, np.float32)
    face = window(n)
    x, y, _ = surface.base[:, face, face]
    view = colour[face, face]
    _blush(surface, view, x, y)
    _wrinkles(surface, colour, crease)
    _marks(surface, view, x, y)
    _beard(surface, colour, crease)
    eyeball = np.zeros((n, n, 4), np.float32)
    h, mouth = head, surface.mouth
    gap = mouth.lower_gap
    nose, lips, *eyes = _boxes(
        surface,
        (0.0, surface.nose_y - 0.05, 1.6 * h.nose_width, 0.13),
        (0.0, mouth.centre - 0.5 * gap, 1.15 * mouth.half_width, 0.16 + 0.5 * gap),
        (-h.eye_x, h.eye_y, 1.4 * h.eye_width, 0.20),
        (h.eye_x, h.eye_y, 1.4 * h.eye_width, 0.20),
    )
    paint_nostrils(surface, colour[nose], *surface.base[:2, nose[0], nose[1]])
    paint_mouth(surface, colour[lips], crease[lips], gloss[lips], *surface.base[:2, lips[0], lips[1]])
    for eye in eyes:
        x, y = surface.base[:2, eye[0], eye[1]]
        paint_eyes(surface, colour[eye], crease[eye], gloss[eye], eyeball[eye], x, y)
    _brows(surface, colour, crease)
    return Paint(colour, crease, gloss, eyeball)


def _boxes(surface: Surface, *places: tuple[float, float, float, float]) -> list[tuple[slice, slice]]:
    """Chart rows and columns around features at (x, y) of half sizes (wide, tall)."""
    rims = [[(x + i * wide, y + j * tall) for i in (-1, 0, 1) for j in (-1, 1)] for x, y, wide, tall in places]
    spots = surface.on_chart(np.array(rims).reshape(-1, 2)).reshape(len(places), -1, 2)
    low, high = np.floor(spots.min(axis=1)).astype(int), np.ceil(spots.max(axis=1)).astype(int) + 1
    return [(slice(top, bottom), slice(left, right)) for (left, top), (right, bottom) in zip(low, high, strict=True)]


def _field(surface: Surface, purpose: str, side: int) -> np.ndarray:
    """Smooth noise [n, n] of about unit strength that belongs to the person, with blobs of 1/side of the chart."""
    tile = rng(surface.head.seed, purpose).standard_normal((side, side), dtype=np.float32)
    return cv2.resize(tile, (surface.n, surface.n), interpolation=cv2.INTER_CUBIC)


def _skin(surface: Surface) -> np.ndarray:
    head, state = surface.head, surface.state
    years = old(state.age)
    blotch, pores = _field(surface, "skin blotches", 40), _field(surface, "pores", 420)
    tone = 1.0 + 0.018 * blotch + (0.016 + 0.012 * years) * pores
    sallow = (1.0, 1.0 - 0.02 * years, 1.0 - 0.05 * years)
    colour = cv2.merge([tone * (part * fade) for part, fade in zip(head.skin, sallow, strict=True)])
    redness = _field(surface, "redness", 64) * np.float32(0.016 * (1 + years) * float(np.mean(head.skin)))
    red, green = colour[..., 0], colour[..., 1]
    np.add(red, redness, out=red)
    np.subtract(green, np.float32(0.5) * redness, out=green)
    if years > 0.35:  # age spots
        spots = ramp(_field(surface, "age spots", 72), 1.9, 2.5) * (years - 0.35) * 0.55
        blend(colour, np.asarray(head.skin) * (0.72, 0.60, 0.50), spots)
    if head.freckles > 0.05:
        x, y, z = surface.base
        spots = ramp(_field(surface, "freckles", 190), 0.9, 1.7)
        where = bump(np.abs(x), y, (0.25, head.eye_y - 0.22), (0.28, 0.20)) * (z > 0) + 0.15 * (z > 0.2)
        blend(colour, np.asarray(head.skin) * (0.74, 0.56, 0.44), np.clip(spots * where * head.freckles * 0.9, 0, 0.8))
    x, y, z = surface.base
    inner = np.exp(-(((y - head.eye_y + 0.17) / 0.11) ** 2 + ((z + 0.02) / 0.05) ** 2)) * (np.abs(x) > 0.3)
    blend(colour, np.asarray(head.skin) * (0.72, 0.52, 0.48), 0.6 * inner)
    return colour


def _blush(surface: Surface, view: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    head, state = surface.head, surface.state
    ax = np.abs(x)
    years = old(state.age)
    red = np.asarray(head.skin) * (1.0, 0.74, 0.72)
    cheeks = bump(ax, y, (0.40, head.eye_y - 0.36), (0.14, 0.13)) * (0.15 + 0.40 * head.blush)
    nose = bump(x, y, (0.0, surface.nose_y), (0.10, 0.08)) * (0.15 + 0.25 * head.blush + 0.2 * years)
    blend(view, red, np.clip(cheeks + nose, 0, 0.7))
    # thin skin around the eyes is darker
    ring = bump(ax, y, (head.eye_x - 0.02, head.eye_y - 0.05), (0.13, 0.085))
    blend(view, np.asarray(head.skin) * (0.70, 0.58, 0.58), ring * (0.16 + 0.28 * years + 0.15 * head.eye_depth / 0.13))
    if head.masculine > 0.5:  # the shadow of a shaved beard
        shade = ramp(y, head.mouth_y + 0.20, head.mouth_y - 0.05) * ramp(ax, 0.0, 0.06)
        dark = 1.0 - float(np.mean(hair_tint(head, state.age)))
        blend(view, np.asarray(head.skin) * (0.80, 0.80, 0.84), 0.35 * shade * dark)


def _wrinkles(surface: Surface, colour: np.ndarray, crease: np.ndarray) -> None:
    """Lines of age and of expression, drawn as curves and blurred to two widths."""
    head, state = surface.head, surface.state
    g = rng(head.seed, "wrinkles")
    years = old(state.age) * head.wrinkling
    shift = g.normal(0, 1, (3, 40))
    lines: list[tuple[np.ndarray, float]] = []
    t = np.linspace(0.0, 1.0, 9)
    for k in range(5):  # forehead
        height = head.eye_y + 0.34 + 0.075 * k + 0.01 * shift[0, k]
        reach = 0.34 + 0.05 * shift[1, k]
        sweep = np.linspace(-1, 1, 17)
        wave = 0.012 * np.sin(3 * sweep + shift[2, k]) + 0.03 * sweep**2 * head.brow_arch * 10
        strength = (0.8 * years**1.5 + 0.45 * state.brow_raise * (0.3 + years)) * (1 - 0.13 * k)
        lines.append((np.stack([sweep * reach + 0.02 * shift[0, 9 + k], height - wave], 1), strength))
    for side in (-1, 1):
        wing = (side * (head.nose_width + 0.035), surface.nose_y - 0.0)
        corner = (side * (surface.mouth.half_width + 0.085), surface.mouth.centre - 0.02)
        fold = np.stack([wing[0] + (corner[0] - wing[0]) * t**0.8, wing[1] + (corner[1] - wing[1]) * t**1.25], 1)
        lines.append((fold, 0.10 + 0.85 * years + 0.55 * state.smile))
        jowl = np.stack([corner[0] + side * 0.02 * t - side * 0.01, corner[1] - 0.02 - 0.24 * t], 1)
        lines.append((jowl, 0.8 * max(0.0, years - 0.3)))
        for k in range(4):  # crow's feet
            angle = np.radians(32 - 24 * k + 6 * shift[1, 20 + k])
            start = np.array([side * (head.eye_x + head.eye_width + 0.03), head.eye_y + 0.035 - 0.028 * k])
            step = np.array([side * np.cos(angle), np.sin(angle)]) * (0.10 + 0.05 * years)
            lines.append((start + t[:, None] * step, 0.75 * years**1.4 + 0.4 * state.smile * (0.1 + years)))
        bag = np.stack([side * (head.eye_x + head.eye_width * np.linspace(-0.9, 0.9, 9)),
                        head.eye_y - 0.135 + 0.06 * np.linspace(-1, 1, 9) ** 2], 1)  # fmt: skip
        lines.append((bag, 0.10 + 0.6 * years))
        frown = np.stack([side * (0.045 + 0.01 * shift[0, 30] + 0.01 * t), head.eye_y + 0.14 + 0.13 * t], 1)
        lines.append((frown, 0.7 * years**1.3))
        for k in range(3):  # cheeks of the very old
            start = np.array([side * (0.46 + 0.05 * k), head.mouth_y + 0.22])
            lines.append((start + np.stack([side * 0.03 * t**2, -0.28 * t], 1), 0.6 * max(0.0, years - 0.65)))
    sketch = np.zeros(crease.shape, np.uint8)
    points = surface.on_chart(np.concatenate([line for line, _ in lines]))
    at = 0
    for line, strength in lines:
        curve = points[at : at + len(line)]
        at += len(line)
        if strength < 0.04:
            continue
        stroke = np.round(curve * 16).astype(np.int32)
        for a, b, fade in zip(stroke[:-1], stroke[1:], np.sin(np.linspace(0.35, 2.8, len(stroke) - 1)), strict=True):
            cv2.line(sketch, a.tolist(), b.tolist(), float(200 * min(1.2, strength) * fade), 1, cv2.LINE_AA, 4)
    unit = surface.n / 448.0
    face = window(surface.n)
    ink = sketch[face, face].astype(np.float32) / 200.0
    soft = cv2.GaussianBlur(ink, (0, 0), 1.1 * unit) * 1.5 + cv2.GaussianBlur(ink, (0, 0), 3.2 * unit) * 2.2
    soft *= unit
    crease[face, face] -= 0.008 * soft
    blend(colour[face, face], np.asarray(head.skin) * (0.58, 0.42, 0.38), np.clip(0.30 * soft, 0, 0.6))


def _marks(surface: Surface, view: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    head = surface.head
    for mx, my, radius, dark in head.moles:
        spot = ramp((x - mx) ** 2 + (y - my) ** 2, (1.25 * radius) ** 2, (0.6 * radius) ** 2)
        blend(view, np.asarray(head.skin) * (0.38, 0.26, 0.22), dark * spot)
    for sx, sy, angle, length in head.scars:
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        along, across = (x - sx) * c + (y - sy) * s, (y - sy) * c - (x - sx) * s + 0.15 * (x - sx) ** 2
        stripe = np.exp(-((across / 0.011) ** 2)) * ramp(np.abs(along), 0.5 * length, 0.35 * length)
        blend(view, np.clip(np.asarray(head.skin) * (1.12, 0.98, 0.98) + 0.05, 0, 1), 0.75 * stripe)


def _beard(surface: Surface, colour: np.ndarray, crease: np.ndarray) -> None:
    """Beard as strands over a mask of the style."""
    head, state = surface.head, surface.state
    if head.beard_style == "none" or state.beard_length < 0.1:
        return
    mask = beard_mask(surface)
    strength = head.beard_density * (0.42 if head.beard_style == "stubble" else 0.55 + 0.4 * state.beard_length)
    hairs = cv2.GaussianBlur(_field(surface, "beard", 420), (0, 0), sigmaX=0.7, sigmaY=1.7) * 1.6
    tint = hair_tint(head, state.age, 1.0) * 0.92
    share = np.clip(mask * strength * (0.85 + 0.35 * hairs), 0, 0.97)
    blend(colour, tint, share)
    brighten(colour, 1.0 + 0.16 * hairs * mask)
    crease += 0.004 * hairs * mask


def beard_mask(surface: Surface) -> np.ndarray:
    """Where the beard grows, float32 [n, n] in 0..1."""
    head, mouth = surface.head, surface.mouth
    x, y, z = surface.base
    ax = np.abs(x)
    lip_top = mouth.line(x) + mouth.upper_gap + mouth.upper_lip
    under = mouth.line(x) - mouth.lower_gap - mouth.lower_lip
    moustache = ramp(y, lip_top - 0.005, lip_top + 0.03) * ramp(y, surface.nose_y - 0.075, surface.nose_y - 0.12)
    moustache = moustache * ramp(ax, mouth.half_width + 0.09, mouth.half_width - 0.02) * (z > 0.3)
    drop = ramp(y, under - 0.02, under - 0.07) * ramp(ax, 0.27, 0.17) * (z > 0.2)
    link = ramp(np.abs(ax - mouth.half_width - 0.055), 0.06, 0.03) * ramp(y, lip_top + 0.08, lip_top) * ramp(
        y, head.chin_y - 0.1, head.chin_y + 0.2) * (z > 0.2)  # fmt: skip
    # the cheek line falls from the sideburn to beside the mouth
    line = head.mouth_y + 0.04 + 0.75 * np.clip(ax - mouth.half_width - 0.12, 0, 0.6)
    cheeks = ramp(y, line + 0.05, line - 0.06) * ramp(z, -0.16, -0.04)
    middle, half = 0.5 * (lip_top + under), 0.5 * (lip_top - under) + 0.035
    lips = (x / (mouth.half_width + 0.05)) ** 2 + ((y - middle) / half) ** 2
    cheeks = cheeks * np.where(z > 0, ramp(lips, 0.85, 1.15), np.float32(1.0))
    if head.beard_style == "moustache":
        return moustache
    if head.beard_style == "goatee":
        return np.clip(np.maximum(np.maximum(moustache, drop), link), 0, 1)
    return np.clip(np.maximum(moustache, cheeks), 0, 1)


def _brows(surface: Surface, colour: np.ndarray, crease: np.ndarray) -> None:
    """Brows as many short strands along an arch."""
    head, state = surface.head, surface.state
    g = rng(head.seed, "brows")
    years = old(state.age)
    count = 120
    t = np.sort(g.random(count))
    across = g.uniform(-1, 1, count)
    lean, length = g.normal(0, 0.25, count), g.uniform(0.7, 1.2, count)
    # thick near the nose, thin at the tail
    width = head.brow_thickness * (0.55 + 0.75 * np.sin(np.pi * np.clip(t * 0.8 + 0.18, 0, 1)))
    run = (t - 0.42) * 2 * head.brow_length
    base_y = head.eye_y + head.brow_height - 0.02 * years + 0.05 * state.brow_raise
    arch = head.brow_arch * (1 - ((t - 0.62) / 0.62) ** 2) + head.brow_slant * run + 0.03 * state.brow_raise * t
    roots = np.stack([run + head.eye_x, base_y + arch + across * width - 0.3 * width], 1)
    angle = 1.25 - 1.3 * t + lean
    tips = roots + np.stack([np.cos(angle), np.sin(angle)], 1) * (0.045 * length * (0.7 + 8 * width))[:, None]
    sketch = np.zeros(colour.shape[:2], np.uint8)
    unit = surface.n / 448.0
    both = [np.concatenate([part, part * (-1.0, 1.0)]) for part in (roots, tips)]
    ends = np.round(surface.on_chart(np.concatenate(both)) * 16).astype(np.int32)
    for a, b in zip(ends[: 2 * count], ends[2 * count :], strict=True):
        cv2.line(sketch, a.tolist(), b.tolist(), 255, max(1, round(unit)), cv2.LINE_AA, 4)
    face = window(surface.n)
    soft = cv2.GaussianBlur(sketch[face, face].astype(np.float32) / 255.0, (0, 0), 0.7 * unit)
    cover = np.clip(soft * (0.30 + 0.65 * head.brow_density) * (1 - 0.25 * years), 0, 0.90)
    tint = hair_tint(head, state.age, 0.75) * 0.72
    blend(colour[face, face], tint, cover)
    crease[face, face] += 0.002 * soft
