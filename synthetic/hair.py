"""Hair: where it grows, how far it stands out from the head, and its strands.

All on the chart: cover float32 [n, n] in 0..1, radius float32 [n, n] in decimetres, colour float32 [n, n, 3] sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anchorface.records import rng
from anchorface.synthetic.chart import directions, ramp
from anchorface.synthetic.head import Head
from anchorface.synthetic.state import State
from anchorface.synthetic.surface import Surface, old

WHITE = (0.80, 0.79, 0.77)  # sRGB of white hair


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A hair style in numbers (decimetres; `length` is where the sides end below the centre)."""

    top: float = 0.07
    side: float = 0.035
    length: float = 0.0  # 0: ends at ears and nape
    spread: float = 0.92  # half width of hanging hair
    curl: float = 0.0
    fringe: float = 0.0  # how far it hangs below the hairline
    front: float = 0.0  # extra height over the forehead
    edge: float = 66.0  # degrees from the front where hanging hair starts
    density: float = 1.0
    bun: float = 0.0
    parted: float = 0.0


CUTS = {
    "bald": Cut(top=0.0, side=0.0, density=0.0),
    "buzz": Cut(top=0.012, side=0.008, density=0.72),
    "short": Cut(top=0.07, side=0.03, front=0.02),
    "side_part": Cut(top=0.10, side=0.035, parted=1.0, front=0.03),
    "quiff": Cut(top=0.12, side=0.02, front=0.16),
    "fringe": Cut(top=0.10, side=0.10, fringe=0.32, length=0.25, edge=60),
    "bob": Cut(top=0.09, side=0.12, length=0.72, spread=0.95, edge=57, parted=0.5),
    "long": Cut(top=0.09, side=0.10, length=1.75, spread=0.95, edge=60, fringe=0.26),
    "long_part": Cut(top=0.08, side=0.10, length=1.75, spread=0.90, edge=55, parted=1.0),
    "curly": Cut(top=0.17, side=0.10, curl=1.0, front=0.05),
    "curly_long": Cut(top=0.17, side=0.17, length=1.35, spread=1.10, edge=58, curl=1.0),
    "afro": Cut(top=0.36, side=0.34, curl=0.8, front=0.05),
    "bun": Cut(top=0.035, side=0.03, bun=0.26, front=0.0),
    "slick": Cut(top=0.05, side=0.02, front=0.05),
}  # fmt: skip


@dataclass(frozen=True)
class Hair:
    """Hair on the chart: see the module's first lines."""

    cover: np.ndarray
    radius: np.ndarray
    colour: np.ndarray


def grey_share(head: Head, age: float) -> float:
    """Share of grey hair, 0..1: half at the person's `grey_age`."""
    return float(1.0 / (1.0 + np.exp(-(age - head.grey_age) / 7.0)))


def hair_tint(head: Head, age: float, share: float = 1.0) -> np.ndarray:
    """Mean hair colour at an age, sRGB float32 [3]; `share` scales the greying."""
    grey = grey_share(head, age) * share
    return ((1 - grey) * np.asarray(head.hair_colour) + grey * np.asarray(WHITE)).astype(np.float32)


def _noise(head: Head, purpose: str, rows: int, columns: int) -> np.ndarray:
    """Smooth noise tile float32 [rows, columns], about -1..1."""
    return rng(head.seed, purpose).standard_normal((rows, columns), dtype=np.float32)


