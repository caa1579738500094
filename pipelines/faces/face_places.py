"""Where the faces of a photograph are, and whose they are said to be: given landmarks, detections, sidecars.

In: a Photo and what a detector found in it. Out: a FacePlace for each face, in order: given faces as the sidecar lists
them, detected ones by size, the largest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.detect import Detection
from anchorface.records.nouns import GivenFace, Photo

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FacePlace:
    """One face of a photograph.

    number: its place among the photograph's faces. landmarks: float64 [5, 2] and box: photo pixels. score: 1 for given
    landmarks. says: what the sidecar says of it. is_subject: whether the photograph's own label and birth date mean it.
    """

    number: int
    landmarks: Points
    score: float
    box: tuple[float, ...]
    says: GivenFace | None
    is_subject: bool


def given_places(photo: Photo) -> list[FacePlace]:
    """The faces whose landmarks a sidecar names."""
    given = [face for face in photo.given_faces if face.landmarks]
    points = [np.reshape(face.landmarks, (5, 2)).astype(np.float64) for face in given]
    return _numbered(photo, [(place, 1.0, _box(place), face) for place, face in zip(points, given, strict=True)])


def detected_places(photo: Photo, detections: Sequence[Detection]) -> list[FacePlace]:
    """The detected faces, each with what a sidecar says of it."""
    ordered = sorted(detections, key=lambda face: -_area(face.box))
    return _numbered(photo, [(d.landmarks, d.score, d.box, _statement(photo, d.landmarks)) for d in ordered])


def _numbered(
    photo: Photo, places: Sequence[tuple[Points, float, tuple[float, ...], GivenFace | None]]
) -> list[FacePlace]:
    subject = _subject_number(photo, [says for *_, says in places])
    unplaced = [face for face in photo.given_faces if not face.landmarks]
    only = unplaced[0] if len(unplaced) == 1 else None
    return [
        FacePlace(number=number, landmarks=landmarks, score=score, box=box, is_subject=number == subject,
                  says=says or (only if number == subject else None))
        for number, (landmarks, score, box, says) in enumerate(places)
    ]


def _statement(photo: Photo, landmarks: Points) -> GivenFace | None:
    """What a sidecar says of a detected face: the given face whose points lie nearest, within half an eye distance."""
    best, nearest = None, 0.5 * float(np.linalg.norm(landmarks[1] - landmarks[0]))
    for given in photo.given_faces:
        if given.landmarks:
            apart = float(np.linalg.norm(np.reshape(given.landmarks, (5, 2)) - landmarks, axis=1).mean())
            if apart < nearest:
                best, nearest = given, apart
    return best


def _subject_number(photo: Photo, says: Sequence[GivenFace | None]) -> int | None:
    """Which face the photograph's own label means: the only one that a sidecar places, else the largest detected."""
    placed = [given for given in photo.given_faces if given.landmarks]
    if len(placed) > 1:
        return None
    return next((number for number, given in enumerate(says) if given is not None), 0)


def _box(landmarks: Points) -> tuple[float, ...]:
    """A box around given landmarks, with the usual margins of a detector's box (our choice)."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    width, height = np.maximum(high - low, 1.0)
    return (low[0] - 0.5 * width, low[1] - 0.9 * height, high[0] + 0.5 * width, high[1] + 0.5 * height)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
