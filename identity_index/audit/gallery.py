"""The faces behind the identity sheets, read from the index one identity at a time, so that memory stays flat.

A `Folk` is one identity's faces, the worst fit first. Fit: cosine of a face to the mean of the identity's other faces
(the index's own embeddings; `group` may have used another network).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorface.identity_index.table import IdentityIndex
from anchorface.identity_index.unit import unit

COLUMNS = (
    "face_id", "uri", "number", "subject", "yaw", "pitch", "age", "norm", "taken", "licence", "consent", "embedding",
)
NEAREST = 64


@dataclass(frozen=True, kw_only=True)
class Folk:
    """One identity's faces. rows: by fit, the worst first, each with its `fit` (None for a single face) and without
    its embedding. mean: unit float32 [D]."""

    identity: str
    rows: tuple[Mapping[str, Any], ...]
    mean: NDArray[np.float32]


@dataclass(frozen=True)
class Other:
    """Another identity that comes near one. cosine: of that one's mean to the other's nearest face, None if unknown."""

    identity: str
    cosine: float | None


def folk(index: IdentityIndex, identity: str, first: Sequence[str] = ()) -> Folk:
    """All faces of an identity, those named in `first` before the others.

    Args:
        index: the index.
        identity: its name.
        first: face ids, for example the doubtful ones; those that are not there are passed over.
    """
    table = index.faces(COLUMNS, f"identity = {sql(identity)}").sort_by("face_id")
    if not len(table):
        return Folk(identity=identity, rows=(), mean=np.zeros(index.dimension, np.float32))
    vectors = unit(np.stack(table["embedding"].to_numpy()))
    total = vectors.sum(axis=0)
    fits = np.sum(unit(total - vectors) * vectors, axis=1)
    rows = table.drop_columns("embedding").to_pylist()
    single = len(rows) == 1
    for row, fit in zip(rows, fits.tolist(), strict=True):
        row["fit"] = None if single else fit
    place = {face_id: number for number, face_id in enumerate(first)}
    rows.sort(key=lambda row: (place.get(row["face_id"], len(place)), row["fit"] or 0.0, row["face_id"]))
    return Folk(identity=identity, rows=tuple(rows), mean=unit(total))


def nearest_others(index: IdentityIndex, identities: Sequence[str]) -> dict[str, Other]:
    """For each identity the other one whose nearest face comes closest to its mean; none in an index of one person.

    One pass over the whole table for all of them; those whose NEAREST faces are all their own ask once more.
    """
    means, own = [], []
    for identity in identities:
        found = folk(index, identity)
        means.append(found.mean)
        own.append({row["face_id"] for row in found.rows})
    ids, cosines = index.nearest(np.stack(means), NEAREST)
    answer: dict[str, tuple[str, float]] = {}
    for number, identity in enumerate(identities):
        strangers = ((face, value) for face, value in zip(ids[number], cosines[number], strict=False)
                     if face not in own[number])
        stranger = next(strangers, None) or _stranger(index, identity, means[number])
        if stranger is not None:
            answer[identity] = stranger[0], float(stranger[1])
    wanted = sorted({face for face, _ in answer.values()})
    names = index.faces(["face_id", "identity"], f"face_id IN ({', '.join(map(sql, wanted))})") if wanted else None
    of = dict(zip(names["face_id"].to_pylist(), names["identity"].to_pylist(), strict=True)) if names else {}
    return {identity: Other(of[face], cosine) for identity, (face, cosine) in answer.items()}


def blocks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The items in order, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def sql(text: str) -> str:
    """A string as a condition of the index holds it."""
    return "'" + text.replace("'", "''") + "'"


def _stranger(index: IdentityIndex, identity: str, mean: NDArray[np.float32]) -> tuple[str, float] | None:
    ids, cosines = index.nearest(mean[None], 1, filter=f"identity <> {sql(identity)}")
    return (ids[0][0], float(cosines[0, 0])) if ids[0] else None
