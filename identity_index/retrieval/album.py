"""Faces as columns, so that one face is compared with all others of its person at once.

In: rows (dictionaries), NumPy columns, or an Arrow table with (some of) the keys of records.Face. Out: an `Album` of N
faces; what a face does not say is NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Row = Mapping[str, Any]

MEASURES = ("yaw", "pitch", "brightness", "smile", "light_x", "light_y", "age", "day", "norm", "sharpness", "score")
DAYS_A_YEAR = 365.25


@dataclass(frozen=True, kw_only=True)
class Album:
    """N faces, in any order.

    face_id, photo_id: str [N]. place: str [N], the uri without a clip's time, empty where unknown. second: float64 [N],
    the time in the clip, NaN for a photograph. measures: float64 [11, N] in the order of MEASURES, `day` counting days.
    hashes: uint64 [N]; hashed: bool [N]. embeddings: N unit vectors; looked at only where hashes are near.
    """

    face_id: NDArray[np.str_]
    photo_id: NDArray[np.str_]
    place: NDArray[np.str_]
    second: NDArray[np.float64]
    measures: NDArray[np.float64]
    hashes: NDArray[np.uint64]
    hashed: NDArray[np.bool_]
    embeddings: Sequence[Any] | NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.face_id)

    @classmethod
    def of_rows(cls, rows: Sequence[Row]) -> Self:
        """From dictionaries; keys that are absent are unknown."""
        place, second = _places([row.get("uri") for row in rows])
        hashes = [row.get("perceptual_hash") for row in rows]
        return cls(
            face_id=np.array([row["face_id"] for row in rows], np.str_),
            photo_id=np.array([row["photo_id"] for row in rows], np.str_), place=place, second=second,
            measures=np.array([_day(rows) if name == "day" else _known(rows, name) for name in MEASURES], np.float64),
            hashes=np.array([value or 0 for value in hashes], np.uint64),
            hashed=np.array([value is not None for value in hashes], np.bool_),
            embeddings=[row.get("embedding") for row in rows],
        )

    @classmethod
    def of_columns(cls, columns: Mapping[str, NDArray[Any]], rows: slice | NDArray[np.int64]) -> Self:
        """From NumPy columns with all of REFERENCE_KEYS (as pipelines.feed.dataset holds them), some rows of them."""
        def measure(name: str) -> NDArray[np.float64]:
            if name != "day":
                return columns[name][rows].astype(np.float64)
            days = columns["taken"][rows]
            return np.where(np.isnat(days), np.nan, days.astype(np.int64))

        return cls._of(columns["uri"][rows].tolist(), columns["face_id"][rows], columns["photo_id"][rows], measure,
                       columns["perceptual_hash"][rows], columns["embedding"][rows])

    @classmethod
    def of_table(cls, table: pa.Table) -> Self:
        """From an Arrow table such as the face index's or a dataset version's; columns that are absent are unknown."""
        def measure(name: str) -> NDArray[np.float64]:
            if (name if name != "day" else "taken") not in table.column_names:
                return np.full(len(table), np.nan)
            if name != "day":
                return table[name].to_numpy().astype(np.float64)
            days = table["taken"].to_numpy().astype("datetime64[D]")
            return np.where(np.isnat(days), np.nan, days.astype(np.int64))

        embedding = table["embedding"].combine_chunks()
        return cls._of(
            table["uri"].to_pylist(), np.array(table["face_id"].to_pylist(), np.str_),
            np.array(table["photo_id"].to_pylist(), np.str_), measure, table["perceptual_hash"].to_numpy(),
            embedding.flatten().to_numpy().reshape(len(table), -1))

    @classmethod
    def _of(cls, uris: Sequence[str | None], face_id: NDArray[np.str_], photo_id: NDArray[np.str_],
            measure: Callable[[str], NDArray[np.float64]], hashes: NDArray[Any], embeddings: NDArray[Any]) -> Self:
        place, second = _places(uris)
        return cls(face_id=face_id, photo_id=photo_id, place=place, second=second,
                   measures=np.array([measure(name) for name in MEASURES]), hashes=hashes.astype(np.uint64),
                   hashed=np.ones(len(face_id), np.bool_), embeddings=embeddings)

    def take(self, rows: NDArray[np.int64]) -> "Album":
        """Some of the faces."""
        return Album(
            face_id=self.face_id[rows], photo_id=self.photo_id[rows], place=self.place[rows], second=self.second[rows],
            measures=self.measures[:, rows], hashes=self.hashes[rows], hashed=self.hashed[rows],
            embeddings=np.asarray(self.embeddings)[rows])

    def measure(self, name: str) -> NDArray[np.float64]:
        """One of MEASURES, float64 [N]."""
        values: NDArray[np.float64] = self.measures[MEASURES.index(name)]
        return values

    def embedding(self, number: int) -> NDArray[np.float32]:
        """A face's unit vector."""
        return np.asarray(self.embeddings[number], np.float32)

    def gaps(self, targets: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """How far all faces are from T of them.

        Returns:
            Sizes of the gaps on the axes of the policy but the last, float64 [6, T, N], NaN where a face does not say;
            and where the third is the time between dates because an age is unknown, bool [T, N].
        """
        apart = np.abs(self.measures[:8, None] - self.measures[:8, targets, None])
        yaw, pitch, brightness, smile, light_x, light_y, age, days = apart
        timed = np.isnan(age)
        return np.array([yaw, pitch, np.where(timed, days / DAYS_A_YEAR, age), brightness, np.hypot(light_x, light_y),
                         smile]), timed


def _known(rows: Sequence[Row], name: str) -> list[float]:
    return [np.nan if (value := row.get(name)) is None else value for row in rows]


def _day(rows: Sequence[Row]) -> list[float]:
    return [np.nan if (value := row.get("taken")) is None else value.toordinal() for row in rows]


def _places(uris: Sequence[str | None]) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Each uri without a clip's time, and that time; a `#t=` that is no number belongs to the name."""
    places, seconds = [], []
    for uri in uris:
        place, second = uri or "", np.nan
        if "#t=" in place:
            path, _, time = place.rpartition("#t=")
            with suppress(ValueError):
                place, second = path, float(time)
        places.append(place)
        seconds.append(second)
    return np.array(places, np.str_), np.array(seconds, np.float64)
