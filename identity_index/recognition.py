"""Who is it? The likely persons of an index for the embedding of any photograph, with probabilities.

A person's score is the cosine to the nearest of its faces. What scores mean is measured on the index itself:
*genuine*, of a face to the others of its person, by how many of them there are; and *impostor maxima*, of a face to the
nearest face of anybody else in a gallery of this size. With g the density of the genuine score, F the distribution of
impostor maxima, f its density, and `prior` the probability that the person is in the index, Bayes' rule gives person j
with score s_j

    r_j = g(s_j) F(s_j) / f(s_j),    P(j) = prior r_j / (prior sum_k r_k + 1 - prior)

(f / F is the expected number of persons that score s by chance), and what is left is the probability that the person
is not here. Impostor maxima follow a Gumbel distribution, as maxima of many do; it is fitted to their quartiles, so
that a few persons who stand in the index under two names do no harm. Source: our choice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anchorface.identity_index.lance_store import conditions
from anchorface.identity_index.table import IdentityIndex
from anchorface.identity_index.unit import unit
from anchorface.records.errors import DataError

SAMPLE = 1024
SIZES = (1, 2, 4, 8)
"""How many other faces of the person genuine scores are measured with."""
FEWEST = 20
WIDTH = 0.03
"""Of the kernel of the genuine density, in cosines."""
FLOOR = 0.02
"""Share of genuine scores that may lie anywhere from 0 to 1: worse photographs than the index has."""
FIRST_FACES = 64


@dataclass(frozen=True, kw_only=True)
class RecognitionCalibration:
    """What scores mean in one index.

    genuine: for each of SIZES sorted scores. place, scale: of the Gumbel distribution of impostor maxima in a gallery
    of `faces` faces. prior: probability that a photograph's person is in the index.
    """

    genuine: tuple[tuple[float, ...], ...]
    place: float
    scale: float
    faces: int
    prior: float = 0.5

    def genuine_density(self, score: float, others: int) -> float:
        """Of the score of a photograph of a person with so many faces in the index."""
        at = max((number for number, size in enumerate(SIZES) if size <= others), default=0)
        scores = np.array(self.genuine[at])
        kernel = np.exp(-0.5 * ((score - scores) / WIDTH) ** 2).mean() / (WIDTH * math.sqrt(2 * math.pi))
        return float((1 - FLOOR) * kernel + FLOOR * (0.0 <= score <= 1.0))

    def by_chance(self, score: float, faces: int) -> float:
        """Expected number of strangers at or above a score in a gallery of so many faces."""
        return math.exp(min((self.place - score) / self.scale, 300.0)) * faces / self.faces

    def false_match_rate(self, score: float, faces: int) -> float:
        """Probability that somebody who is not in a gallery of so many faces reaches a score there."""
        return -math.expm1(-self.by_chance(score, faces))


@dataclass(frozen=True, kw_only=True)
class Likely:
    """A person who may be in the photograph.

    probability: that it is this person. cosine: to the nearest face, `face_id`. false_match_rate: probability that
    somebody who is not in the index comes as near to anybody in it.
    """

    identity: str
    probability: float
    cosine: float
    face_id: str
    false_match_rate: float


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Other pictures of faces of the index, degraded ones say. embeddings: [Q, D]; face_ids: whose, Q."""

    embeddings: NDArray[np.float32]
    face_ids: tuple[str, ...]


def calibrate_recognition(
    index: IdentityIndex, *, probes: Probes | None = None, prior: float = 0.5
) -> RecognitionCalibration:
    """Measure what scores mean, in one pass over the index.

    Args:
        index: with identities that are labelled or grouped.
        probes: pictures to measure with; None takes up to SAMPLE of the index's own faces.
        prior: probability that a photograph's person is in the index.

    Raises:
        DataError: fewer than FEWEST sampled faces have another photograph of their person in the index.
    """
    if not 0 < prior < 1:
        raise DataError(f"recognition: prior {prior}; it must lie between 0 and 1")
    names = index.faces(["face_id", "photo_id", "identity"]).sort_by("face_id")
    if probes is None:
        # Face ids are hashes, so every n-th of them is a fair sample.
        rows = np.unique(np.linspace(0, len(names) - 1, SAMPLE).astype(np.int64))
        vectors = None
    else:
        rows = pa.compute.index_in(pa.array(probes.face_ids), names["face_id"].combine_chunks()).to_numpy(
            zero_copy_only=False)
        if np.isnan(rows.astype(np.float64)).any():
            raise DataError(f"recognition: {index.uri} lacks some of the {len(rows)} probes' faces")
        rows, vectors = rows.astype(np.int64), unit(probes.embeddings)
    sample = names.take(pa.array(rows))
    if vectors is None:
        vectors = _embeddings(index, sample["face_id"].to_pylist())
    genuine, impostor = _scores(index, sample, vectors)
    if len(genuine[0]) < FEWEST:
        raise DataError(
            f"recognition: {index.uri} has {len(genuine[0])} sampled faces with another photograph of their person; "
            f"{FEWEST} are needed to say how sure a match is: add photographs, or join identities")
    low, high = np.quantile(impostor, (0.25, 0.75))
    scale = max(float(high - low) / (math.log(math.log(4)) - math.log(math.log(4 / 3))), 1e-3)
    return RecognitionCalibration(
        genuine=tuple(tuple(sorted(scores)) for scores in genuine), place=float(low) + scale * math.log(math.log(4)),
        scale=scale, faces=len(names), prior=prior)


