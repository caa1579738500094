"""Exact flow between two photographs of one head: where each pixel's own point of skin, hair, body or background goes.

A point of the head is one direction from its centre where hair grows or the head is turned away; on the bare face it is
one place in base coordinates (see `surface`), since features are painted there. Lips go with the lips' edges, irises
with the gaze. What has no place of its own in the second photograph is not visible in it: what something else hides or
what leaves the picture, outlines (where a pixel mixes two things), the inside of an open mouth, lids that open or
close. Ageing moves features by less than 0.001 decimetres a year, which is left out. Light stays where it is: the
colour of a point changes as it turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchorface.synthetic.camera import DISTANCE, first_hit, look_up
from anchorface.synthetic.chart import cells, ramp
from anchorface.synthetic.features import IRIS_REACH, IRIS_RISE, lip_edges
from anchorface.synthetic.render import Look, middles, outlines, scout
from anchorface.synthetic.scene import body_turn, meet_body
from anchorface.synthetic.surface import Surface, base_radius

BEHIND, HEAD, BODY = 0, 1, 2
FAR = np.float32(DISTANCE + 5.0)
DEPTH = 0.03
"""How far apart two distances from the camera may be for one point, decimetres (our choice)."""
COLOUR = 0.07
"""How far apart the unlit colours of one point may be, of 0..1 in sRGB: pores and greying stay below (our choice)."""
OPEN = 0.012
"""Gap between the lips from which the mouth counts as open, decimetres."""
CLOSED = 0.85
"""From here on `eyes_closed` shows no iris."""


@dataclass(frozen=True)
class View:
    """One photograph's geometry, pixel by pixel, k = size * size.

    kind: int8 [k], BEHIND, HEAD or BODY. points: float32 [3, k], the point that is seen, in the axes of the head or of
    the body. away: float32 [size, size], distance from the camera, FAR for the background. outline: float32
    [size, size], 1 where a pixel mixes two things.
    """

    look: Look
    kind: np.ndarray
    points: np.ndarray
    away: np.ndarray
    outline: np.ndarray


@dataclass(frozen=True)
class Flow:
    """Where a photograph's pixels go in the next one.

    flow: float32 [size, size, 2], (x, y) in pixels, 0 where it is not visible. visible: bool [size, size].
    """

    flow: np.ndarray
    visible: np.ndarray


def view_of(look: Look) -> View:
    """Cast one ray through the middle of every pixel of a look."""
    size, camera = look.camera.size, look.camera
    start, along = camera.rays(*middles(size))
    turn, move = camera.turn.astype(np.float32), camera.move.astype(np.float32)[:, None]
    near = scout(look)
    may = np.flatnonzero(np.isfinite(near))
    hit = np.full(size * size, np.inf, np.float32)
    found = first_hit(look.hair.radius, turn.T @ (start[:, may] - move), turn.T @ along[:, may], near[may])
    hit[may] = np.where(np.isfinite(found), found, np.inf)
    spin = body_turn(look.state)
    low = np.where(start[1] < -0.45, meet_body(look.head, spin @ start, spin @ along).min(axis=0), np.inf)
    kind = np.where(hit <= low, HEAD, BODY)
    seen = np.minimum(hit, low)
    kind[~np.isfinite(seen)] = BEHIND
    seen = np.where(kind == BEHIND, 0, seen).astype(np.float32)
    world = start + seen * along
    points = np.where(kind == HEAD, turn.T @ (world - move), spin @ world)
    away = np.where(kind == BEHIND, FAR, seen + np.sqrt((start[:2] ** 2).sum(axis=0) + DISTANCE**2))
    away = away.astype(np.float32).reshape(size, size)
    borders = outlines(away) | outlines(np.where(kind == BODY, FAR, kind).astype(np.float32).reshape(size, size))
    return View(look, kind.astype(np.int8), points, away, borders.astype(np.float32))


def flow(one: View, other: View) -> Flow:
    """Where the pixels of `one` go in `other`: two photographs of one person, of one size, without glasses."""
    size = one.look.camera.size
    x, y = middles(size)
    place = np.stack([x, y], axis=1)
    away = np.full(size * size, FAR, np.float32)
    known = one.outline.ravel() == 0
    head, body = (np.flatnonzero((one.kind == kind) & known) for kind in (HEAD, BODY))
    moved, same = _moved(one.look, other.look, one.points[:, head])
    known[head] = same
    for spots, points, turn, shift in ((head, moved, other.look.camera.turn, other.look.camera.move),
                                       (body, one.points[:, body], body_turn(other.look.state).T, np.zeros(3))):
        world = points.T @ turn.T + shift
        place[spots] = other.look.camera.project_world(world)
        away[spots] = np.linalg.norm(world - np.array([0.0, 0.0, DISTANCE]), axis=1)
    column, row = ((place[:, k] - 0.5).astype(np.float32).reshape(size, size) for k in (0, 1))
    found, outline = (cv2.remap(chart, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).ravel()
                      for chart in (other.away, other.outline))
    inside = ((place >= 0.5) & (place <= size - 0.5)).all(axis=1)
    visible = known & inside & (outline == 0) & (np.abs(found - away) < DEPTH)
    shift = np.where(visible[:, None], place - np.stack([x, y], axis=1), 0)
    return Flow(shift.astype(np.float32).reshape(size, size, 2), visible.reshape(size, size))


def _moved(one: Look, other: Look, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of `one`'s head [3, k] as they stand on `other`'s, and which of them are told; both in head axes."""
    column, row, distance = cells(points, one.surface.n)
    toward = points / distance
    base = toward * base_radius(one.head, one.state, *toward)
    bare = ramp(base[2], 0.05, 0.35) * (1 - look_up(one.hair.cover, column, row))
    spots, told = _carried(one.surface, other.surface, base[0], base[1])
    there = other.surface.toward(spots)
    reached = there * base_radius(other.head, other.state, *there)
    told &= (np.abs(reached[:2] - spots.T).max(axis=0) < 0.01) | (bare == 0)
    there = np.where(bare > 0, toward + bare * (there - toward), toward)
    there = there / np.sqrt((there * there).sum(axis=0))
    told |= bare == 0
    new_column, new_row, _ = cells(there, other.surface.n)
    before, after = look_up(one.colour, column, row), look_up(other.colour, new_column, new_row)
    told &= np.abs(after - before).max(axis=1) < COLOUR
    return there * look_up(other.hair.radius, new_column, new_row), told


