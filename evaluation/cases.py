"""The pictures that a protocol names, read from the dataset's tars and degraded by the frozen plans.

In: a protocol and its dataset version. Out: `Case` values with uint8 [S, S, 3] RGB pictures, S = protocol.size,
landmarks in those pictures' pixels, raw embeddings (unit x norm) from the face table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorface.degradation import Plan, apply
from anchorface.evaluation.protocol import Protocol, ProtocolRow
from anchorface.faces.align import apply_matrix, arcface_matrix, warp
from anchorface.faces.images import decode_jpeg
from anchorface.records import DataError
from anchorface.records.dataset import DatasetVersion

JUDGE_SIZE = 112


@dataclass(frozen=True, kw_only=True)
class FacePicture:
    """One aligned face: image uint8 [S, S, 3], landmarks [5, 2] in it, the face table's raw embedding [D]."""

    face_id: str
    image: np.ndarray
    landmarks: np.ndarray
    raw_embedding: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Case:
    """One protocol row with its pictures. degraded: uint8 [S, S, 3]."""

    row: ProtocolRow
    target: FacePicture
    degraded: np.ndarray
    references: tuple[FacePicture, ...]


def cases(dataset: DatasetVersion, protocol: Protocol) -> Iterator[Case]:
    """Read and degrade, row after row.

    Raises:
        DataError: the dataset is another version than the protocol's, or lacks a face.
    """
    if dataset.manifest.manifest_id != protocol.manifest_id:
        raise DataError(f"{dataset.uri}: dataset version {dataset.manifest.manifest_id}, but the protocol was frozen "
                        f"on {protocol.manifest_id}; give that version or freeze another protocol")
    for row in protocol.rows:
        target = face_picture(dataset, row.target, protocol.size)
        yield Case(row=row, target=target, degraded=apply(target.image, Plan.from_json(row.plan)),
                   references=tuple(face_picture(dataset, face_id, protocol.size) for face_id in row.references))


def face_picture(dataset: DatasetVersion, face_id: str, size: int) -> FacePicture:
    """One face of the dataset at `size` pixels."""
    row: dict[str, Any] = dataset.row(face_id)
    crop = decode_jpeg(dataset.crop_bytes(row))
    scale = size / crop.shape[0]
    matrix = np.array([[scale, 0.0, 0.5 * scale - 0.5], [0.0, scale, 0.5 * scale - 0.5]])
    landmarks = np.asarray(row["crop_landmarks"], dtype=np.float64).reshape(5, 2)
    return FacePicture(face_id=face_id, image=crop if scale == 1 else warp(crop, matrix, size),
                       landmarks=apply_matrix(matrix, landmarks),
                       raw_embedding=np.asarray(row["embedding"], dtype=np.float32) * np.float32(row["norm"]))


def judge_crop(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The 112 px crop that the judge sees; outputs are cut with the clean target's landmarks in every condition."""
    return warp(image, arcface_matrix(landmarks, JUDGE_SIZE), JUDGE_SIZE)