def recognise(
    index: IdentityIndex, embedding: NDArray[np.float32], *, calibration: RecognitionCalibration, top: int = 5
) -> list[Likely]:
    """The likely persons for one embedding.

    Args:
        index: the index that was calibrated; faces that were added since are allowed for.
        embedding: [D], of any length.
        calibration: see `calibrate_recognition`.
        top: how many persons; fewer where the index holds fewer.

    Returns:
        The most likely first. The probabilities add up to less than 1; the rest is "not in the index".
    """
    scores: dict[str, tuple[float, str]] = {}
    faces, count = len(index), FIRST_FACES
    while True:
        ids, cosines = index.nearest(embedding, min(count, faces), exact=False)
        of = _identities(index, ids[0])
        for face_id, cosine in zip(ids[0], cosines[0].tolist(), strict=False):
            scores.setdefault(of[face_id], (cosine, face_id))
        if len(scores) >= top or len(ids[0]) < count:
            break
        count *= 8
    found = list(scores.items())[:top]
    sizes = _sizes(index, [identity for identity, _ in found])
    ratios = [
        calibration.genuine_density(cosine, sizes[identity]) * calibration.scale / calibration.by_chance(cosine, faces)
        for identity, (cosine, _) in found
    ]
    total = calibration.prior * sum(ratios) + 1 - calibration.prior
    likely = [
        Likely(identity=identity, probability=calibration.prior * ratio / total, cosine=cosine, face_id=face_id,
               false_match_rate=calibration.false_match_rate(cosine, faces))
        for (identity, (cosine, face_id)), ratio in zip(found, ratios, strict=True)
    ]
    return sorted(likely, key=lambda one: (-one.probability, -one.cosine, one.identity))


def _scores(
    index: IdentityIndex, sample: pa.Table, vectors: NDArray[np.float32]
) -> tuple[list[list[float]], NDArray[np.float32]]:
    """Genuine scores by size, and each sampled face's impostor maximum."""
    own, photos = (np.array(sample[name].to_pylist(), np.str_) for name in ("identity", "photo_id"))
    impostor = np.full(len(vectors), -1.0, np.float32)
    kin: list[list[tuple[str, float]]] = [[] for _ in vectors]
    for batch in index.batches(["face_id", "photo_id", "identity", "embedding"]):
        block = unit(batch["embedding"].flatten().to_numpy().reshape(-1, index.dimension))
        cosines = vectors @ block.T
        identities, taken = (np.array(batch[name].to_pylist(), np.str_) for name in ("identity", "photo_id"))
        face_ids = batch["face_id"].to_pylist()
        rank = np.searchsorted(unique := np.unique(identities), own)
        places = np.argsort(identities, kind="stable")
        ends = np.searchsorted(identities[places], unique, side="right")
        for row in np.flatnonzero(unique[np.minimum(rank, len(unique) - 1)] == own):
            mine = places[(ends[rank[row] - 1] if rank[row] else 0) : ends[rank[row]]]
            # Another face of the same photograph is either the face itself or nobody's other picture.
            kin[row] += [(face_ids[n], float(cosines[row, n])) for n in mine if taken[n] != photos[row]]
            cosines[row, mine] = -1.0
        impostor = np.maximum(impostor, cosines.max(axis=1))
    # In order of face id, that is in no particular order: the first n are a fair choice of n.
    ordered = [[cosine for _, cosine in sorted(faces)] for faces in kin if faces]
    genuine: list[list[float]] = []
    for size in SIZES:
        scores = [max(faces[:size]) for faces in ordered if len(faces) >= size]
        genuine.append(scores if len(scores) >= FEWEST or not genuine else genuine[-1])
    return genuine, impostor


def _embeddings(index: IdentityIndex, face_ids: Sequence[str]) -> NDArray[np.float32]:
    found: dict[str, NDArray[np.float32]] = {}
    for condition in conditions("face_id", face_ids):
        table = index.faces(["face_id", "embedding"], condition)
        found |= zip(table["face_id"].to_pylist(), table["embedding"].to_numpy(), strict=True)
    return unit(np.stack([found[face_id] for face_id in face_ids]))


def _identities(index: IdentityIndex, face_ids: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for condition in conditions("face_id", face_ids):
        table = index.faces(["face_id", "identity"], condition)
        found |= zip(table["face_id"].to_pylist(), table["identity"].to_pylist(), strict=True)
    return found


def _sizes(index: IdentityIndex, identities: Sequence[str]) -> dict[str, int]:
    """How many faces each identity has."""
    sizes = dict.fromkeys(identities, 0)
    for condition in conditions("identity", identities):
        for identity in index.faces(["identity"], condition)["identity"].to_pylist():
            sizes[identity] += 1
    return sizes
