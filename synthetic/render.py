"""A photograph of a synthetic head: `render(head, state, size)`.

The head is cast ray by ray from its chart, lit by a key light with a shadow of its own, a soft sky and a little
fill, and composed with body, background and glasses; outlines get four rays to the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchorface.synthetic.camera import DISTANCE, Camera, camera_for, first_hit, look_up
from anchorface.synthetic.chart import cells, directions
from anchorface.synthetic.hair import Hair, grow
from anchorface.synthetic.head import Head
from anchorface.synthetic.scene import background, body, draw_glasses
from anchorface.synthetic.state import State
from anchorface.synthetic.surface import Surface, shape
from anchorface.synthetic.texture import Paint, paint


@dataclass(frozen=True)
class Rendered:
    """A photograph and the truth about it.

    image: uint8 [size, size, 3], RGB. landmarks: float32 [5, 2], (x, y) pixels: eyes, nose tip, mouth corners, the
    one further left in an upright picture first. box: float32 [4], x0, y0, x1, y1 around forehead, chin and
    cheeks, pixels. cover: float32 [size, size], share of each pixel that is the person, 0..1. yaw, pitch, roll:
    degrees. age: years.
    """

    image: np.ndarray
    landmarks: np.ndarray
    box: np.ndarray
    cover: np.ndarray
    yaw: float
    pitch: float
    roll: float
    age: float


@dataclass(frozen=True)
class Light:
    """Light in world axes. key: unit [3]; colours [3] in linear light."""

    key: np.ndarray
    key_colour: np.ndarray
    sky: np.ndarray
    ground: np.ndarray


@dataclass(frozen=True)
class Look:
    """Everything a ray may meet in one photograph."""

    head: Head
    state: State
    surface: Surface
    hair: Hair
    ink: Paint
    camera: Camera
    light: Light

    @property
    def colour(self) -> np.ndarray:
        """The head's own colour with its hair, before any light, sRGB float32 [n, n, 3]."""
        return self.ink.colour + (self.hair.colour - self.ink.colour) * self.hair.cover[..., None]


def light_of(state: State) -> Light:
    """The light of a state."""
    azimuth, elevation = np.radians([state.light_azimuth, state.light_elevation])
    key = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    warm = np.array([1.0 + 0.16 * state.light_warmth, 1.0, 1.0 - 0.24 * state.light_warmth])
    cool = np.array([1.0 - 0.05 * state.light_warmth, 1.0, 1.0 + 0.06 * state.light_warmth])
    soft = state.ambient
    power = state.exposure
    return Light(
        key=key.astype(np.float32),
        key_colour=(power * (1.10 - 0.60 * soft) * warm).astype(np.float32),
        sky=(power * (0.24 + 0.50 * soft) * cool).astype(np.float32),
        ground=(power * (0.13 + 0.30 * soft) * cool * np.array([1.04, 1.0, 0.94])).astype(np.float32),
    )


def render(head: Head, state: State, size: int = 256) -> Rendered:
    """Photograph a head.

    Args:
        head: who.
        state: how.
        size: side of the picture in pixels, at least 32.
    Returns:
        A `Rendered`; the same arguments give the same bytes.
    Raises:
        ValueError: if `size` is below 32.
    """
    return photograph(look_of(head, state, size))


def look_of(head: Head, state: State, size: int) -> Look:
    """What `render` photographs; its arguments and errors."""
    if size < 32:
        raise ValueError(f"size is {size} pixels; a face needs at least 32")
    n = 400 if size <= 340 else 640
    surface = shape(head, state, n)
    return Look(head, state, surface, grow(surface), paint(surface), camera_for(state, size), light_of(state))


def photograph(look: Look) -> Rendered:
    """Take the photograph of a look."""
    size, state, surface = look.camera.size, look.state, look.surface
    skin = _lit_chart(look)
    x, y = middles(size)
    behind = background(state.background, size, size).reshape(-1, 3)
    near = scout(look)
    flat, cover, away = _cast(look, skin, x, y, behind, near)
    edge = np.flatnonzero(outlines(away.reshape(size, size)))
    if edge.size:  # outlines are cast again, four rays to the pixel
        quarter = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
        ex = np.concatenate([x[edge] + dx for dx, _ in quarter])
        ey = np.concatenate([y[edge] + dy for _, dy in quarter])
        sharp, part, _ = _cast(look, skin, ex, ey, np.tile(behind[edge], (4, 1)), np.tile(near[edge], 4))
        flat[edge] = sharp.reshape(4, -1, 3).mean(axis=0)
        cover[edge] = part.reshape(4, -1).mean(axis=0)
    camera, picture = look.camera, flat.reshape(size, size, 3)
    if state.glasses:
        draw_glasses(picture, away.reshape(size, size), surface, camera)
    image = np.round(np.sqrt(_shoulder(picture)) * 255.0).astype(np.uint8)
    return Rendered(
        image=image,
        landmarks=camera.project(surface.landmarks().astype(np.float64)).astype(np.float32),
        box=_box(surface, camera),
        cover=cover.reshape(size, size),
        yaw=state.yaw,
        pitch=state.pitch,
        roll=state.roll,
        age=state.age,
    )


