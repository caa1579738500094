"""The pictures that a protocol names, read from their source and degraded by the frozen plans, or as published.

In: a protocol and the dataset version or folder it was frozen on. Out: `Case` values with uint8 [S, S, 3] RGB pictures,
S = protocol.size, landmarks in those pictures' pixels, raw embeddings (unit x norm) from the face table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from anchorface.degradation import Plan, apply
from anchorface.evaluation.protocol import Protocol, ProtocolRow
from anchorface.evaluation.sources import FaceFolder, FacePicture, Source, face_picture
from anchorface.records import DataError


@dataclass(frozen=True, kw_only=True)
class Case:
    """One protocol row. Its pictures are read when they are first asked for, and live as long as the case does.

    size: px of the pictures.
    """

    row: ProtocolRow
    source: Source = field(repr=False)
    size: int

    @cached_property
    def target(self) -> FacePicture:
        """The clean face."""
        return face_picture(self.source, self.row.target, self.size)

    @cached_property
    def degraded(self) -> np.ndarray:
        """uint8 [S, S, 3]: the target made worse by the row's plan, or the published file."""
        if self.row.degraded and isinstance(self.source, FaceFolder):
            return self.source.picture(self.row.degraded, self.size)
        return apply(self.target.image, Plan.from_json(self.row.plan))

    def references(self, count: int | None = None) -> tuple[FacePicture, ...]:
        """The row's first `count` references, all by default; read at every call."""
        return tuple(face_picture(self.source, face_id, self.size) for face_id in self.row.references[:count])


def cases(source: Source, protocol: Protocol, start: int = 0, stop: int | None = None) -> Iterator[Case]:
    """The cases of the protocol's rows [start, stop), one after the other; who keeps none keeps no pictures.

    Raises:
        DataError: the dataset is another version than the protocol's; and, as pictures are read, it lacks a face.
    """
    if not isinstance(source, FaceFolder) and source.manifest.manifest_id != protocol.manifest_id:
        raise DataError(f"{source.uri}: dataset version {source.manifest.manifest_id}, but the protocol was frozen "
                        f"on {protocol.manifest_id}; give that version or freeze another protocol")
    for row in protocol.rows[start:stop]:
        yield Case(row=row, source=source, size=protocol.size)
