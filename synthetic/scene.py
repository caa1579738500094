"""What is around the head: background, neck and clothes, glasses. Colours are linear light unless said otherwise."""

from __future__ import annotations

import cv2
import numpy as np

from anchorface.records import rng
from anchorface.synthetic.camera import DISTANCE, Camera
from anchorface.synthetic.chart import ramp
from anchorface.synthetic.head import Head
from anchorface.synthetic.state import State
from anchorface.synthetic.surface import Surface

SHIFT = 4  # fractional bits of cv2's drawing coordinates


def background(seed: int, height: int, width: int) -> np.ndarray:
    """An out-of-focus background.

    Args:
        seed: which one.
        height, width: pixels.
    Returns:
        float32 [height, width, 3], linear light.
    """
    g = rng(seed, "background")
    base = g.uniform(0.08, 0.82) + g.normal(0, 0.055, 3)
    other = np.clip(base + g.normal(0, 0.2) + g.normal(0, 0.07, 3), 0.02, 0.97)
    base = np.clip(base, 0.02, 0.97)
    kind = g.integers(4)
    h, w = 48, max(48, round(48 * width / height))
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32) / h
    angle = g.uniform(0, 2 * np.pi)
    t = ramp(xx * np.cos(angle) + yy * np.sin(angle), -0.7, 1.2)[..., None]
    out = (base * (1 - t) + other * t).astype(np.float32)
    if kind >= 1:  # blobs
        cols = round(6 * w / h)
        patch = (g.normal(0, 0.09, (6, cols, 1)) + g.normal(0, 0.04, (6, cols, 3))).astype(np.float32)
        out += cv2.resize(patch, (w, h), interpolation=cv2.INTER_CUBIC)
    if kind == 2:  # shelves, window frames
        for _ in range(int(g.integers(2, 7))):
            x0, y0 = g.uniform(0, w), g.uniform(0, h)
            x1, y1 = x0 + g.uniform(2, 16), y0 + g.uniform(4, 30)
            ink = np.clip(base + g.normal(0, 0.2) + g.normal(0, 0.07, 3), 0, 1)
            cv2.rectangle(out, (int(x0), int(y0)), (int(x1), int(y1)), ink.tolist(), -1)
    out = cv2.GaussianBlur(out, (0, 0), float(g.uniform(0.8, 2.5)))
    out = cv2.resize(np.clip(out, 0.01, 1.0), (width, height), interpolation=cv2.INTER_CUBIC)
    if kind == 3:  # lights far away
        glow = np.zeros_like(out)
        for _ in range(int(g.integers(5, 16))):
            at = (int(g.uniform(0, width)), int(g.uniform(0, height)))
            ink = np.clip(g.uniform(0.1, 0.5) + g.normal(0, 0.12, 3), 0, 1)
            cv2.circle(glow, at, int(g.uniform(0.02, 0.07) * height), ink.tolist(), -1, cv2.LINE_AA)
        out += cv2.GaussianBlur(glow, (0, 0), 0.006 * height)
    return np.clip(out, 0.0, 1.0) ** 2


def _ellipsoid(start: np.ndarray, along: np.ndarray, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """First meeting of rays [3, k] with an ellipsoid, as a distance, infinite where they miss."""
    scale = (1.0 / np.asarray(radii, dtype=np.float32))[:, None]
    o, d = (start - np.asarray(centre, dtype=np.float32)[:, None]) * scale, along * scale
    a, b, c = (d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - 1
    root = b * b - a * c
    return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf).astype(np.float32)


def body_turn(state: State) -> np.ndarray:
    """Turns world axes into the body's own, which follows the head's yaw a little; float32 [3, 3]."""
    turn = np.radians(0.35 * state.yaw)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]], dtype=np.float32)


def body_parts(head: Head) -> tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]:
    """Neck, chest and shoulders: an ellipsoid's centre and radii each, in the body's axes."""
    neck, broad = head.neck_width, head.masculine
    return (
        ((0.0, -1.20, -0.22), (neck, 1.5, neck * 1.02)),
        ((0.0, -1.92, -0.36), (1.10 + 0.25 * broad, 0.66, 0.55)),
        ((0.0, -2.55, -0.30), (1.75 + 0.35 * broad, 1.12, 0.85)),
    )


