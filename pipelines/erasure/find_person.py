"""The person in a photograph, looked for in a workspace.

In: a photograph of the person (not necessarily one of the workspace). Out: the identities that look like that person,
with the cosine, and how often a stranger of this workspace looks as much like somebody; where nothing is grouped yet,
the faces that do.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.detect import Detector
from anchorface.faces.images import read_photo
from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.tombstones import limit_cosine
from anchorface.pipelines.erasure.rows import embeddings, face_rows, identity_rows
from anchorface.pipelines.stages import stage
from anchorface.records.errors import DataError
from anchorface.records.storage import exists, join

STRANGERS = 512


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A person who looks like the one in the photograph.

    identity: empty for faces that belong to none. cosine: of the nearest face. near: ids of the faces at or above the
    threshold, of `faces`. false_match_rate: share of this workspace's faces that look this much like somebody else's
    face, by their given or found identities.
    """

    identity: str
    subject: str | None
    faces: int
    near: tuple[str, ...]
    cosine: float
    false_match_rate: float


def shown_in(out: str, photo: str, *, threshold: float | None = None, detector: str | None = None) -> list[Shown]:
    """Who of the workspace is in a photograph: its largest face, by the embedder that its faces were found with.

    Args:
        out: a workspace with faces, grouped or not.
        photo: a file or uri.
        threshold: smallest cosine; the tombstones' own (`limit_cosine`) if None.
        detector: a weight's name.

    Returns:
        The most alike first; empty if nobody is at or above the threshold.

    Raises:
        PhotoError: it cannot be read. DataError: it shows no face, or the workspace has none.
        WeightsError: a network is not here.
    """
    networks = sorted(pc.unique(face_rows(out)["embedder"]).to_pylist())
    if not networks:
        raise DataError(f"{out}: no faces were found here; run `curate` first")
    used = stage.settings(out, "find_faces").get("networks", {}).get("detector")
    near: list[tuple[str, float]] = []
    for network in networks:
        vector = face_embedding(photo, network, detector or used or "default")
        limit = limit_cosine(network) if threshold is None else threshold
        for face_ids, name, vectors in embeddings(out):
            cosines = vectors @ vector if name == network else np.zeros(0)
            near += [(str(face_ids[row]), float(cosines[row])) for row in np.flatnonzero(cosines >= limit)]
    rows = {face: row for row in identity_rows(out) for face in row["face_ids"]}
    best: dict[str, list[tuple[str, float]]] = {}
    for face, cosine in sorted(near, key=lambda pair: -pair[1]):
        best.setdefault(rows[face]["identity"] if face in rows else "", []).append((face, cosine))
    named = {row["identity"]: row for row in rows.values()} | {"": {"subject": None, "face_ids": best.get("", ())}}
    grouped = best and exists(join(out, "index", "faces.lance"))
    strangers = stranger_cosines(IdentityIndex.open(join(out, "index"))) if grouped else np.zeros(0)
    return [
        Shown(
            identity=name, subject=named[name]["subject"], faces=len(named[name]["face_ids"]),
            near=tuple(face for face, _ in each), cosine=each[0][1],
            false_match_rate=float((strangers >= each[0][1]).mean()) if len(strangers) else 0.0,
        )
        for name, each in sorted(best.items(), key=lambda item: -item[1][0][1])
    ]


def face_embedding(photo: str, network: str, detector: str) -> np.ndarray:
    """The unit embedding [D] of the largest face in a photograph."""
    from anchorface.faces.embed import embedder

    pixels, _ = read_photo(photo)
    faces = Detector(detector).detect([pixels])[0]
    if not faces:
        raise DataError(f"{photo}: no face was found in it")
    largest = max(faces, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))
    crop = warp(pixels, arcface_matrix(largest.landmarks, 112), 112)
    return embedder(network).embed(crop[None])[0][0]


def stranger_cosines(index: IdentityIndex) -> np.ndarray:
    """The cosine of up to STRANGERS faces, evenly spread over the index, to the nearest face of somebody else."""
    table = index.faces(["face_id", "identity"]).sort_by("face_id")
    places = np.unique(np.linspace(0, len(table) - 1, min(STRANGERS, len(table))).astype(np.int64))
    identity = dict(zip(table["face_id"].to_pylist(), table["identity"].to_pylist(), strict=True))
    chosen = [table["face_id"][int(place)].as_py() for place in places]
    names = ", ".join(f"'{face}'" for face in chosen)
    rows = index.faces(["face_id", "embedding"], f"face_id IN ({names})")
    found, cosines = index.nearest(np.stack(rows["embedding"].to_numpy()), min(256, len(table)))
    best = []
    for face, others, values in zip(rows["face_id"].to_pylist(), found, cosines.tolist(), strict=True):
        strange = [v for other, v in zip(others, values, strict=True) if identity[other] != identity[face]]
        best.append(strange[0] if strange else -1.0)
    return np.array(best)
