"""Eyes, mouth and nostrils, painted on the face window of the chart in base coordinates.

Every function changes the given views in place: colour float32 [h, w, 3] sRGB, crease and gloss float32 [h, w].
"""

from __future__ import annotations

import numpy as np

from anchorface.synthetic.chart import blend, brighten, bump, ramp
from anchorface.synthetic.surface import Surface, old

EDGE = 0.009  # half width of a soft edge, decimetres
IRIS_REACH, IRIS_RISE = (0.028, 0.018), 0.004  # of the iris: by a whole gaze, right and up; at rest, up


def paint_nostrils(surface: Surface, colour: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Dark nostrils under the tip and a shadow around the wings."""
    head = surface.head
    ax = np.abs(x)
    nose_y = surface.nose_y
    hole = bump(ax, y, (0.50 * head.nose_width, nose_y - 0.088), (0.20 * head.nose_width, 0.018))
    blend(colour, np.asarray(head.skin) * (0.25, 0.14, 0.12), np.clip(1.25 * hole, 0, 0.92))
    rim = bump(ax, y, (head.nose_width + 0.012, nose_y - 0.045), (0.016, 0.05))
    blend(colour, np.asarray(head.skin) * (0.62, 0.46, 0.42), 0.45 * rim)
    under = bump(x, y, (0.0, nose_y - 0.115), (0.9 * head.nose_width, 0.020))
    blend(colour, np.asarray(head.skin) * (0.62, 0.46, 0.42), 0.45 * under)


def lip_edges(surface: Surface, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Heights of the lips' edges at `x`, from above: outer and inner edge of the upper lip, inner and outer of the
    lower one; base coordinates.
    """
    head, mouth = surface.head, surface.mouth
    s = np.clip(np.abs(x) / mouth.half_width, 0.0, 1.3)
    taper = np.sqrt(np.clip(1.0 - s**2, 0.0, 1.0))
    line = mouth.line(x)
    part = np.clip(1.0 - s**2.2, 0.0, 1.0)
    top_in, low_in = line + mouth.upper_gap * part, line - mouth.lower_gap * part
    bow = 1.0 + head.bow * (0.30 * np.exp(-(((s - 0.22) / 0.16) ** 2)) - 0.25 * np.exp(-((s / 0.12) ** 2)))
    top_out = top_in + mouth.upper_lip * bow * (taper * (1 - 0.30 * s))
    return top_out, top_in, low_in, low_in - mouth.lower_lip * taper**1.3


def paint_mouth(surface: Surface, colour: np.ndarray, crease: np.ndarray, gloss: np.ndarray,
                x: np.ndarray, y: np.ndarray) -> None:  # fmt: skip
    """Lips, and teeth and dark between them when the mouth is open."""
    head, state, mouth = surface.head, surface.state, surface.mouth
    s = np.clip(np.abs(x) / mouth.half_width, 0.0, 1.3)
    line = mouth.line(x)
    top_out, top_in, low_in, low_out = lip_edges(surface, x)
    within = ramp(s, 1.03, 0.97)
    soft = EDGE * 1.3
    upper = ramp(y, top_out + soft, top_out - soft) * ramp(y, top_in - soft, top_in + soft) * within
    lower = ramp(y, low_out - soft, low_out + soft) * ramp(y, low_in + soft, low_in - soft) * within
    tint = np.asarray(head.lip_tint) * (1 - 0.12 * old(state.age) * np.array([1.0, 0.6, 0.5]))
    streak = 1.0 + 0.05 * np.sin(x * 170 + 3 * np.sin(y * 60))
    blend(colour, tint * 0.88, 0.85 * upper)
    blend(colour, tint, 0.85 * lower)
    brighten(colour, 1 + (streak - 1) * np.clip(upper + lower, 0, 1))
    gloss += 0.35 * lower + 0.10 * upper
    open_ = (
        ramp(y, top_in + soft * 0.6, top_in - soft * 0.6) * ramp(y, low_in - soft * 0.6, low_in + soft * 0.6) * within
    )
    gap = mouth.upper_gap + mouth.lower_gap
    if gap > 0.012:
        blend(colour, (0.20, 0.07, 0.07), open_)
        gloss *= 1 - open_
        teeth_low = line + mouth.upper_gap * 1.0 - min(0.085, 0.8 * gap) * np.clip(1.15 - s**2, 0, 1)
        teeth = open_ * ramp(y, teeth_low - 0.012, teeth_low + 0.006) * ramp(s, 0.98, 0.72)
        gaps = 1.0 - 0.16 * np.exp(-((((np.mod(np.abs(x) + 0.0001, 0.052) - 0.026) / 0.026) ** 2 - 1) ** 2) * 18)
        enamel = np.array([0.90, 0.87, 0.80]) - np.array([0.06, 0.09, 0.16]) * old(state.age)
        blend(colour, enamel, teeth * 0.93)
        brighten(colour, 1 + (gaps - 1) * teeth)
        tongue = (
            open_ * bump(x, y, (0.0, mouth.centre - mouth.lower_gap), (0.10, 0.04)) * ramp(np.float32(gap), 0.05, 0.15)
        )
        blend(colour, (0.55, 0.25, 0.25), 0.8 * tongue)
    else:
        seam = np.exp(-(((y - line) / 0.011) ** 2)) * ramp(s, 1.08, 0.9)
        blend(colour, tint * 0.36, 0.85 * seam)
    corner = bump(np.abs(x), y, (mouth.half_width + 0.004, mouth.centre + mouth.corner_lift), (0.022, 0.018))
    blend(colour, np.asarray(head.skin) * (0.45, 0.30, 0.28), 0.6 * corner)


def paint_eyes(surface: Surface, colour: np.ndarray, crease: np.ndarray, gloss: np.ndarray, eyeball: np.ndarray,
               x: np.ndarray, y: np.ndarray) -> None:  # fmt: skip
    """Both eyes: lids, lashes, white, iris and pupil; writes the eyeball's own normals."""
    head, state = surface.head, surface.state
    years = old(state.age)
    side = np.where(x < 0, -1.0, 1.0).astype(np.float32)
    out = np.abs(x) - head.eye_x  # towards the temple
    up = y - head.eye_y - head.eye_slant * out
    s = out / head.eye_width
    squint = 1.0 - 0.30 * state.smile - 0.10 * years
    close = 1.0 - state.eyes_closed
    wide = 1.0 + 0.18 * state.brow_raise
    round_ = np.clip(1.0 - s * s, 0.0, 1.0)
    # the upper lid is highest a little inside, the lower lid a little outside of the middle
    tall = head.eye_open * squint * wide
    top = tall * 1.15 * round_**0.75 * (1.0 - 0.16 * s)
    bottom = -tall * 0.78 * round_**0.85 * (1.0 + 0.18 * s)
    top = bottom + (top - bottom) * (0.04 + 0.96 * close)
    soft = EDGE * 0.9
    inside = ramp(up, top + soft, top - soft) * ramp(up, bottom - soft, bottom + soft) * ramp(np.abs(s), 1.02, 0.96)
    # crease above the lid, and the lid's own shade
    fold_y = top + 0.030 + 0.012 * head.lid_fold - 0.012 * years
    fold = np.exp(-(((up - fold_y) / 0.012) ** 2)) * ramp(np.abs(s), 1.25, 0.85)
    blend(colour, np.asarray(head.skin) * (0.50, 0.36, 0.33), np.clip((0.12 + 0.55 * head.lid_fold) * fold, 0, 0.8))
    crease -= 0.010 * head.lid_fold * fold
    if state.eyes_closed < 0.85:
        _eye_inside(surface, colour, gloss, eyeball, (out, up, side, inside, top))
    lash = np.exp(-(((up - top - 0.004) / (0.010 + 0.005 * (1 - head.masculine))) ** 2)) * ramp(np.abs(s), 1.10, 0.92)
    blend(
        colour,
        np.minimum(np.asarray(head.hair_colour) * 0.35, 0.12),
        np.clip(lash * (0.95 - 0.15 * head.masculine), 0, 0.95),
    )
    low = np.exp(-(((up - bottom + 0.003) / 0.008) ** 2)) * ramp(np.abs(s), 1.02, 0.8)
    blend(colour, np.asarray(head.skin) * (0.55, 0.38, 0.36), 0.55 * low)
    canthus = bump(out, up, (-head.eye_width * 0.97, -0.004), (0.016, 0.012)) * inside
    blend(colour, (0.78, 0.48, 0.45), 0.8 * canthus)


def _eye_inside(surface: Surface, colour: np.ndarray, gloss: np.ndarray, eyeball: np.ndarray,
                eye: tuple[np.ndarray, ...]) -> None:  # fmt: skip
    """White, iris, pupil and the eyeball's roundness inside the lids."""
    head, state = surface.head, surface.state
    out, up, side, inside, top = eye
    years = old(state.age)
    white = np.array([0.90, 0.88, 0.86]) - np.array([0.02, 0.05, 0.09]) * years
    blend(colour, white, inside)
    px, py = IRIS_REACH[0] * state.gaze[0], IRIS_REACH[1] * state.gaze[1]
    rx, ry = out * side - px, up - py - IRIS_RISE
    distance = np.sqrt(rx * rx + ry * ry)
    r = head.iris_radius
    disc = ramp(distance, r + EDGE * 0.8, r - EDGE * 0.8) * inside
    spokes = 1.0 + 0.14 * np.sin(np.arctan2(ry, rx) * 17 + 4 * np.sin(np.arctan2(ry, rx) * 5 + head.seed % 7))
    ink = (
        np.asarray(head.iris, dtype=np.float32)
        * (spokes * (1.12 - 0.25 * ramp(distance, 0.4 * r, 0.75 * r)))[..., None]
    )
    blend(colour, np.clip(ink, 0, 1), disc)
    limbus = np.exp(-(((distance - r) / 0.009) ** 2)) * inside
    blend(colour, np.asarray(head.iris) * 0.3, 0.75 * limbus)
    pupil = ramp(distance, 0.43 * r + EDGE * 0.7, 0.43 * r - EDGE * 0.7) * inside
    blend(colour, (0.02, 0.02, 0.02), pupil)
    # the upper lid throws a shadow on the ball
    brighten(colour, 1.0 - 0.45 * inside * np.exp(-np.clip(top - up, 0, 1) / 0.022))
    gloss += inside * (1.0 - gloss)
    ball = 0.125
    nx, ny = out * side / ball * 0.75, up / ball * 0.75
    nz = np.sqrt(np.clip(1.0 - nx * nx - ny * ny, 0.08, 1.0))
    scale = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz)
    for k, part in enumerate((nx, ny, nz)):
        eyeball[..., k] = part * scale
    eyeball[..., 3] = inside