def meet_body(head: Head, start: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Where rays [3, k] in the body's axes first meet each part of it: distances [3, k], infinite where they miss."""
    return np.stack([_ellipsoid(start, along, centre, radii) for centre, radii in body_parts(head)])


def body(
    head: Head, state: State, start: np.ndarray, along: np.ndarray, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neck, shoulders and clothes.

    Args:
        start, along: float32 [3, k], rays in world axes.
        limit: float32 [k], where each ray already met the head, NaN where it did not.
    Returns:
        which rays see the body, int [m]; normal float32 [3, m]; colour float32 [m, 3], sRGB.
    """
    g = rng(state.background, "clothes")
    spin = body_turn(state)
    o, d = spin @ start, spin @ along
    meets = meet_body(head, o, d)
    far = meets.min(axis=0)
    seen = np.flatnonzero(np.isfinite(far) & ~(limit <= far))
    which = meets[:, seen].argmin(axis=0)
    p = o[:, seen] + far[seen] * d[:, seen]
    normal = np.zeros_like(p)
    for k, (centre, radii) in enumerate(body_parts(head)):
        out = (p - np.asarray(centre, dtype=np.float32)[:, None]) / (np.asarray(radii, dtype=np.float32)[:, None] ** 2)
        normal = np.where(which == k, out / np.sqrt((out * out).sum(0) + 1e-9), normal)
    cloth = np.clip(g.uniform(0.05, 0.85) + g.normal(0, 0.10, 3), 0.03, 0.95)
    second = np.clip(cloth + g.normal(0, 0.3, 3), 0.03, 0.95)
    stripes = 0.5 + 0.5 * np.sign(np.sin(p[1] * g.uniform(25, 50))) if g.random() < 0.2 else np.zeros_like(p[0])
    neckline = g.uniform(-1.60, -1.30)
    depth = g.choice((0.0, 0.3, 0.9))  # crew, scoop, V
    edge = neckline - depth * np.clip(0.45 - np.abs(p[0]), 0, 1) - 0.15 * np.clip(p[2], 0, 1)
    dressed = ramp(p[1], edge + 0.012, edge - 0.012)
    colour = np.asarray(head.skin, dtype=np.float32) * (0.96 - 0.30 * ramp(p[1], -1.45, -0.95))[:, None]
    fabric = cloth * (1 - stripes[:, None]) + second * stripes[:, None]
    rim = np.exp(-(((p[1] - edge) / 0.03) ** 2))[:, None]
    colour = colour + (fabric * (1 - 0.25 * rim) - colour) * dressed[:, None]
    return seen, spin.T @ normal, colour.astype(np.float32)


def draw_glasses(picture: np.ndarray, away_from: np.ndarray, surface: Surface, camera: Camera) -> None:
    """Draw glasses into a linear-light picture in place.

    Args:
        picture: float32 [h, w, 3], linear light.
        away_from: float32 [h, w], distance from the camera to the head, NaN where there is none.
        surface: the head that wears them.
        camera: its view.
    """
    head = surface.head
    bridge = surface.lifted(np.array([[0.0, head.eye_y + 0.02]]))[0]
    eyes = surface.landmarks()[:2]
    plane = max(float(bridge[2]) + 0.02, float(eyes[:, 2].max()) + 0.10)
    centre_x = float(np.abs(eyes[:, 0]).mean())
    wide, tall = 0.245 * head.glasses_size, 0.19 * head.glasses_size * (1 - 0.18 * head.glasses_shape)
    t = np.linspace(0, 2 * np.pi, 49)
    power = 1.0 - 0.62 * head.glasses_shape  # 1: an ellipse
    ring_x = wide * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power
    ring_y = tall * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power
    eye_y = float(eyes[:, 1].mean()) - 0.03
    lines, lenses = [], []
    for side in (-1, 1):
        ring = np.stack(
            [
                side * centre_x + ring_x,
                eye_y + ring_y,
                plane - 0.35 * (ring_x * side) ** 2 - 0.03 * (ring_x * side > 0),
            ],
            1,
        )
        lenses.append(ring)
        lines.append(ring)
        hinge = np.array([side * (centre_x + wide), eye_y + 0.05, plane - 0.06])
        ear_x = side * (float(surface.base[0].max()) + 0.02)
        lines.append(np.linspace(hinge, np.array([ear_x, eye_y + 0.04, -0.1]), 14))
    arch = np.linspace(-(centre_x - wide), centre_x - wide, 7)
    lines.append(np.stack([arch, eye_y + 0.05 + 0.03 * np.cos(arch * 12), np.full(7, plane)], 1))
    ink = (np.asarray(head.glasses_colour) ** 2).tolist()
    thick = max(1, round((0.016 + 0.018 * head.glasses_shape) / camera.pixel))
    tint = np.zeros(picture.shape[:2], np.uint8)
    for lens in lenses:
        dots = np.round((camera.project(lens) - 0.5) * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(tint, [dots], 255, cv2.LINE_AA, SHIFT)
    share = tint.astype(np.float32)[..., None] / 255.0
    glare = ramp(np.linspace(-1, 1, picture.shape[0], dtype=np.float32)[:, None, None], 0.3, -0.6)
    picture += share * (0.012 + 0.02 * glare - 0.06 * picture)
    for line in lines:
        world = line @ camera.turn.T + camera.move
        spots = camera.project_world(world) - 0.5
        dots = np.round(spots * (1 << SHIFT)).astype(np.int32)
        away = np.linalg.norm(world - np.array([0, 0, DISTANCE]), axis=1)
        for k in range(len(line) - 1):
            px, py = np.clip(np.round(spots[k]).astype(int), 0, [picture.shape[1] - 1, picture.shape[0] - 1])
            if np.isfinite(away_from[py, px]) and away[k] > away_from[py, px] + 0.05:
                continue
            cv2.line(picture, dots[k].tolist(), dots[k + 1].tolist(), ink, thick, cv2.LINE_AA, SHIFT)