def _carried(one: Surface, other: Surface, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Base coordinates of `one` as they stand in `other`: [k, 2], and which are told, bool [k]."""
    new_x, new_y = x.copy(), y.copy()
    across = other.mouth.half_width / one.mouth.half_width
    before, after = lip_edges(one, x), lip_edges(other, x * across)
    for outer, inner in ((0, 1), (3, 2)):
        low, high = np.minimum(before[outer], before[inner]), np.maximum(before[outer], before[inner])
        lip = (y >= low) & (y <= high) & (np.abs(x) < one.mouth.half_width)
        share = (y - before[inner]) / np.where(before[outer] == before[inner], 1, before[outer] - before[inner])
        new_x = np.where(lip, x * across, new_x)
        new_y = np.where(lip, after[inner] + share * (after[outer] - after[inner]), new_y)
    mouth = one.mouth
    told = ~((y < before[1]) & (y > before[2]) & (mouth.upper_gap + mouth.lower_gap > OPEN))
    if max(one.state.eyes_closed, other.state.eyes_closed) < CLOSED:
        head = one.head
        side = np.where(x < 0, np.float32(-1), np.float32(1))
        (px, py), (qx, qy) = (np.array(IRIS_REACH) * state.gaze for state in (one.state, other.state))
        out = np.abs(x) - head.eye_x
        up = y - head.eye_y - head.eye_slant * out
        iris = np.hypot(out * side - px, up - py - IRIS_RISE) < head.iris_radius
        new_x = np.where(iris, x + (qx - px), new_x)
        new_y = np.where(iris, y + (qy - py) + head.eye_slant * side * (qx - px), new_y)
    return np.stack([new_x, new_y], axis=1).astype(np.float32), told
