"""What a face goes through before an embedder in training sees it: jittered alignment, light, blur, damage.

In: a stored wide crop, uint8 [176, 176, 3] RGB, and its landmarks [5, 2]. Out: uint8 [112, 112, 3] RGB.
Every number is drawn from the generator that is given.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from anchorface.degradation import Operation, Plan, apply, draw
from anchorface.faces.align import arcface_matrix

CROP = 112
_INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Probabilities, and sizes of the jitters (our choice; low resolution as in AdaFace).

    turn: degrees; zoom: share; shift: pixels of the 112 px crop; point: noise of each landmark, pixels of 112.
    """

    turn: float = 6.0
    zoom: float = 0.06
    shift: float = 2.5
    point: float = 1.0
    flip: float = 0.5
    grey: float = 0.3
    light: float = 0.8
    colour: float = 0.5
    low_resolution: float = 0.2
    blur: float = 0.1
    noise: float = 0.1
    damage: float = 0.12
    profiles: tuple[str, ...] = ("gfpgan", "codeformer", "refldm-moderate", "refldm-train")
    cover: float = 0.15


def augmented(image: np.ndarray, landmarks: np.ndarray, settings: Augmentation, g: np.random.Generator) -> np.ndarray:
    """One training crop, uint8 [112, 112, 3] RGB."""
    crop = _aligned(image, landmarks, settings, g)
    if g.random() < settings.flip:
        crop = crop[:, ::-1]
    crop = _light(crop, settings, g)
    if g.random() < settings.low_resolution:
        side = int(CROP * g.uniform(0.2, 1.0))
        small = cv2.resize(crop, (side, side), interpolation=_INTERPOLATIONS[int(g.integers(5))])
        crop = cv2.resize(small, (CROP, CROP), interpolation=_INTERPOLATIONS[int(g.integers(5))])
    if g.random() < settings.blur:
        crop = cv2.GaussianBlur(crop, (0, 0), float(g.uniform(0.4, 2.0)))
    if g.random() < settings.noise:
        noisy = crop + g.standard_normal(crop.shape, dtype=np.float32) * np.float32(g.uniform(2, 14))
        crop = np.clip(noisy, 0, 255).astype(np.uint8)
    if g.random() < settings.damage:
        profile = settings.profiles[int(g.integers(len(settings.profiles)))]
        crop = apply(np.ascontiguousarray(crop), draw(profile, g, CROP))
    if g.random() < settings.cover:
        crop = crop.copy()
        height, width = g.integers(12, 45, 2)
        top, left = g.integers(0, CROP - 12, 2)
        crop[top : top + height, left : left + width] = g.integers(0, 256, 3)
    return crop


PROFILES = ("gfpgan", "codeformer", "refldm-moderate", "refldm-train", "refldm-severe", "iconface")
SINGLE = ("blur", "resize", "jpeg", "noise")
GRADED_SHARE = 0.45
"""Of the damages: one kind alone, of any strength, as in the ladders that norms are measured on; else a profile."""


def damaged(crop: np.ndarray, g: np.random.Generator) -> np.ndarray:
    """A crop of any size made worse, from hardly to beyond recognition."""
    side = len(crop)
    if g.random() >= GRADED_SHARE:
        return apply(np.ascontiguousarray(crop), draw(PROFILES[int(g.integers(len(PROFILES)))], g, side))
    return graded(crop, g)


def graded(crop: np.ndarray, g: np.random.Generator) -> np.ndarray:
    """A crop of any size with one kind of damage of any strength."""
    side = len(crop)
    kind, strength = SINGLE[int(g.integers(len(SINGLE)))], float(g.random())
    steps: tuple[Operation, ...]
    if kind == "blur":
        sigma = side / 112 * 0.2 * 25.0**strength
        steps = (Operation.of("blur", sigma_x=sigma, sigma_y=sigma, angle=0.0, kernel=2 * int(np.ceil(3 * sigma)) + 1),)
    elif kind == "resize":
        small = int(side / 20.0**strength)
        steps = (Operation.of("resize", side=small, interpolation="area"),
                 Operation.of("resize", side=side, interpolation="cubic"))
    elif kind == "jpeg":
        steps = (Operation.of("jpeg", quality=int(90 - 87 * strength)),)
    else:
        steps = (Operation.of("noise", level=2.0 * 25.0**strength, seed=int(g.integers(2**31))),)
    return apply(np.ascontiguousarray(crop), Plan(profile=kind, size=side, operations=steps))


def plain(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The crop that an embedder sees in use, uint8 [112, 112, 3] RGB."""
    return cv2.warpAffine(image, arcface_matrix(landmarks), (CROP, CROP), flags=cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REFLECT_101)  # fmt: skip


def _aligned(image: np.ndarray, landmarks: np.ndarray, settings: Augmentation, g: np.random.Generator) -> np.ndarray:
    points = landmarks + g.normal(0, settings.point * 1.14, (5, 2))
    matrix = arcface_matrix(points)
    turn, zoom = np.radians(g.uniform(-settings.turn, settings.turn)), np.exp(g.uniform(-settings.zoom, settings.zoom))
    middle = (CROP - 1) / 2
    shift = g.uniform(-settings.shift, settings.shift, 2)
    stretch = np.exp(g.uniform(-settings.zoom, settings.zoom) / 2)
    linear = zoom * np.array([[np.cos(turn) * stretch, -np.sin(turn)], [np.sin(turn), np.cos(turn) / stretch]])
    moved = np.column_stack([linear @ matrix[:, :2], linear @ (matrix[:, 2] - middle) + middle + shift])
    return cv2.warpAffine(image, moved, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _light(crop: np.ndarray, settings: Augmentation, g: np.random.Generator) -> np.ndarray:
    bright, coloured, grey = g.random() < settings.light, g.random() < settings.colour, g.random() < settings.grey
    if not (bright or coloured or grey):
        return crop
    pixels = crop.astype(np.float32) / 255.0
    if coloured:
        level = pixels.mean(axis=2, keepdims=True)
        pixels = level + (pixels - level) * np.float32(g.uniform(0.3, 1.5))
        pixels *= np.exp(g.normal(0, 0.09, 3)).astype(np.float32)
    if grey:
        weights = np.array([0.299, 0.587, 0.114], np.float32) if g.random() < 0.7 else g.dirichlet((4, 4, 4)).astype(
            np.float32)
        pixels = np.repeat((pixels @ weights)[..., None], 3, axis=2)
    if bright:
        pixels = np.power(np.clip(pixels, 0, 1), np.float32(np.exp(g.normal(0, 0.3))))
        pixels = (pixels - 0.5) * np.float32(np.exp(g.normal(0, 0.2))) + np.float32(0.5 + g.normal(0, 0.08))
        slope = g.normal(0, 0.12, 2).astype(np.float32)
        axis = np.linspace(-1, 1, CROP, dtype=np.float32)
        pixels = pixels * (1 + slope[0] * axis[None, :, None] + slope[1] * axis[:, None, None])
    return (np.clip(pixels, 0, 1) * 255.0).astype(np.uint8)
