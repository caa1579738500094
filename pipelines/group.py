"""Faces become persons, and persons go to one side of the split.

In, from the workspace: `faces/part-*.parquet`. Out: `index/` (identity_index.IdentityIndex: all faces with `identity`,
`split` and `crop_bytes`), `identities/part-00000.parquet` (records.IDENTITY_SCHEMA), `identities/report.json`.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from faces.align import arcface_matrix, warp
from faces.embed import embedder
from faces.images import decode_jpeg
from faces.weights import find, sha256
from identity_index import IdentityIndex, calibrate, cluster, pairwise_scores
from pipelines import stage
from pipelines.progress import Progress
from pipelines.stage import Counts, Outputs, Part
from records.errors import ConfigurationError, DataError
from records.nouns import IDENTITY_SCHEMA, Identity
from records.storage import delete, exists, join, read_bytes, read_table

VERSION = 2
EMBED_ROWS = 64
SPLITS = ("train", "val", "test")


def group(
    out: str, *, labels: bool, threshold: float | None = None, splits: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0,
    held: Mapping[str, str] | None = None, clusterer: str | None = None, progress: Progress | None = None,
) -> dict[str, Any]:
    """Decide who is who, and who is for training, validation and test.

    Args:
        out: a workspace that `find_faces` filled.
        labels: faces with a subject belong to that subject, only the others are clustered; without, all are
            clustered, and the labels only serve to say how well that went.
        threshold: smallest mean cosine between two groups that become one person; None reads it off the data.
        splits: shares of train, val and test.
        seed: of the split.
        held: subject -> split, for persons whose side is decided already.
        clusterer: weight name of a network that tells people apart, where a better one is here than the face
            table's own embedder (which stays the anchor's); None takes the table's embeddings.
        progress: where to report.

    Returns:
        `faces`, `identities`, `single_faces` (identities with one face: in the index and in training, never held
        out), `threshold` and `threshold_reason`, identities and faces per split, and where labels exist but are not
        used `precision`, `recall` and `f1` over pairs of labelled faces.

    Raises:
        DataError: `find_faces` has not finished here, or found no face.
        ConfigurationError: shares that are none, or an unknown split.
        WeightsError: the clusterer's file is not here.
    """
    if len(splits) != 3 or min(splits) < 0 or sum(splits) <= 0:
        raise ConfigurationError(f"splits {tuple(splits)}: three shares (train, val, test), not all zero")
    unknown = sorted(set((held or {}).values()) - set(SPLITS))
    if unknown:
        raise ConfigurationError(f"held: no split {unknown[0]!r}; it is one of {', '.join(SPLITS)}")
    tables = stage.outputs(out, "find_faces", "faces")
    settings = {
        "version": VERSION, "labels": labels, "threshold": threshold, "splits": [float(s) for s in splits],
        "seed": seed, "held": dict(held or {}), "clusterer": clusterer,
        "clusterer_sha256": sha256(find(clusterer, "embedder")) if clusterer else "",
    }
    if not exists(join(out, "index", "faces.lance")):
        delete(join(out, "done", "group"))
    rows = stage.counts(out, "find_faces").get("faces", 0)
    part = Part(name=stage.part_name(0), rows=rows, inputs=stage.fingerprint(tables), payload=json.dumps([*tables]))
    worker = partial(_Grouper, out, settings)
    stage.run(
        out, "group", "identities", [part], worker, settings=settings, unit="faces", progress=progress, concurrency=0
    )
    return report(out)


def report(out: str) -> dict[str, Any]:
    """What the last `group` of a workspace found."""
    return json.loads(read_bytes(join(out, "identities", "report.json")))


class _Grouper:
    """Does the one part of this stage: all faces at once."""

    def __init__(self, out: str, settings: Mapping[str, Any]) -> None:
        self._out, self._settings = out, settings

    def __call__(self, name: str, payload: Any) -> tuple[Outputs, Counts]:
        settings = self._settings
        faces = pa.concat_tables([read_table(join(self._out, path)) for path in payload])
        if not len(faces):
            raise DataError(f"{self._out}: no face was found in any photograph; see the dropped table for the reasons")
        faces = faces.sort_by("face_id")
        face_ids, photo_ids = faces["face_id"].to_pylist(), faces["photo_id"].to_pylist()
        subjects = faces["subject"].to_pylist()
        embeddings = _embeddings(faces, settings["clusterer"])
        used = subjects if settings["labels"] else [None] * len(subjects)
        threshold, reason = settings["threshold"], "given"
        if threshold is None and None in used:
            calibration = calibrate(embeddings, photo_ids)
            threshold, reason = calibration.threshold, calibration.reason
        elif threshold is None:
            threshold, reason = 1.0, "all faces are labelled"
        names = cluster(embeddings, photo_ids, used, threshold, face_ids=face_ids)
        identities = _identities(names, face_ids, used, settings)
        split_of = {identity.identity: identity.split for identity in identities}
        faces = faces.append_column("identity", pa.array(names))
        faces = faces.append_column("split", pa.array([split_of[n] for n in names]))
        faces = faces.append_column("crop_bytes", pc.binary_length(faces["crop"]))
        IdentityIndex.create(join(self._out, "index"), faces)
        said = {
            "faces": len(names), "identities": len(identities),
            "single_faces": sum(len(i.face_ids) == 1 for i in identities), "threshold": float(threshold),
            "threshold_reason": reason,
        } | _split_counts(identities)
        labelled = [n for n, subject in enumerate(subjects) if subject is not None]
        if labelled and not settings["labels"]:
            scores = pairwise_scores([names[n] for n in labelled], [subjects[n] for n in labelled])
            said |= dict(zip(("precision", "recall", "f1"), scores, strict=True)) | {"labelled_faces": len(labelled)}
        table = pa.Table.from_pylist([identity.to_row() for identity in identities], schema=IDENTITY_SCHEMA)
        outputs = {
            f"identities/{name}.parquet": stage.parquet_bytes(table),
            "identities/report.json": json.dumps(said, sort_keys=True, indent=1).encode(),
        }
        return outputs, {"faces": len(names), "identities": len(identities)}


def _embeddings(faces: pa.Table, clusterer: str | None) -> NDArray[np.float32]:
    """[N, D]: the table's own embeddings, or another network's of the same crops."""
    if clusterer is None or {clusterer} == set(faces["embedder"].unique().to_pylist()):
        return np.stack(faces["embedding"].to_numpy())
    network = embedder(clusterer)
    parts = []
    for batch in faces.select(["crop", "crop_landmarks"]).to_batches(max_chunksize=EMBED_ROWS):
        rows = batch.to_pylist()
        matrices = [arcface_matrix(np.reshape(row["crop_landmarks"], (5, 2))) for row in rows]
        crops = [warp(decode_jpeg(row["crop"]), m, 112) for row, m in zip(rows, matrices, strict=True)]
        parts.append(network.embed(np.stack(crops))[0])
    return np.concatenate(parts)


def _identities(
    names: Sequence[str], face_ids: Sequence[str], subjects: Sequence[str | None], settings: Mapping[str, Any]
) -> list[Identity]:
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        members[name].append(row)
    subject_of = {name: next((subjects[r] for r in rows if subjects[r]), None) for name, rows in members.items()}
    keys = {name: subject_of[name] or face_ids[rows[0]] for name, rows in members.items()}
    fixed = {n: settings["held"][s] for n, s in subject_of.items() if s in settings["held"]}
    free = {name: (keys[name], len(rows)) for name, rows in members.items() if name not in fixed}
    split_of = fixed | assign_splits(free, settings["splits"], settings["seed"])
    return [
        Identity(
            identity=name, split=split_of[name], subject=subject_of[name], face_ids=tuple(face_ids[r] for r in rows)
        )
        for name, rows in sorted(members.items())
    ]


def assign_splits(identities: Mapping[str, tuple[str, int]], shares: Sequence[float], seed: int) -> dict[str, str]:
    """Put each identity on one side, by a hash of (seed, key), with exact counts.

    Counts are the shares by largest remainder; with at least three identities every split that has a share gets one.
    Test and val take the identities with several faces first: without a second photograph there is no reference.

    Args:
        identities: name -> (key that does not depend on the other identities, number of faces).
        shares: of train, val, test.
        seed: another seed, another split.

    Returns:
        name -> split.
    """
    counts = dict(zip(SPLITS, split_counts(len(identities), shares), strict=True))
    order = sorted(
        identities,
        key=lambda name: (
            identities[name][1] < 2, hashlib.sha256(f"{seed}/split/{identities[name][0]}".encode()).digest()
        ),
    )
    test, val = order[: counts["test"]], order[counts["test"] : counts["test"] + counts["val"]]
    return dict.fromkeys(order, "train") | dict.fromkeys(val, "val") | dict.fromkeys(test, "test")


def split_counts(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `total`, by largest remainder; none of a positive share empty from three on."""
    exact = np.asarray(shares, dtype=np.float64) / sum(shares) * total
    counts = np.floor(exact).astype(int)
    for place in np.argsort(-(exact - counts), kind="stable")[: total - int(counts.sum())]:
        counts[place] += 1
    if total >= 3:
        for place in np.flatnonzero((counts == 0) & (np.asarray(shares) > 0)):
            counts[int(np.argmax(counts))] -= 1
            counts[place] = 1
    return counts.tolist()


def _split_counts(identities: Sequence[Identity]) -> dict[str, int]:
    result = {}
    for split in SPLITS:
        chosen = [identity for identity in identities if identity.split == split]
        result[f"{split}_identities"] = len(chosen)
        result[f"{split}_faces"] = sum(len(identity.face_ids) for identity in chosen)
    return result
