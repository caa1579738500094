"""The pictures that a protocol names, read from the dataset's tars and degraded by the frozen plans.

In: a protocol and its dataset version. Out: `Case` values with uint8 [S, S, 3] RGB pictures, S = protocol.size,
landmarks in those pictures' pixels, raw embeddings (unit x norm) from the face table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from anchorface.degradation import Plan, apply
from anchorface.evaluation.protocol import Protocol, ProtocolRow
from anchorface.faces.align import apply_matrix, warp
from anchorface.faces.images import decode_jpeg
from anchorface.records import DataError
from anchorface.records.dataset import DatasetVersion


@dataclass(frozen=True, kw_only=True)
class FacePicture:
    """One aligned face: image uint8 [S, S, 3], landmarks [5, 2] in it, the face table's raw embedding [D]."""

    face_id: str
    image: np.ndarray
    landmarks: np.ndarray
    raw_embedding: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Case:
    """One protocol row. Its pictures are read when they are first asked for, and live as long as the case does.

    size: px of the pictures.
    """

    row: ProtocolRow
    dataset: DatasetVersion = field(repr=False)
    size: int

    @cached_property
    def target(self) -> FacePicture:
        """The clean face."""
        return face_picture(self.dataset, self.row.target, self.size)

    @cached_property
    def degraded(self) -> np.ndarray:
        """uint8 [S, S, 3]: the target made worse by the row's plan."""
        return apply(self.target.image, Plan.from_json(self.row.plan))

    def references(self, count: int | None = None) -> tuple[FacePicture, ...]:
        """The row's first `count` references, all by default; read at every call."""
        return tuple(face_picture(self.dataset, face_id, self.size) for face_id in self.row.references[:count])


def cases(dataset: DatasetVersion, protocol: Protocol, start: int = 0, stop: int | None = None) -> Iterator[Case]:
    """The cases of the protocol's rows [start, stop), one after the other; who keeps none keeps no pictures.

    Raises:
        DataError: the dataset is another version than the protocol's; and, as pictures are read, it lacks a face.
    """
    if dataset.manifest.manifest_id != protocol.manifest_id:
        raise DataError(f"{dataset.uri}: dataset version {dataset.manifest.manifest_id}, but the protocol was frozen "
                        f"on {protocol.manifest_id}; give that version or freeze another protocol")
    for row in protocol.rows[start:stop]:
        yield Case(row=row, dataset=dataset, size=protocol.size)


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
