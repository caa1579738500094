"""Where each person's faces stand in the face table, held in memory: two look-ups without a query.

About 60 bytes a face. Read in a pass over two columns, some seconds at a million faces.
"""

from typing import Self

import lance
import numpy as np
from numpy.typing import NDArray


class Directory:
    """Row numbers by face id, and by person."""

    def __init__(self, face_ids: NDArray[np.bytes_], people: NDArray[np.bytes_]) -> None:
        """face_ids, people: [N], by row."""
        self._by_face = np.argsort(face_ids, kind="stable")
        self._face_ids = face_ids[self._by_face]
        self._person = np.unique(people, return_inverse=True)[1]
        self._by_person = np.argsort(self._person, kind="stable")
        self._people = self._person[self._by_person]

    @classmethod
    def of(cls, dataset: lance.LanceDataset) -> Self:
        """The directory of a face table as it is now."""
        names: dict[str, list[bytes]] = {"face_id": [], "identity": []}
        for batch in dataset.to_batches(columns=list(names)):
            for column, values in names.items():
                values += batch[column].cast("binary").to_pylist()
        return cls(np.array(names["face_id"], np.bytes_), np.array(names["identity"], np.bytes_))

    def person(self, face_id: str) -> tuple[NDArray[np.int64], int] | None:
        """The rows of all faces of a face's person, and which of them is the face; None for an unknown face."""
        wanted = face_id.encode()
        place = int(np.searchsorted(self._face_ids, wanted))
        if place == len(self._face_ids) or self._face_ids[place] != wanted:
            return None
        row = self._by_face[place]
        number = self._person[row]
        first, last = np.searchsorted(self._people, [number, number + 1])
        rows = self._by_person[first:last]
        return rows, int(np.searchsorted(rows, row))
