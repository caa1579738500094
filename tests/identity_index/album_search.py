"""Real photographs searched for in an album of others: what the tests of recognition and its benchmark share."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anchorface.degradation import apply, draw
from anchorface.faces.align import apply_matrix, arcface_matrix, ffhq_matrix, warp
from anchorface.faces.embed import Embedder
from anchorface.faces.images import read_photo
from anchorface.identity_index import INDEX_SCHEMA, IdentityIndex
from anchorface.identity_index.recognition import Probes, calibrate_recognition, recognise
from anchorface.records import rng

CROP = 256


@dataclass(frozen=True)
class Portrait:
    """One photograph's face: person, aligned crop uint8 [256, 256, 3], its five landmarks [5, 2]."""

    person: str
    crop: NDArray[np.uint8]
    landmarks: NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """One entry per probe. probability: said of the likeliest person. right: whether it was the right one. rate: the
    false match rate said. here: whether the person is in the index at all."""

    probability: NDArray[np.float64]
    right: NDArray[np.bool_]
    rate: NDArray[np.float64]
    here: NDArray[np.bool_]


def portraits(photos: Path, folder: str, persons: int = 1000) -> Iterator[Portrait]:
    """The clean photographs of the first persons of a shared folder."""
    seen: set[str] = set()
    with open(photos / folder / "index.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            person = f"{folder} {row['person']}"
            if row["role"] == "degraded" or (person not in seen and len(seen) == persons):
                continue
            seen.add(person)
            points = np.array(row["points"].split(), dtype=float).reshape(5, 2)
            matrix = ffhq_matrix(points, CROP)
            pixels = read_photo(str(photos / folder / row["file"]))[0]
            yield Portrait(person, warp(pixels, matrix, CROP), apply_matrix(matrix, points))


def degraded(faces: list[Portrait], profile: str) -> list[Portrait]:
    """The same faces made worse."""
    return [Portrait(face.person, apply(face.crop, draw(profile, rng(0, "album search", number), CROP)), face.landmarks)
            for number, face in enumerate(faces)]


def embed(network: Embedder, faces: list[Portrait]) -> NDArray[np.float32]:
    """Unit embeddings [N, D]."""
    return network.embed(np.stack([warp(f.crop, arcface_matrix(f.landmarks), 112) for f in faces]))[0]


def index_of(uri: str, embeddings: NDArray[np.float32], persons: list[str], **columns: pa.Array) -> IdentityIndex:
    """An index of faces 0, 1, ... of these persons."""
    count = len(persons)
    names = [f"{n:024x}" for n in range(count)]
    given = {"face_id": pa.array([f"{name}-0" for name in names]), "photo_id": pa.array(names),
             "uri": pa.array([f"{name}.jpg" for name in names]), "identity": pa.array(persons),
             "embedding": pa.array(embeddings.tolist(), pa.list_(pa.float32())), **columns}
    return IdentityIndex.create(uri, pa.table(
        [given.get(field.name, pa.nulls(count, field.type)) for field in INDEX_SCHEMA], schema=INDEX_SCHEMA))


def search(folder: Path, persons: NDArray[np.str_], clean: NDArray[np.float32], probes: NDArray[np.float32], seed: int,
           *, adapted: bool = False) -> Answers:
    """Half of the persons are in the index, all but one photograph of each; that one is looked for, and one of each
    other person.

    Args:
        folder: for the index.
        persons: [N]. clean: what the index holds of them, [N, D]. probes: what is looked for, [N, D].
        seed: who is in the index, and which photograph is left out.
        adapted: calibrate with the probes of the index's own faces, so that scores of worse photographs are known.
    """
    draws = rng(seed, "album search")
    everybody = np.unique(persons)
    known = set(draws.permutation(everybody)[: len(everybody) // 2].tolist())
    held, kept = [], []
    for person in everybody.tolist():
        rows = draws.permutation(np.flatnonzero(persons == person))
        held.append(int(rows[0]))
        if person in known:
            kept += rows[1:].tolist()
    index = index_of(str(folder / f"index-{seed}"), clean[kept], persons[kept].tolist())
    own = Probes(embeddings=probes[kept], face_ids=tuple(f"{n:024x}-0" for n in range(len(kept)))) if adapted else None
    calibration = calibrate_recognition(index, probes=own)
    best = [recognise(index, probes[row], calibration=calibration)[0] for row in held]
    return Answers(
        np.array([one.probability for one in best]),
        np.array([one.identity == persons[row] for one, row in zip(best, held, strict=True)]),
        np.array([one.false_match_rate for one in best]), np.array([persons[row] in known for row in held]))


def joined(answers: list[Answers]) -> Answers:
    return Answers(*(np.concatenate([getattr(one, name) for one in answers])
                     for name in ("probability", "right", "rate", "here")))


def reliability(answers: Answers, bins: int = 5) -> list[tuple[int, float, float]]:
    """For each bin of said probabilities that is not empty: how many, the mean said, the share that was right."""
    number = np.minimum((answers.probability * bins).astype(int), bins - 1)
    return [(int((number == n).sum()), float(answers.probability[number == n].mean()),
             float(answers.right[number == n].mean())) for n in range(bins) if (number == n).any()]


def calibration_error(answers: Answers, bins: int = 10) -> float:
    """Expected calibration error: the mean of |said - true| over probes, by bins of what was said."""
    rows = reliability(answers, bins)
    return sum(count * abs(said - true) for count, said, true in rows) / sum(count for count, _, _ in rows)
