"""The camera: rays, projection, and where each ray first meets the head.

World axes: x right, y up, z towards the camera, which stands at (0, 0, DISTANCE) and looks along -z; lengths in
decimetres. Pictures: x right, y down, pixel centres at whole numbers plus one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchorface.synthetic.chart import cells
from anchorface.synthetic.state import State

DISTANCE = 13.0  # 1.3 m, a portrait's distance: our choice
FIELD = 3.3  # height of the picture at the head, decimetres, for scale 1
PIVOT = np.array([0.0, -0.55, -0.20])  # the neck joint, about which the head turns


def rotation(state: State) -> np.ndarray:
    """Turns head axes into world axes: pitch first, then yaw, then roll; float64 [3, 3]."""
    yaw, pitch, roll = np.radians([state.yaw, state.pitch, state.roll])
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@dataclass(frozen=True)
class Camera:
    """A view of one head.

    size: height of the picture in pixels. pixel: decimetres per pixel at the head. turn: [3, 3] and move: [3],
    head axes to world axes. centre: (x, y), where the head's centre would fall without rotation, pixels.
    """

    size: int
    pixel: float
    turn: np.ndarray
    move: np.ndarray
    centre: tuple[float, float]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Picture positions float64 [k, 2] of points in head axes [k, 3]."""
        return self.project_world(points @ self.turn.T + self.move)

    def project_world(self, points: np.ndarray) -> np.ndarray:
        """Picture positions float64 [k, 2] of points in world axes [k, 3]."""
        scale = DISTANCE / (DISTANCE - points[:, 2]) / self.pixel
        return np.stack([self.centre[0] + points[:, 0] * scale, self.centre[1] - points[:, 1] * scale], axis=1)

    def rays(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays through picture positions, in world axes.

        Args:
            x, y: float32 [k], pixels.
        Returns:
            start: float32 [3, k], on the plane z = 0; along: float32 [3, k], unit, away from the camera.
        """
        start = np.stack([(x - self.centre[0]) * self.pixel, (self.centre[1] - y) * self.pixel, np.zeros_like(x)])
        along = start.copy()
        along[2] = -DISTANCE
        along *= 1.0 / np.sqrt((along * along).sum(axis=0))
        return start.astype(np.float32), along.astype(np.float32)


def camera_for(state: State, size: int) -> Camera:
    """The camera that takes this state's photograph, `size` pixels high."""
    turn = rotation(state)
    move = PIVOT - turn @ PIVOT
    return Camera(
        size=size,
        pixel=FIELD / (size * state.scale),
        turn=turn,
        move=move,
        centre=((0.5 + state.offset[0]) * size, (0.485 + state.offset[1]) * size),
    )


def first_hit(
    radius: np.ndarray, start: np.ndarray, along: np.ndarray, near: np.ndarray | None = None, steps: int = 30
) -> np.ndarray:
    """Where rays first enter a star-shaped surface.

    Args:
        radius: float32 [n, n], the surface on its chart.
        start, along: float32 [3, k], rays in the surface's own axes, unit `along`.
        near: float32 [k], a distance from which to start looking, NaN for rays known to miss; None: not known.
        steps: most steps of the march; our choice.
    Returns:
        float32 [k], distance along the ray from `start`, NaN where it misses.
    """
    count, n = start.shape[1], radius.shape[0]
    hit = np.full(count, np.nan, np.float32)
    bound = float(radius.max()) + 0.01
    nearest = (start * along).sum(axis=0)
    gap = (start * start).sum(axis=0) - nearest * nearest
    alive = np.flatnonzero((gap < bound * bound) if near is None else (gap < bound * bound) & np.isfinite(near))
    reach = np.sqrt(bound * bound - gap[alive])
    s, last = -nearest[alive] - reach, -nearest[alive] + reach
    if near is not None:
        s = np.maximum(s, near[alive])
    a, d = start[:, alive], along[:, alive]
    before = s.copy()
    found: list[tuple[np.ndarray, ...]] = []
    for _ in range(steps):
        column, row, distance = cells(a + s * d, n)
        above = distance - look_up(radius, column, row)
        inside = above < 0
        if inside.any():
            found.append((alive[inside], before[inside], s[inside]))
        keep = ~inside & (s < last)
        alive, s, last, above = alive[keep], s[keep], last[keep], above[keep]
        a, d = a[:, keep], d[:, keep]
        if not alive.size:
            break
        before = s
        s = s + np.clip(0.6 * above, 0.025, 0.5)
    if not found:
        return hit
    index, low, high = (np.concatenate(part) for part in zip(*found, strict=True))
    a, d = start[:, index], along[:, index]
    for _ in range(6):
        middle = 0.5 * (low + high)
        column, row, distance = cells(a + middle * d, n)
        inside = distance < look_up(radius, column, row)
        low, high = np.where(inside, low, middle), np.where(inside, middle, high)
    hit[index] = 0.5 * (low + high)
    return hit


def look_up(chart: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Values of a chart [n, n] or [n, n, c] at cells [k]; float32 [k] or [k, c].

    Bilinear; the list is folded because cv2.remap wants pictures less than 32768 wide.
    """
    k, wide = column.size, 256
    tall = -(-k // wide)
    at = np.zeros((2, tall * wide), np.float32)
    at[0, :k], at[1, :k] = column, row
    across, down = at.reshape(2, tall, wide)
    out = cv2.remap(chart, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out.reshape(tall * wide, *out.shape[2:])[:k]
