"""The real photographs that carried networks may learn from, and the persons kept away from all of them.

In: `../shared/data/photos/london` (CC BY 4.0) and `photos/congress` (public domain), each with `index.csv`.
Out: `Faces`: images uint8 [N, 176, 176, 3] RGB, an FFHQ-aligned square 1.1 times as wide as the FFHQ crop, so that
a 128 px crop can still be turned and shifted; landmarks float32 [N, 5, 2] in it; a person and a role per row.
"""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anchorface.faces.align import apply_matrix, compose, ffhq_matrix, warp
from anchorface.faces.images import read_photo
from anchorface.records import DataError

SIDE = 176
MARGIN = 1.1
HELD_OUT_SHARE = 4
"""One person in this many is held out."""

SOURCES: dict[str, tuple[str, str]] = {"london": ("neutral", "smiling"), "congress": ("early", "late")}
"""Folder -> the two roles that every person has."""


@dataclass(frozen=True)
class Faces:
    """Aligned faces of many persons: see the module's first lines. `person` are names, unique over all sources."""

    images: np.ndarray
    landmarks: np.ndarray
    person: np.ndarray
    role: np.ndarray

    def __len__(self) -> int:
        return len(self.person)

    def select(self, rows: np.ndarray) -> "Faces":
        """The rows of a boolean mask or of row numbers."""
        return Faces(self.images[rows], self.landmarks[rows], self.person[rows], self.role[rows])


def concatenate(parts: list[Faces]) -> Faces:
    """All rows of several `Faces`, in order."""
    return Faces(*(np.concatenate([getattr(part, name) for part in parts])
                   for name in ("images", "landmarks", "person", "role")))  # fmt: skip


def held_out(person: str) -> bool:
    """Whether a person is kept away from every carried network's training: SHA-256 of the label, modulo 4, is 0."""
    return int.from_bytes(hashlib.sha256(person.encode()).digest()[-8:], "big") % HELD_OUT_SHARE == 0


def wide_crop(photo: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stored square of one face.

    Args:
        photo: uint8 [H, W, 3] RGB. landmarks: [5, 2] photo pixels.

    Returns:
        uint8 [176, 176, 3]; the landmarks in it, float32 [5, 2].
    """
    inner = SIDE / MARGIN
    border = (SIDE - inner) / 2
    matrix = compose([[1.0, 0.0, border], [0.0, 1.0, border]], ffhq_matrix(landmarks, 160))
    return warp(photo, matrix, SIDE), apply_matrix(matrix, landmarks).astype(np.float32)


def read_people(photos: Path, sources: tuple[str, ...] = tuple(SOURCES)) -> Faces:
    """Read and align the real photographs.

    Args:
        photos: the folder that holds `london` and `congress`.
        sources: which of the two.

    Raises:
        DataError: the folder or an index is missing.
    """
    images, landmarks, persons, roles = [], [], [], []
    for source in sources:
        index = photos / source / "index.csv"
        if not index.is_file():
            raise DataError(f"{index}: not there; the carried networks need the photographs of ../shared/data")
        with index.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                photo, _ = read_photo(str(photos / source / row["file"]))
                points = np.array(row["points"].split(), dtype=np.float64).reshape(5, 2)
                image, inside = wide_crop(photo, points)
                images.append(image)
                landmarks.append(inside)
                persons.append(row["person"])
                roles.append(row["role"])
    return Faces(np.stack(images), np.stack(landmarks), np.array(persons), np.array(roles))


def split(faces: Faces) -> tuple[Faces, Faces]:
    """(training rows, held-out rows) by `held_out`."""
    kept = np.array([held_out(person) for person in faces.person])
    return faces.select(~kept), faces.select(kept)