def _shoulder(light: np.ndarray) -> np.ndarray:
    """Film-like roll-off: linear up to 0.6, then bent so that nothing clips hard."""
    over = np.maximum(light - 0.6, 0.0)
    return np.minimum(light, 0.6) + 0.4 * over / (over + 0.4)


def _box(surface: Surface, camera: Camera) -> np.ndarray:
    head = surface.head
    wide = 0.80 * head.cheek_width
    chin = head.chin_y - 0.1 * surface.state.mouth_open
    rim = np.array([(0.0, chin + 0.06), (0.0, head.eye_y + 0.62), (-wide, head.eye_y), (wide, head.eye_y),
                    (-0.75 * wide, head.mouth_y), (0.75 * wide, head.mouth_y), (-0.25, chin + 0.10),
                    (0.25, chin + 0.10), (-0.45, head.eye_y + 0.5), (0.45, head.eye_y + 0.5),
                    (0.0, surface.nose_y)])  # fmt: skip
    spots = camera.project(surface.lifted(rim).astype(np.float64))
    return np.concatenate([spots.min(axis=0), spots.max(axis=0)]).astype(np.float32)


def middles(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of all pixels' middles, row after row, float32 [size * size] each."""
    grid = np.arange(size, dtype=np.float32) + 0.5
    x, y = np.meshgrid(grid, grid)
    return x.ravel(), y.ravel()


def outlines(away: np.ndarray) -> np.ndarray:
    """Pixels on an outline: where the head begins or its distance jumps; bool [size, size]."""
    depth = np.where(np.isfinite(away), away, np.float32(DISTANCE + 3))
    square = np.ones((3, 3), np.uint8)
    return cv2.dilate(depth, square) - cv2.erode(depth, square) > 0.25


def scout(look: Look) -> np.ndarray:
    """Where to start looking for the head along each pixel's ray, from a picture of half the size.

    Returns:
        float32 [size * size], distance along the ray, NaN where no ray around the pixel meets the head.
    """
    size = look.camera.size
    grid = (np.arange(-(-size // 2), dtype=np.float32) + 0.5) * 2.0
    x, y = (g.ravel() for g in np.meshgrid(grid, grid))
    start, along = look.camera.rays(x, y)
    turn = look.camera.turn.T.astype(np.float32)
    hit = first_hit(look.hair.radius, turn @ (start - look.camera.move.astype(np.float32)[:, None]), turn @ along)
    missed = np.float32(1e3)
    nearest = cv2.erode(
        np.where(np.isfinite(hit), hit, missed).reshape(grid.size, grid.size), np.ones((3, 3), np.uint8)
    )
    nearest = np.repeat(np.repeat(nearest, 2, axis=0), 2, axis=1)[:size, :size].ravel()
    return np.where(nearest < missed, nearest - 0.12, np.float32(np.nan))


def _cast(look: Look, skin: tuple[np.ndarray, np.ndarray, np.ndarray], x: np.ndarray, y: np.ndarray,
          behind: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """What rays through picture positions see.

    Args:
        skin: the lit charts of `_lit_chart`.
        x, y: float32 [k], pixels. behind: float32 [k, 3], the background there.
        near: float32 [k], from `scout`.
    Returns:
        colour float32 [k, 3], linear light; cover float32 [k]; distance from the camera to the nearest of head
        and body float32 [k], NaN where neither is.
    """
    turn = look.camera.turn.astype(np.float32)
    move = look.camera.move.astype(np.float32)[:, None]
    start, along = look.camera.rays(x, y)
    may = np.flatnonzero(np.isfinite(near))
    o, d = turn.T @ (start[:, may] - move), turn.T @ along[:, may]
    met = first_hit(look.hair.radius, o, d, near[may])
    hit = np.full(x.size, np.nan, np.float32)
    hit[may] = met
    colour, cover = behind.copy(), np.zeros(x.size, np.float32)
    inside = np.isfinite(met)
    view, on = d[:, inside], may[inside]
    colour[on] = _shade(look, skin, turn, o[:, inside] + met[inside] * view, view)
    cover[on] = 1.0
    below = np.flatnonzero(start[1] < -0.45)
    seen, normal, base = body(look.head, look.state, start[:, below], along[:, below], hit[below])
    light, at = look.light, below[seen]
    shade = np.clip((light.key @ normal + 0.25) / 1.25, 0, 1)[:, None] * light.key_colour * 0.8
    up = (0.5 + 0.5 * normal[1])[:, None]
    front = (0.45 + 0.55 * np.clip(normal[2], 0, 1))[:, None]
    colour[at] = base**2 * (shade + front * (light.sky * up + light.ground * (1 - up)))
    cover[at] = 1.0
    away = hit + np.sqrt((start[:2] ** 2).sum(axis=0) + DISTANCE**2)
    away[at] = DISTANCE + 1.0
    return colour, cover, away


def _normals(radius: np.ndarray, crease: np.ndarray, hair: Hair) -> np.ndarray:
    """Unit normals of the surface, float32 [n, n, 3], head axes."""
    n = radius.shape[0]
    x, y, z = directions(n)
    fine = radius + crease
    place = np.dstack([x * fine, y * fine, z * fine])
    across = cv2.Sobel(place, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(place, cv2.CV_32F, 0, 1, ksize=3)
    normal = np.empty_like(place)
    for k, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        normal[..., k] = down[..., i] * across[..., j] - down[..., j] * across[..., i]
    normal *= 1.0 / np.sqrt((normal * normal).sum(axis=2, keepdims=True) + 1e-12)
    return normal


def _occlusion(radius: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Share of sky and of key light that reaches the surface, float32 [n, n, 2], worked out on a coarse chart.

    Args:
        radius: float32 [n, n].
        key: float32 [3], direction to the light in head axes.
    """
    n, m = radius.shape[0], 144
    small = cv2.resize(radius, (m, m), interpolation=cv2.INTER_AREA)
    dents = cv2.GaussianBlur(small, (0, 0), 0.035 * m) - small
    wide = cv2.GaussianBlur(small, (0, 0), 0.012 * m) - small
    sky = np.clip(1.0 - 3.2 * np.maximum(dents, 0) - 7.0 * np.maximum(wide, 0), 0.25, 1.0)
    d = np.stack(directions(m))
    place = d * (small + 0.012)
    dark = np.zeros((m, m), np.float32)
    for reach in (0.05, 0.09, 0.14, 0.20, 0.28, 0.38, 0.52, 0.70, 0.95):
        column, row, distance = cells(place + np.float32(reach) * key[:, None, None], m)
        over = cv2.remap(small, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - distance
        dark = np.maximum(dark, over * (1.0 / (0.02 + 0.10 * reach)))
    lit = cv2.GaussianBlur(1.0 - np.clip(dark, 0.0, 1.0), (0, 0), 1.1)
    return cv2.resize(np.dstack([sky, lit]), (n, n), interpolation=cv2.INTER_LINEAR)


def _lit_chart(look: Look) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Charts for shading, float32: colour [n, n, 3] in linear light, normals [n, n, 3], and gloss, hair, open sky,
    key light, eye [n, n, 5]."""
    hair, ink = look.hair, look.ink
    key = look.camera.turn.T @ look.light.key
    normal = _normals(hair.radius, ink.crease * (1 - hair.cover), hair)
    normal += (ink.eyeball[..., :3] - normal) * (ink.eyeball[..., 3:] * (1 - hair.cover[..., None]))
    reach = _occlusion(hair.radius, key.astype(np.float32))
    return np.square(np.clip(look.colour, 0, 1)), normal, np.dstack([ink.gloss, hair.cover, reach, ink.eyeball[..., 3]])


def _shade(look: Look, skin: tuple[np.ndarray, np.ndarray, np.ndarray], turn: np.ndarray, points: np.ndarray,
           view: np.ndarray) -> np.ndarray:  # fmt: skip
    """Linear-light colours float32 [k, 3] of surface points [3, k] seen along `view` [3, k], head axes."""
    light = look.light
    key, up = turn.T @ light.key, turn.T @ np.array([0, 1, 0], dtype=np.float32)
    column, row, _ = cells(points, look.surface.n)
    base, nrm, extra = (look_up(chart, column, row) for chart in skin)
    nrm *= 1.0 / np.sqrt((nrm * nrm).sum(axis=1, keepdims=True) + 1e-9)
    gloss, furry, sky, lit, eye = extra.T
    facing = nrm @ key
    # light that enters skin comes out redder, a little beyond the edge of the shadow
    wrap = np.array([0.30, 0.16, 0.10], dtype=np.float32)
    bleed = lit[:, None] ** np.array([0.75, 1.0, 1.1], dtype=np.float32)
    diffuse = np.clip((facing[:, None] + wrap) / (1 + wrap), 0, None) * bleed * light.key_colour
    above = (0.5 + 0.5 * (nrm @ up))[:, None]
    toward = -(nrm * view.T).sum(axis=1)
    front = (0.55 + 0.45 * np.clip(toward, 0, 1))[:, None]
    ambient = (light.sky * above + light.ground * (1 - above)) * sky[:, None] * front * 1.15
    half = key[None] - view.T
    half *= 1.0 / np.sqrt((half * half).sum(axis=1, keepdims=True) + 1e-9)
    shine = np.clip((nrm * half).sum(axis=1), 0, 1)
    spot = (
        gloss * (0.20 * shine**18 + 0.10 * shine**60) * (1 - furry)
        + 0.16 * furry * shine**14 * base.mean(axis=1) ** 0.5
    )
    spot = spot * lit + eye * 1.4 * shine**220
    rim = 0.05 * (1 - np.clip(toward, 0, 1)) ** 3 * (1 - furry)
    return base * (diffuse + ambient) + spot[:, None] * light.key_colour + rim[:, None] * light.sky