def _sample(tile: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    return cv2.remap(tile, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_WRAP)  # fmt: skip


def grow(surface: Surface) -> Hair:
    """Grow the hair of a shaped head.

    Args:
        surface: the head without hair.
    Returns:
        A `Hair`; `radius` equals the head's where there is none.
    """
    head, state, n = surface.head, surface.state, surface.n
    cut = CUTS[head.hair_style]
    x, y, z = surface.base
    dx, dy, dz = directions(n)
    years = old(state.age)
    azimuth = cv2.phase(dz, dx, angleInDegrees=True)  # 0 front, 90 viewer's right, 270 viewer's left
    turn = np.minimum(azimuth, 360.0 - azimuth)

    # strands: along a strand only `row` moves, slowly; curls are round blobs
    tile = _noise(head, "strands", 64, 1024)
    swept = cv2.phase(dz + 0.25, dx - 0.12 * head.hair_part, angleInDegrees=True)
    fine = _sample(tile, swept * (1024 / 360 * 1.0) + 3.0 * y * head.hair_part, 6.0 * y + 9)
    coarse = _sample(tile, swept * (200 / 360) + 100, 3.0 * y + 31)
    strand = 0.55 * fine + 0.6 * coarse
    if cut.curl:
        curls = 3.0 * cv2.GaussianBlur(_noise(head, "curls", 128, 128), (0, 0), 0.9)
        blob = _sample(curls, x * 21 + 60 + 1.5 * coarse, y * 21 + 60 + 0.12 * turn)
        strand = (1 - 0.65 * cut.curl) * strand + 0.9 * cut.curl * blob
    else:
        blob = np.zeros_like(strand)

    line = _hairline(head, state, cut, turn, x, coarse)
    beyond = y - line + 0.012 * fine
    cover = ramp(beyond, -0.03, 0.04 if cut.density == 1 else 0.13)
    ear = ((y - head.eye_y + 0.15) / 0.25) ** 2 + ((z + 0.04) / 0.15) ** 2
    if not cut.length and cut.side < 0.2:  # big hair swallows the ears
        cover *= ramp(ear, 0.8, 1.15)
    density = cut.density * (1 - 0.35 * head.recession * years * ramp(dy, 0.5, 0.8))
    if head.recession > 0.45:  # a thinning crown
        crown = ramp(dy, 0.62, 0.92) * ramp(dz, 0.75, 0.45)
        density = density * (1 - min(1.8 * (head.recession - 0.35) * years, 0.96) * crown)
    cover = cover * density

    volume = head.hair_volume * state.hair_length * (1 - 0.25 * years)
    rise = ramp(dy, 0.05, 0.55)
    thick = volume * (cut.side + (cut.top - cut.side) * rise)
    thick = thick + volume * cut.front * ramp(dz, 0.1, 0.55) * rise * (1 + 0.25 * coarse)
    if cut.parted:
        groove = np.exp(-(((x - 0.32 * float(np.sign(head.hair_part + 1e-9))) / 0.045) ** 2)) * ramp(dy, 0.4, 0.6)
        thick = thick * (1 - 0.55 * cut.parted * groove)
        strand = strand - 0.9 * cut.parted * groove
    thick = thick * (1 + 0.05 * coarse + 0.02 * fine) + 0.050 * cut.curl * blob
    radius = surface.radius + np.maximum(thick, 0.0) * np.minimum(1.0, ramp(beyond, -0.06, 0.12))
    if cut.bun:
        lump = cut.bun * np.exp(-((dx / 0.30) ** 2 + ((dy - 0.76) / 0.24) ** 2)) * ramp(dz, 0.15, -0.2)
        radius = radius + lump * cover * 2.0
    if cut.length:
        radius, hanging = _hang(surface, cut, radius, turn, strand, blob)
        cover = np.maximum(cover, hanging)
    # no wall stands where nothing grows
    radius = surface.radius + (radius - surface.radius) * ramp(cover, 0.05, 0.5)
    return Hair(cover, radius.astype(np.float32), _colour(head, state, cut, strand, fine))


def _hairline(head: Head, state: State, cut: Cut, turn: np.ndarray, x: np.ndarray, wave: np.ndarray) -> np.ndarray:
    """Lowest height at which hair grows, by degrees from the front; float32 like `turn`."""
    back = head.recession * old(state.age)
    front = head.eye_y + head.hairline
    temple = front - 0.05 + 0.42 * back
    stops = np.array([0, 22, 36, 58, 68, 82, 100, 180], dtype=np.float32)
    side = head.eye_y - 0.12 if head.masculine > 0.5 else head.eye_y - 0.02
    heights = np.array([front + 0.22 * back, front + 0.25 * back, temple, head.eye_y + 0.22 + 0.2 * back, side, side,
                        head.eye_y - 0.42, head.eye_y - 0.62])  # fmt: skip
    line = np.interp(turn[::2, ::2], stops, heights).astype(np.float32)
    line = cv2.resize(line, turn.shape[::-1], interpolation=cv2.INTER_LINEAR)
    line -= 0.07 * head.widows_peak * np.exp(-((x / 0.10) ** 2)) * (turn < 60)
    if cut.fringe:
        hang = cut.fringe * state.hair_length * (1 - 0.8 * back)
        line -= (
            (hang + 0.035 * wave)
            * ramp(turn, 52, 36)
            * (1 - 0.5 * np.abs(head.hair_part) * ramp(x * float(np.sign(head.hair_part)), -0.2, 0.4))
        )
    return line


def _hang(surface: Surface, cut: Cut, radius: np.ndarray, turn: np.ndarray, strand: np.ndarray,
          blob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Hair that hangs beside and behind the face: new radius and its cover."""
    dx, dy, dz = directions(surface.n)
    head = surface.head
    length = cut.length * surface.state.hair_length
    wide = cut.spread * (0.9 + 0.1 * head.hair_volume) * (0.92 + head.skull_width * 0.1)
    norm = (
        (np.abs(dx) / wide) ** 2.4
        + (np.abs(dz) / 1.12) ** 2.4
        + (np.abs(dy) / np.where(dy < 0, np.float32(length), np.float32(1.3))) ** 3.2
    )
    shell = np.exp(np.log(norm + 1e-9) * np.where(dy < 0, np.float32(-1 / 2.9), np.float32(-1 / 2.5))) * (
        1 + 0.012 * strand + 0.045 * cut.curl * blob
    )
    edge = cut.edge + 4.0 * np.clip(strand, -1, 1) + 8 * ramp(dy, -0.2, -0.75) - 22 * ramp(dy, 0.25, 0.55)
    hanging = ramp(turn, edge - 3, edge + 4) * ramp(dy, 0.75, 0.45)
    # below the jaw it hangs beside and behind the neck only
    beside = dz * shell - 0.9 * (np.abs(dx) * shell - 0.60) + 0.05 * np.clip(strand, -1, 1)
    hanging = hanging * np.maximum(ramp(beside, 0.10, -0.05), ramp(dy, -0.55, -0.35))
    # the cut ends: nothing hangs lower than the length, nothing under the chin
    end = surface.head.eye_y - length
    hanging = hanging * ramp(dy * shell, end - 0.05, end + 0.08) if cut.length < 1 else hanging
    # it leaves the cheek at a slope, not as a wall
    rise = ramp(turn, edge - 4, edge + 26)
    out = np.maximum(radius + (shell - radius) * (0.25 + 0.75 * rise), radius)
    return radius + (out - radius) * hanging, hanging


def _colour(head: Head, state: State, cut: Cut, strand: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Colour of the hair: the tint, lighter and darker by strand, with single grey hairs before it is grey."""
    grey = grey_share(head, state.age)
    salt = 0.55 * ramp(fine * 0.5 + 2.2 * (grey - 0.5), -0.7, 0.7) + 0.45 * grey
    contrast = 0.20 if not cut.curl else 0.26
    shade = 1.0 + contrast * np.clip(strand, -2, 2)
    pairs = zip(head.hair_colour, WHITE, strict=True)
    return cv2.merge([np.clip((own + (white - own) * salt) * shade, 0.0, 1.0) for own, white in pairs])
