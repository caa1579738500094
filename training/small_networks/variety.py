"""Many persons from few: pictures of invented persons, each a function of its number, for teachers to look at.

In: photographs of training persons (`Faces`). Out: uint8 [144, 144, 3] RGB, the 112 px ArcFace
crop in its middle, with landmarks float32 [5, 2] in it and the person's label.

Picture `number` shows person `number // VIEWS`. What makes the person is drawn once for all views: one to three
training persons, which parts come from whom, and a smooth change of the face's shape. A view draws which of their
photographs, a turn of the head over a face's rough shape, a slight change of expression, and the light. Most persons so
made exist nowhere, and a teacher says of each picture who it is like. Some are training persons as photographed.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from anchorface.faces.align import apply_matrix, arcface_matrix, compose, inverse
from anchorface.records import rng
from anchorface.training.small_networks.composites import WAYS, join
from anchorface.training.small_networks.people import SIDE, Faces

VIEWS = 4
INVENTED = "invented-"
"""How the labels of invented persons begin."""
BORDER = 16
PICTURE = 112 + 2 * BORDER
TO_PICTURE = np.array([[1.0, 0.0, BORDER], [0.0, 1.0, BORDER]])
STEP = 4
"""Pixels between the nodes where a turn is worked out."""
GRID = 6
"""Nodes a side of the grids whose smooth interpolation displaces pixels."""


@dataclass(frozen=True, kw_only=True)
class Variety:
    """How persons and views are drawn; all our choice.

    own: share that are a training person unchanged. parts: probabilities of one, two and three training persons in an
    invented one. shape, expression: standard deviations of the displacements in pixels of 176, of a person and of a
    view. yaw, pitch: of the turn in degrees; farthest: where it is cut off. light: of the shading's logarithm from the
    face's middle to its side.
    """

    seed: int = 21
    own: float = 0.1
    parts: tuple[float, float, float] = (0.2, 0.5, 0.3)
    shape: float = 2.0
    expression: float = 0.8
    yaw: float = 14.0
    pitch: float = 7.0
    farthest: float = 32.0
    light: float = 0.25


@dataclass(frozen=True)
class Picture:
    """One picture: image uint8 [144, 144, 3], landmarks float32 [5, 2] in it, the person's label."""

    image: np.ndarray
    landmarks: np.ndarray
    person: str


class Inventor:
    """Draws pictures by number from the faces of training persons."""

    def __init__(self, faces: Faces, settings: Variety) -> None:
        self.faces, self.settings = faces, settings
        self.rows = {str(name): np.flatnonzero(faces.person == name) for name in np.unique(faces.person)}

    def picture(self, number: int) -> Picture:
        """The picture of a number; the same at every call."""
        chosen, faces = self.settings, self.faces
        who = rng(chosen.seed, "invented person", number // VIEWS)
        own = who.random() < chosen.own
        count = 1 if own else 1 + int(who.choice(3, p=chosen.parts))
        names = [str(name) for name in who.choice(list(self.rows), count, replace=False)]
        ways = [WAYS[int(k)] for k in who.integers(len(WAYS), size=count)]
        shape = displacement(who, 0.0 if own else chosen.shape)
        view = rng(chosen.seed, "invented view", number)
        rows = [int(view.choice(self.rows[name])) for name in names]
        image, landmarks = faces.images[rows[0]], faces.landmarks[rows[0]]
        for row, way in zip(rows[1:], ways, strict=False):
            image = join(image, landmarks, faces.images[row], faces.landmarks[row], way)
        moved = shape + displacement(view, chosen.expression)
        turn = np.clip(view.normal(0, (chosen.yaw, chosen.pitch)), -chosen.farthest, chosen.farthest)
        crop, points = photographed(image, landmarks, moved, np.radians(turn), view.normal(0, chosen.light, 2))
        return Picture(crop, points, names[0] if own else f"{INVENTED}{chosen.seed}-{number // VIEWS}")


def displacement(g: np.random.Generator, deviation: float) -> np.ndarray:
    """A grid of displacements [GRID, GRID, 2] (x, y) in pixels of 176: mostly alike on both sides of the face."""
    drawn = g.normal(0, deviation, (GRID, GRID, 2))
    mirrored = drawn[:, ::-1] * (-1.0, 1.0)
    return 0.85 * (drawn + mirrored) / np.sqrt(2) + 0.25 * (drawn - mirrored) / np.sqrt(2)


def photographed(image: np.ndarray, landmarks: np.ndarray, moved: np.ndarray, turn: np.ndarray,
                 light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face displaced, turned, lit and aligned, in one resampling.

    Args:
        image: uint8 [176, 176, 3]; landmarks: [5, 2] in it. moved: grid of `displacement`. turn: yaw and pitch,
        radians. light: logarithm of the brightness at the face's right and lower end; the opposite ends' is its
        negative.

    Returns:
        uint8 [144, 144, 3]; landmarks float32 [5, 2] in it.
    """
    field = cv2.resize(moved.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    head = Head(landmarks)
    columns, rows = np.clip(np.rint(landmarks), 0, SIDE - 1).astype(int).T
    points = head.turned(landmarks + field[rows, columns], turn)
    matrix = compose(TO_PICTURE, arcface_matrix(points))
    middles = (np.arange(PICTURE // STEP) + 0.5) * STEP - 0.5
    coarse = apply_matrix(inverse(matrix), np.stack(np.meshgrid(middles, middles), axis=-1))
    front = cv2.resize(head.turned_back(coarse, turn).astype(np.float32), (PICTURE, PICTURE),
                       interpolation=cv2.INTER_CUBIC)
    shift = cv2.remap(field, front, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    crop = cv2.remap(image, front - shift, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    side = np.clip((front - head.centre.astype(np.float32)) / head.reach.astype(np.float32), -1, 1)
    lit = crop * np.exp(side @ light.astype(np.float32))[..., None]
    return np.clip(lit, 0, 255).astype(np.uint8), apply_matrix(matrix, points).astype(np.float32)


class Head:
    """A face's rough shape, a paraboloid with a nose, measured by the distance of the eyes; our choice of sizes."""

    def __init__(self, landmarks: np.ndarray) -> None:
        eyes = landmarks[:2].mean(axis=0)
        self.span = float(np.hypot(*(landmarks[1] - landmarks[0])))
        self.centre = (eyes + landmarks[3:].mean(axis=0)) / 2
        self.nose = landmarks[2]
        self.reach = self.span * np.array([1.3, 1.8])

    def depth(self, points: np.ndarray) -> np.ndarray:
        """How far the face stands out at points [..., 2], in pixels."""
        out = np.square((points - self.centre) / self.reach).sum(axis=-1)
        nose = np.square((points - self.nose) / (0.28 * self.span)).sum(axis=-1)
        return self.span * (1.3 * np.maximum(0.0, 1.0 - out) + 0.3 * np.exp(-nose / 2))

    def turned(self, points: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Where points [..., 2] of the face seen from the front are seen when the head is turned (yaw, pitch)."""
        return self.centre + (points - self.centre) * np.cos(turn) + self.depth(points)[..., None] * np.sin(turn)

    def turned_back(self, points: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """The other way, by fixed-point steps; points that no face covers stay near."""
        found = points
        for _ in range(4):
            found = self.centre + (points - self.centre - self.depth(found)[..., None] * np.sin(turn)) / np.cos(turn)
        return found
