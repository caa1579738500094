"""Where the pictures of a protocol stand: a dataset version, or a folder of aligned faces as test sets are published.

In: a face id (of the dataset's table, or a file's path inside the folder) and a size. Out: `FacePicture` values with
uint8 [S, S, 3] RGB pictures and landmarks in their pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from anchorface.evaluation.metrics.landmarks import found
from anchorface.faces.align import apply_matrix, warp
from anchorface.faces.detect import Detector
from anchorface.faces.images import decode_jpeg, read_photo
from anchorface.faces.pose import pose_from_landmarks
from anchorface.records import PhotoError, storage
from anchorface.records.dataset import DatasetVersion
from anchorface.records.state import inside
from anchorface.restoration import mean_landmarks

ALIGNED = "aligned"
"""Landmarks that are not looked for: every picture is cut as FFHQ's are, so its face lies where the mean face does."""


@dataclass(frozen=True, kw_only=True)
class FacePicture:
    """One aligned face: image uint8 [S, S, 3], landmarks [5, 2] in it, and the face table's raw embedding [D], if the
    face stands in one.
    """

    face_id: str
    image: np.ndarray
    landmarks: np.ndarray
    raw_embedding: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class FaceFolder:
    """Aligned faces in files. landmarks: a detector's weight name, or `aligned`."""

    uri: str
    landmarks: str
    _found: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def picture(self, path: str, size: int) -> np.ndarray:
        """A file's picture at `size` px.

        Raises:
            PhotoError: unreadable, or not square.
        """
        uri = storage.join(self.uri, inside(path))
        image = read_photo(uri)[0]
        if image.shape[0] != image.shape[1]:
            raise PhotoError("not square", uri, f"{image.shape[1]} x {image.shape[0]} px; aligned faces are square")
        return resized(image, size)[0]

    def face(self, path: str, size: int) -> FacePicture:
        """A file's face at `size` px.

        Raises:
            PhotoError: unreadable, not square, or `no face`.
        """
        image = self.picture(path, size)
        if path not in self._found:
            self._found[path] = self._points(path, image) / size
        return FacePicture(face_id=path, image=image, landmarks=self._found[path] * size, raw_embedding=None)

    def row(self, path: str) -> dict[str, Any]:
        """What a face table would say of a face that was looked at: its pose, in degrees."""
        yaw, pitch, roll = pose_from_landmarks(self._found[path] * 512, 512, 512)
        return {"yaw": yaw, "pitch": pitch, "roll": roll, "age": None}

    def _points(self, path: str, image: np.ndarray) -> np.ndarray:
        if self.landmarks == ALIGNED:
            return mean_landmarks(len(image))
        (points,) = found(self._detector, image[None])
        if points is None:
            raise PhotoError("no face", storage.join(self.uri, path), f"{self.landmarks} finds none")
        return points

    @cached_property
    def _detector(self) -> Detector:
        return Detector(self.landmarks)


Source = DatasetVersion | FaceFolder


def face_picture(source: Source, face_id: str, size: int) -> FacePicture:
    """One face of a source at `size` pixels."""
    if isinstance(source, FaceFolder):
        return source.face(face_id, size)
    row: dict[str, Any] = source.row(face_id)
    image, matrix = resized(decode_jpeg(source.crop_bytes(row)), size)
    landmarks = np.asarray(row["crop_landmarks"], dtype=np.float64).reshape(5, 2)
    return FacePicture(face_id=face_id, image=image, landmarks=apply_matrix(matrix, landmarks),
                       raw_embedding=np.asarray(row["embedding"], dtype=np.float32) * np.float32(row["norm"]))


def resized(image: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A square picture at `size` px, and the matrix [2, 3] from its pixels to those."""
    scale = size / image.shape[0]
    matrix = np.array([[scale, 0.0, 0.5 * scale - 0.5], [0.0, scale, 0.5 * scale - 0.5]])
    return (image if scale == 1 else warp(image, matrix, size)), matrix


def open_source(uri: str, policy: Mapping[str, Any]) -> Source:
    """The source of a protocol whose pictures are to be shown; in a folder no faces are looked for.

    Args:
        policy: the protocol's.
    """
    return FaceFolder(uri=uri, landmarks=ALIGNED) if "layout" in policy else DatasetVersion.open(uri)
