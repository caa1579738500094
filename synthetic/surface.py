"""The shape of a head: its distance from the centre in every direction of the chart, and the five landmarks.

Two layers. The skull and jaw (`base_radius`) are a smooth closed form of direction. The features (nose, eyes,
lips, chin, ears) are hills and hollows on it, placed in *base coordinates*: where a direction meets the base,
seen from the front. Texture paints in the same coordinates, and landmarks are base coordinates lifted to the
final surface, so paint, shape and landmarks cannot drift apart. Lengths in decimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchorface.synthetic.chart import bump, cells, directions, ramp, window
from anchorface.synthetic.head import Head
from anchorface.synthetic.state import State


@dataclass(frozen=True)
class Mouth:
    """The mouth in base coordinates for one expression."""

    centre: float
    half_width: float
    corner_lift: float
    upper_gap: float  # from the line up to the upper lip's edge
    lower_gap: float
    upper_lip: float
    lower_lip: float

    def line(self, x: np.ndarray) -> np.ndarray:
        """Height of the line between the lips at `x`."""
        s = np.minimum(np.abs(x) / self.half_width, 1.4)
        return self.centre + self.corner_lift * s * s


def mouth_of(head: Head, state: State) -> Mouth:
    """The mouth's shape: identity, expression, and lips that thin with age."""
    thin = 1.0 - 0.38 * old(state.age)
    parted = state.mouth_open
    stretch = 1.0 + 0.24 * state.smile - 0.10 * parted
    flat = 1.0 - 0.25 * state.smile
    return Mouth(
        centre=head.mouth_y - 0.02 * state.smile,
        half_width=head.mouth_width * stretch,
        corner_lift=head.mouth_corner + 0.085 * state.smile - 0.02 * old(state.age),
        upper_gap=0.035 * parted + 0.02 * state.smile * min(1.0, 4 * parted),
        lower_gap=0.17 * parted,
        upper_lip=head.upper_lip * thin * flat,
        lower_lip=head.lower_lip * thin * flat,
    )


def old(age: float) -> float:
    """How far ageing has come: 0 at 25 years, 1 at 80."""
    return float(np.clip((age - 25.0) / 55.0, 0.0, 1.1))


