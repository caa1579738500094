"""What is known of a true film before any output is looked at: who is in it, and where the face is, frame by frame.

In: a `FilmCase`. Out: numbers of each frame, and no pictures: memory grows by a few kilobytes a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anchorface.evaluation.films.folder import FilmCase, frames
from anchorface.evaluation.judged import embed
from anchorface.evaluation.metrics.landmarks import DETECTOR
from anchorface.evaluation.sources import ALIGNED
from anchorface.faces.detect import Detection, Detector
from anchorface.faces.embed import Embedder
from anchorface.faces.images import read_photo
from anchorface.faces.likeness import judge_crop
from anchorface.records import DataError, Dropped, PhotoError, StorageError, WeightsError
from anchorface.records.film_truth import FilmTruth
from anchorface.restoration import mean_landmarks

NO_FACE = "no face"
BLOCK = 8
"""Crops that the judge sees at once."""


class Eyes:
    """Who looks at frames: the judge, and a detector where there is one.

    landmarks: a detector's weight name, or `aligned`: every frame is cut as FFHQ's pictures are, so its face lies where
    the mean face does, and the usual detector tells whether it is seen. detector: None where it is missing, and
    `absent` says so.
    """

    def __init__(self, judge: Embedder, landmarks: str = DETECTOR) -> None:
        self.judge, self.landmarks, self.absent = judge, landmarks, ""
        self.detector: Detector | None = None
        self.detector_name = DETECTOR if landmarks == ALIGNED else landmarks
        try:
            self.detector = Detector(self.detector_name)
        except WeightsError as error:
            self.absent = str(error).splitlines()[0]

    def points(self, frame: np.ndarray, near: np.ndarray | None) -> np.ndarray:
        """The detector's landmarks [5, 2] of the face that lies where `near` is, or of the largest one; NaN without."""
        faces = self.detector.detect([frame])[0] if self.detector is not None else []
        if near is not None and np.isfinite(near).all():
            reach = 2 * np.linalg.norm(near[0] - near[1])
            faces = [face for face in faces if _apart(face, near) < reach]
            best = min(faces, key=lambda face: _apart(face, near), default=None)
        else:
            best = max(faces, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]), default=None)
        return np.full((5, 2), np.nan) if best is None else np.asarray(best.landmarks, dtype=np.float64)

    def unit(self, frames_of: Sequence[np.ndarray], points: Sequence[np.ndarray]) -> np.ndarray:
        """The judge's unit embeddings [N, D]; NaN where the points are."""
        known = [n for n, place in enumerate(points) if np.isfinite(place).all()]
        units = np.full((len(points), self.judge.dimension), np.nan)
        units[known] = embed(self.judge, [judge_crop(frames_of[n], points[n]) for n in known])
        return units


def _apart(face: Detection, points: np.ndarray) -> float:
    return float(np.linalg.norm(face.landmarks.mean(axis=0) - points.mean(axis=0)))


@dataclass(frozen=True, kw_only=True)
class Known:
    """A true film in numbers.

    shape: (H, W). seconds: [T]. landmarks: [T, 5, 2], by which every output is cut: exact ones, the detector's, or the
    mean face's; detected: the detector's [T, 5, 2]. units: [T, D]. NaN where no face is. references: [R, D]. truth:
    exact flow, or None.
    """

    case: FilmCase
    shape: tuple[int, int]
    seconds: np.ndarray
    landmarks: np.ndarray
    detected: np.ndarray
    units: np.ndarray
    references: np.ndarray
    truth: FilmTruth | None


def look(case: FilmCase, eyes: Eyes) -> tuple[Known, list[Dropped]]:
    """Look at a true film and its references once.

    Returns:
        What is known, and references that cannot be used.

    Raises:
        PhotoError: the film cannot be read, or shows no face. DataError: its truth is another film's.
    """
    truth = FilmTruth.open(case.truth) if case.truth else None
    seconds: list[float] = []
    landmarks: list[np.ndarray] = []
    detected: list[np.ndarray] = []
    units: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    shape = (0, 0)
    last: np.ndarray | None = None
    for number, (second, frame) in enumerate(frames(case.film)):
        shape = frame.shape[:2]
        exact = None
        if truth is not None and number < truth.frames:
            exact = truth.landmarks[number].astype(np.float64)
        elif eyes.landmarks == ALIGNED:
            if shape[0] != shape[1]:
                raise PhotoError("not square", case.film, f"{shape[1]} x {shape[0]} px; aligned faces are square")
            exact = mean_landmarks(shape[0])
        found = eyes.points(frame, exact if exact is not None else last)
        last = found if np.isfinite(found).all() else last
        seconds.append(second)
        detected.append(found)
        landmarks.append(found if exact is None else exact)
        waiting.append(frame)
        if len(waiting) == BLOCK:
            units.append(eyes.unit(waiting, landmarks[-BLOCK:]))
            waiting = []
    if waiting:
        units.append(eyes.unit(waiting, landmarks[-len(waiting):]))
    if truth is not None and (truth.frames, truth.height, truth.width) != (len(seconds), *shape):
        raise DataError(f"{case.truth}: of {truth.frames} frames of {truth.width} x {truth.height} px, but {case.film} "
                        f"has {len(seconds)} of {shape[1]} x {shape[0]}")
    whole = np.concatenate(units)
    if not np.isfinite(whole).any():
        raise PhotoError(NO_FACE, case.film, eyes.absent or f"{eyes.landmarks} finds none in any frame")
    references, dropped = _references(case, eyes)
    return Known(case=case, shape=shape, seconds=np.array(seconds), landmarks=np.stack(landmarks),
                 detected=np.stack(detected), units=whole, references=references, truth=truth), dropped


def _references(case: FilmCase, eyes: Eyes) -> tuple[np.ndarray, list[Dropped]]:
    units, dropped = [np.zeros((0, eyes.judge.dimension))], []
    for number, uri in enumerate(case.references):
        try:
            picture = read_photo(uri)[0]
            aligned = eyes.landmarks == ALIGNED and picture.shape[0] == picture.shape[1]
            points = mean_landmarks(len(picture)) if aligned else eyes.points(picture, None)
            if not np.isfinite(points).all():
                raise PhotoError(NO_FACE, uri, eyes.absent or f"{eyes.landmarks} finds none")
            units.append(eyes.unit([picture], [points]))
        except (PhotoError, StorageError) as error:
            cause = error.cause if isinstance(error, PhotoError) else str(error)
            dropped.append(Dropped(stage="films", uri=uri, row=number, cause=cause))
    return np.concatenate(units), dropped
