"""Faces drawn so that their cosines are those of real photographs.

    python benchmarks/embeddings.py [--photos ../shared/data/photos]      measured and drawn quantiles, side by side

A face is its person's direction and its own, both from one anisotropic Gaussian (a power law whose effective dimension
gives strangers' cosines their spread) around a common mean, mixed by a share that varies by person and by face:

    e = Norm(mean + a c + sqrt(1 - a^2) r),   a = tanh(LEVEL + PERSONS z_person + FACES z_face)

The numbers were fitted to `people` and `congress` (years apart, no studio series) with mobilefacenet_y1_ms1m_112.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anchorface.records import rng

EFFECTIVE, LEVEL, PERSONS, FACES, COMMON = 94.0, 1.35, 0.1, 0.25, 0.018
EACH = 10
PERCENTILES = (0.1, 1, 5, 25, 50, 75, 95, 99, 99.9)
PIECE = 2000
"""Persons that are drawn at once."""


def spectrum(dimension: int) -> NDArray[np.float32]:
    """Standard deviations of a power law whose effective dimension is EFFECTIVE, [D]."""
    low, high = 0.0, 4.0
    for _ in range(60):
        power = (low + high) / 2
        variances = np.arange(1, dimension + 1.0) ** -power
        variances /= variances.sum()
        low, high = (power, high) if 1 / np.sum(variances**2) > EFFECTIVE else (low, power)
    return np.sqrt(variances).astype(np.float32)


def persons(first: int, count: int, each: int = EACH, *, dimension: int = 512, again: int = 0) -> NDArray[np.float32]:
    """Faces of persons number first to first + count: unit [count * each, D].

    again: another number, other faces of the same persons.
    """
    parts = []
    for start in range(first, first + count, PIECE):
        number = min(PIECE, first + count - start)
        assert start % PIECE == 0, "persons are drawn in whole pieces"
        deviations = spectrum(dimension)
        who, what = rng(0, "person", start), rng(again, "face", start)
        centres = _directions(who, number, deviations)
        level = LEVEL + PERSONS * who.standard_normal((number, 1))
        share = np.tanh(level + FACES * what.standard_normal((number, each))).astype(np.float32).reshape(-1, 1)
        faces = np.sqrt(1 - share**2) * _directions(what, number * each, deviations)
        faces += share * np.repeat(centres, each, axis=0)
        faces[:, -1] += np.float32(np.sqrt(COMMON))
        parts.append(faces / np.linalg.norm(faces, axis=1, keepdims=True))
    return np.concatenate(parts)


def pieces(rows: int, each: int = EACH) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """All faces of rows / each persons, a piece at a time with the first person's number."""
    for start in range(0, rows // each, PIECE):
        yield start, persons(start, min(PIECE, rows // each - start), each)


def quantiles(embeddings: NDArray[np.float32], who: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Percentiles of the cosines of the same person and of others."""
    cosines = embeddings @ embeddings.T
    one, two = np.triu_indices(len(who), 1)
    same = who[one] == who[two]
    return np.percentile(cosines[one, two][same], PERCENTILES), np.percentile(cosines[one, two][~same], PERCENTILES)


def _directions(draws: np.random.Generator, count: int, deviations: NDArray[np.float32]) -> NDArray[np.float32]:
    found = draws.standard_normal((count, len(deviations)), np.float32) * deviations
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data/photos")
    options = parser.parse_args()
    rows = []
    if options.photos.exists():
        from anchorface.faces.embed import embedder
        from tests.identity_index import album_search

        faces = [*album_search.portraits(options.photos, "people"),
                 *album_search.portraits(options.photos, "congress")]
        names = np.unique([face.person for face in faces], return_inverse=True)[1]
        measured = album_search.embed(embedder("mobilefacenet_y1_ms1m_112"), faces)
        rows.append(("photographs", *quantiles(measured, names)))
    rows.append(("drawn", *quantiles(persons(0, 300), np.arange(3000) // EACH)))
    for place, kind in ((1, "same person"), (2, "strangers")):
        print(f"{kind:<14}{'percentile':>12}" + "".join(f"{p:>8}" for p in PERCENTILES))
        for row in rows:
            print(f"{row[0]:>26}" + "".join(f"{value:>8.3f}" for value in row[place]))


if __name__ == "__main__":
    main()