def base_radius(head: Head, state: State, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance of skull and jaw in the directions (x, y, z); arrays of one shape, float32."""
    heavy = 0.035 * old(state.age) + 0.02 * head.fullness
    chin = -head.chin_y + 0.13 * state.mouth_open
    facing = z / np.sqrt(x * x + z * z + 0.15)
    below = y < 0
    drop = chin * (0.70 + 0.42 * ramp(facing, -0.1, 0.80))
    height = np.where(below, drop, np.float32(head.skull_height))
    cheek, temple = head.cheek_width, 0.5 * (head.cheek_width + head.skull_width)
    jaw = head.jaw_width + heavy
    width = cheek + (temple - cheek) * ramp(y, 0.0, 0.3) + (head.skull_width - temple) * ramp(y, 0.3, 0.7)
    width += (jaw - cheek) * ramp(y, 0.02, -0.5) + (head.chin_width + 0.18 - head.jaw_width) * ramp(y, -0.42, -0.92)
    depth = np.where(z > 0, np.float32(0.93), np.float32(head.skull_depth))
    # log-space powers are a third cheaper than three calls of np.power
    side = np.abs(x / width) ** 2.2 + np.abs(z / depth) ** 2.2
    power = np.where(below, head.jaw_square, 2.3).astype(np.float32)
    tall = np.exp(power * np.log(np.abs(y / height) + 1e-6))
    slab = np.exp(power * (1.0 / 2.2) * np.log(side + 1e-9))
    return np.exp(np.log(tall + slab) / -power)


@dataclass(frozen=True)
class Surface:
    """A shaped head without hair.

    radius: float32 [n, n]. base: float32 [3, n, n], base coordinates of each cell.
    """

    head: Head
    state: State
    mouth: Mouth
    radius: np.ndarray
    base: np.ndarray

    @property
    def n(self) -> int:
        """Side of the chart in cells."""
        return self.radius.shape[0]

    def toward(self, points: np.ndarray) -> np.ndarray:
        """Unit directions of base coordinates given from the front.

        Args:
            points: float [k, 2], x and y in base coordinates on the front of the face.
        Returns:
            float32 [3, k].
        """
        x, y = np.asarray(points, dtype=np.float32).T
        low, high = np.full_like(x, 0.02), np.full_like(x, 1.2)
        under, over = np.full_like(x, -1.0), np.full_like(x, 1.0)
        for _ in range(9):
            z = 0.5 * (low + high)
            distance = np.sqrt(x * x + y * y + z * z)
            above = distance - base_radius(self.head, self.state, x / distance, y / distance, z / distance)
            inside = above < 0
            low, under = np.where(inside, z, low), np.where(inside, above, under)
            high, over = np.where(inside, high, z), np.where(inside, over, above)
        # within the last 2.3 thousandths the surface is straight
        z = low - under * (high - low) / (over - under)
        return np.stack([x, y, z]) / np.sqrt(x * x + y * y + z * z)

    def on_chart(self, points: np.ndarray) -> np.ndarray:
        """Chart cells (column, row) float32 [k, 2] of base coordinates [k, 2]."""
        column, row, _ = cells(self.toward(points), self.n)
        return np.stack([column, row], axis=1)

    def lifted(self, points: np.ndarray) -> np.ndarray:
        """Points of the final surface, float32 [k, 3], above base coordinates [k, 2]."""
        toward = self.toward(points)
        column, row, _ = cells(toward, self.n)
        radius = cv2.remap(self.radius, column[None], row[None], cv2.INTER_LINEAR)[0]
        return (toward * radius).T

    def landmarks(self) -> np.ndarray:
        """The five landmarks on the surface, float32 [5, 3]: eyes, nose tip, mouth corners, viewer's left first."""
        head, mouth = self.head, self.mouth
        corner = mouth.centre + mouth.corner_lift
        return self.lifted(
            np.array([(-head.eye_x, head.eye_y), (head.eye_x, head.eye_y), (0.0, self.nose_y),
                      (-mouth.half_width, corner), (mouth.half_width, corner)])
        )  # fmt: skip

    @property
    def nose_y(self) -> float:
        """Height of the nose tip, which sinks a little with age."""
        return self.head.nose_y - 0.03 * old(self.state.age)


def shape(head: Head, state: State, n: int) -> Surface:
    """Shape a head without hair.

    Args:
        head: who.
        state: expression and age.
        n: side of the chart in cells.
    Returns:
        The `Surface`.
    """
    x, y, z = directions(n)
    radius = base_radius(head, state, x, y, z)
    base = np.stack([x * radius, y * radius, z * radius])
    surface = Surface(head, state, mouth_of(head, state), radius, base)
    face = window(n)
    bx, by, bz = base[:, face, face]
    radius[face, face] += _face_relief(surface, bx, by) * ramp(bz, 0.05, 0.35)
    radius += _ears(head, state, base)
    return surface


def _face_relief(surface: Surface, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the facial features over the base, float32 of the shape of `x`."""
    head, state, mouth = surface.head, surface.state, surface.mouth
    years = old(state.age)
    ax = np.abs(x)
    eye_y = head.eye_y
    high = (0.5 + head.brow_ridge * 5) * bump(ax, y, (0.20, eye_y + 0.17 + 0.03 * state.brow_raise), (0.22, 0.075))
    relief = 0.06 * high
    relief -= (0.6 * head.eye_depth + 0.05) * bump(ax, y, (head.eye_x - 0.03, eye_y + 0.0), (0.15, 0.10))
    relief += 0.055 * bump(ax, y, (head.eye_x, eye_y - 0.005), (0.095, 0.065))
    relief += 0.03 * years * bump(ax, y, (head.eye_x, eye_y - 0.13), (0.085, 0.035))
    relief += _nose(surface, x, y)
    relief += (head.cheekbone + 0.02) * bump(ax, y, (0.47, eye_y - 0.26), (0.17, 0.10))
    relief += (0.045 * head.fullness - 0.035 * years) * bump(ax, y, (0.45, head.mouth_y + 0.10), (0.14, 0.17))
    relief += 0.055 * state.smile * bump(ax, y, (0.36 + 0.02 * head.fullness, head.mouth_y + 0.27), (0.12, 0.095))
    relief += 0.05 * years * bump(ax, y, (0.42, head.mouth_y - 0.22), (0.11, 0.10))
    relief += 0.05 * bump(x, y, (0.0, head.mouth_y), (0.26, 0.20))
    relief -= 0.016 * bump(x, y, (0.0, head.mouth_y + 0.13), (0.025, 0.06))
    # lips: two rolls that meet in a groove
    line = mouth.line(x)
    fade = ramp(ax, mouth.half_width * 1.02, mouth.half_width * 0.45)
    above, under = y - line - mouth.upper_gap, line - mouth.lower_gap - y
    up = np.exp(-(((above - 0.45 * mouth.upper_lip) / (0.75 * mouth.upper_lip + 0.012)) ** 2))
    low = np.exp(-(((under - 0.5 * mouth.lower_lip) / (0.70 * mouth.lower_lip + 0.012)) ** 2))
    relief += fade * ((0.012 + 0.55 * mouth.upper_lip) * up + (0.012 + 0.60 * mouth.lower_lip) * low)
    inside = np.maximum(-above, -under)
    relief -= 0.020 * fade * np.exp(-((np.minimum(above, 0) + np.minimum(under, 0) + inside * 0) ** 2) / 0.01) * (
        np.exp(-(above / 0.016) ** 2) + np.exp(-(under / 0.016) ** 2)) * 0.5  # fmt: skip
    relief -= 0.03 * bump(x, y, (0.0, mouth.centre - mouth.lower_gap - mouth.lower_lip - 0.075), (0.14, 0.04))
    # chin
    chin_y = head.chin_y - 0.12 * state.mouth_open
    relief += (0.07 + head.chin_forward) * bump(x, y, (0.0, chin_y + 0.14), (0.10 + 0.36 * head.chin_width, 0.12))
    relief -= 0.03 * head.cleft * bump(x, y, (0.0, chin_y + 0.13), (0.022, 0.06))
    return relief


def _nose(surface: Surface, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the nose over the face."""
    head, state = surface.head, surface.state
    years = old(state.age)
    tip_y, top_y = surface.nose_y, head.eye_y + 0.06
    ax = np.abs(x)
    t = np.clip((top_y - y) / (top_y - tip_y), 0.0, 1.0)
    out = head.nose_out + 0.02 * years
    profile = head.nose_bridge + (out - head.nose_bridge) * t**1.4
    profile += head.nose_hump * np.exp(-(((t - 0.42) / 0.2) ** 2))
    profile *= ramp(y, top_y + 0.13, top_y - 0.10)
    base_end = tip_y - 0.10 + head.nose_upturn
    profile *= ramp(y, base_end - 0.035, tip_y + 0.02)
    wide = 0.056 + (0.034 + 0.22 * (head.nose_width - 0.10)) * t * t + 0.012 * years * t
    ridge = profile * np.exp(-0.5 * (ax / wide) ** 2 * (1 + 0.25 * (ax / wide) ** 2))
    tip = (0.4 + 9 * head.nose_tip) * 0.085 * bump(ax, y, (0.0, tip_y + 0.005), (0.055 + 0.25 * head.nose_tip, 0.052))
    spread = head.nose_width * (1 + 0.08 * state.smile + 0.08 * years)
    wings = 0.115 * bump(ax, y, (spread - 0.045, tip_y - 0.045), (0.044, 0.052))
    wings *= ramp(y, tip_y - 0.14, tip_y - 0.08)
    return ridge + tip + wings


def _ears(head: Head, state: State, base: np.ndarray) -> np.ndarray:
    """Height of the ears over the sides of the head."""
    x, y, z = base
    size = head.ear_size * (1 + 0.12 * old(state.age))
    cy, cz = head.eye_y - 0.17, -0.06
    dy, dz = (y - cy) / (0.27 * size), (z - cz + 0.10 * (y - cy)) / (0.135 * size)
    dz = dz * (1.0 + 0.35 * np.clip(-dy, 0, 1))
    reach = dy * dy + dz * dz
    shell = ramp(reach, 1.15, 0.75) * (np.abs(x) > 0.2)
    bowl = 0.5 * np.exp(-((dy - 0.05) ** 2 / 0.16 + (dz - 0.15) ** 2 / 0.20))
    return head.ear_out * shell * (0.55 - 0.45 * np.clip(dz, -1, 1) - bowl)
