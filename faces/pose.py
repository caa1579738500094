"""Yaw, pitch and roll of a face from its five landmarks, by perspective-n-point against one generic head.

In: landmarks [5, 2] in picture pixels. Out: degrees; yaw > 0: the nose points to the right of the picture,
pitch > 0: looks up, roll > 0: turned clockwise as seen. Pitch acts first, then yaw, then roll.

The generic head stands in millimetres, x to the right and y down as in the picture, z away from the viewer, the tip of
the nose at the origin. Eye and mouth distances are adult means; the two depths are our choice, fitted so that yaw has
the scale of a pose network on photographs. Five points tell yaw and roll well and pitch coarsely: a long nose or
an open mouth reads as pitch.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike

from anchorface.records.errors import DataError

GENERIC_HEAD: tuple[tuple[float, float, float], ...] = (
    (-31.5, -34.0, 42.0), (31.5, -34.0, 42.0), (0.0, 0.0, 0.0), (-25.0, 33.0, 26.0), (25.0, 33.0, 26.0),
)
"""Left eye, right eye, nose tip, mouth left, mouth right, in millimetres."""

DISTANCE = 1000.0
"""How far the camera is thought to stand, in millimetres (our choice): a portrait's distance."""

SHORTEST_FOCAL = 0.6
"""Focal length in picture sides below which no ordinary lens lies; small faces in large pictures are farther away."""


def pose_from_landmarks(landmarks: ArrayLike, width: int, height: int) -> tuple[float, float, float]:
    """The head's pose relative to the line of sight to it, so that a crop has the pose of its photograph.

    Args:
        landmarks: [5, 2] or ten numbers, pixels.
        width, height: the picture's sides in pixels; they bound the focal length from below.

    Returns:
        yaw, pitch, roll in degrees.

    Raises:
        DataError: points that are not finite or coincide.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.size != 10 or not np.isfinite(points).all() or np.ptp(points.reshape(5, 2), axis=0).max() < 1e-3:
        raise DataError(f"landmarks must be five finite points that span a face, got {points.tolist()}")
    points = points.reshape(5, 2)
    head = np.asarray(GENERIC_HEAD)
    scale = np.linalg.norm(points - points.mean(axis=0)) / np.linalg.norm(head[:, :2] - head[:, :2].mean(axis=0))
    focal = max(scale * DISTANCE, SHORTEST_FOCAL * max(width, height))
    centre = points.mean(axis=0)
    camera = np.array([[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]])
    _, turn, place = cv2.solvePnP(head, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    turn, _ = cv2.solvePnPRefineLM(head, points, camera, None, turn, place)
    rotation = cv2.Rodrigues(turn)[0]
    return _angles(rotation)


def _angles(rotation: np.ndarray) -> tuple[float, float, float]:
    """The angles of roll @ yaw @ pitch: with the roll outermost, turning a picture upright changes no other angle."""
    yaw = np.arcsin(np.clip(rotation[2, 0], -1.0, 1.0))
    pitch = np.arctan2(-rotation[2, 1], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))
