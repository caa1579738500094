"""Where a face's five points lie, against the truth's: how far a restoration moved eyes, nose and mouth.

In: uint8 [N, S, S, 3] pictures and truths. Out: float64 [N], per cent of the distance between the truth's eyes; NaN
where no face is found. Both are found by the same detector, so its own habits cancel (our choice; published landmark
distances take 68 points in pixels: another number).
"""

from collections.abc import Callable

import numpy as np

from anchorface.faces.detect import Detector

DETECTOR = "scrfd_2.5g_kps"


def landmark_distance(detector: Detector) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Mean distance of the five points, by a detector."""

    def values(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.array([_distance(one, other) for one, other in
                         zip(found(detector, images), found(detector, targets), strict=True)], dtype=np.float64)

    return values


def found(detector: Detector, images: np.ndarray) -> list[np.ndarray | None]:
    """The landmarks [5, 2] of each aligned picture's face, the one nearest to its middle; None where there is none."""
    return [min((face.landmarks for face in faces), default=None,
                key=lambda points: float(np.linalg.norm(points.mean(axis=0) - image.shape[0] / 2)))
            for image, faces in zip(images, detector.detect(list(images)), strict=True)]


def _distance(points: np.ndarray | None, truth: np.ndarray | None) -> float:
    if points is None or truth is None:
        return float("nan")
    return float(100 * np.linalg.norm(points - truth, axis=1).mean() / np.linalg.norm(truth[0] - truth[1]))
