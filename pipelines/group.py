"""Faces become persons, and persons go to one side of the split.

In, from the workspace: `faces/part-*.parquet`, `decisions.parquet` where people decided anything, and the identities of
the run before. Out: `tracks/` (see identities.tracks), `index/` (identity_index.IdentityIndex: the faces with
`identity`, `split`, `crop_bytes`, `track`, `frame` and `track_landmarks`, and their crops),
`identities/part-00000.parquet` (records.IDENTITY_SCHEMA), `identities/report.json`, `dropped/group/part-00000.parquet`
(rejected faces and copies of a picture).

An identity keeps its name, its faces and its split from run to run: new faces join it or become new identities. Two
existing identities become one only by a decision or a label; where the looks say so it is proposed (`doubt`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from anchorface.faces.weights import find
from anchorface.identity_index import IdentityIndex, read_decisions
from anchorface.pipelines.erasure.erase import writes
from anchorface.pipelines.faces.sizes import why_none
from anchorface.pipelines.identities.persons import Found, find_persons, light_columns
from anchorface.pipelines.identities.previous import previous, remember
from anchorface.pipelines.identities.second_look import second_look
from anchorface.pipelines.identities.splits import SPLITS, assign_splits
from anchorface.pipelines.identities.tracks import link_tracks, with_tracks
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.stages.stage import Counts, Outputs, Part
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.hashes import sha256
from anchorface.records.nouns import IDENTITY_SCHEMA, TRACK_SCHEMA, Identity
from anchorface.records.state import read_state
from anchorface.records.storage import delete, exists, filesystem, join, read_table

VERSION = 5
NEAR_DUPLICATES = ("drop", "keep")
CROP_ROWS = 256
CHOICES = ("labels", "threshold", "splits", "seed", "held", "clusterer", "near_duplicates")


@writes("group")
def group(
    out: str, *, labels: bool = True, threshold: float | None = None, splits: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0, held: Mapping[str, str] | None = None, clusterer: str | None = None, near_duplicates: str = "drop",
    anew: bool = False, progress: Progress | None = None, concurrency: int | None = 0,
) -> dict[str, Any]:
    """Decide who is who, and who is for training, validation and test.

    Args:
        out: a workspace that `find_faces` filled.
        labels: faces with a subject belong to that subject, only the others are clustered; without, all are
            clustered, and the labels only serve to say how well that went.
        threshold: smallest mean cosine between two groups that become one person; None reads it off the data.
        splits: shares of train, val and test. Identities keep their split as long as shares and seed stay the same.
        seed: of the split.
        held: subject -> split, for persons whose side is decided already (a published split).
        clusterer: weight name of a network that tells people apart, where a better one is here than the face
            table's own embedder (which stays the anchor's); None takes the table's embeddings.
        near_duplicates: `drop` keeps the best of the copies of one picture (largest, then sharpest), `keep` keeps all.
        anew: forget which faces stood together, but not the decisions; an identity then gets the name of the one
            before with which it shares the most faces.
        progress: where to report.
        concurrency: Ray workers that link tracks, and embed with the clusterer; 0 works in this process, without Ray.

    Returns:
        `faces`, `identities`, `single_faces` (identities with one face: in the index and in training, never held
        out), `threshold` and `threshold_reason`, identities and faces per split, `purity` (estimated), `doubts` (number
        of identities by reason), `suspicious` (names, most suspicious first), `rejected`, `near_duplicates`,
        `highest_name`, and where labels exist but are not used `precision`, `recall` and `f1` over pairs of labelled
        faces.

    Raises:
        DataError: `find_faces` has not finished here, or found no face; decisions contradict given labels.
        ConfigurationError: shares that are none, or an unknown split or choice.
        WeightsError: the clusterer's file is not here.
    """
    _check(splits, held, near_duplicates)
    tables = stage.outputs(out, "find_faces", "faces")
    settings = {
        "version": VERSION, "labels": labels, "threshold": threshold, "splits": [float(s) for s in splits],
        "seed": seed, "held": dict(held or {}), "clusterer": clusterer, "near_duplicates": near_duplicates,
        "anew": anew, "clusterer_sha256": sha256(find(clusterer, "embedder")) if clusterer else "",
    }
    rows = stage.counts(out, "find_faces").get("faces", 0)
    looked: dict[str, str] = {}
    if rows and clusterer is not None and _embedders(out, tables) != {clusterer}:
        looked = second_look(out, clusterer, progress=progress, concurrency=concurrency)
    linked = link_tracks(out, progress=progress, concurrency=concurrency)
    decided = [decision.to_row() for decision in read_decisions(out)]
    part = Part(
        name=stage.part_name(0), rows=rows,
        inputs=stage.fingerprint(tables, looked, decided, *([linked] if linked else [])),
        payload=stage.payload({"faces": [*tables], "embeddings": [*looked], "tracks": [*linked]}),
    )
    remember(out, stage.fingerprint(settings, part.inputs), complete=bool(stage.settings(out, "group")))
    if not exists(join(out, "index", "faces.lance")):
        delete(join(out, "done", "group"))
    worker = partial(_Grouper, out, settings)
    stage.run(
        out, "group", [part], worker, settings=settings, unit="faces", progress=progress, concurrency=0
    )
    return report(out)


def regroup(out: str, *, progress: Progress | None = None, concurrency: int | None = 0) -> dict[str, Any]:
    """`group` again with the settings of the last run, for example after a decision.

    Raises:
        DataError: `group` has not finished here.
    """
    settings = stage.settings(out, "group")
    if not settings:
        raise DataError(f"{out}: the stage 'group' has not finished here; run `curate` first")
    chosen = {name: settings[name] for name in CHOICES if name in settings}
    return group(out, **chosen, progress=progress, concurrency=concurrency)


def report(out: str) -> dict[str, Any]:
    """What the last `group` of a workspace found."""
    return read_state(join(out, "identities", "report.json"), dict[str, Any])


def _check(splits: Sequence[float], held: Mapping[str, str] | None, near_duplicates: str) -> None:
    if len(splits) != 3 or min(splits) < 0 or sum(splits) <= 0:
        raise ConfigurationError(f"splits {tuple(splits)}: three shares (train, val, test), not all zero")
    unknown = sorted(set((held or {}).values()) - set(SPLITS))
    if unknown:
        raise ConfigurationError(f"held: no split {unknown[0]!r}; it is one of {', '.join(SPLITS)}")
    if near_duplicates not in NEAR_DUPLICATES:
        raise ConfigurationError(f"near_duplicates {near_duplicates!r}: it is one of {', '.join(NEAR_DUPLICATES)}")


def _embedders(out: str, tables: Mapping[str, str]) -> set[str]:
    return {name for path in tables for name in read_table(join(out, path), ("embedder",))["embedder"].to_pylist()}


class _Grouper:
    """Does the one part of this stage: all faces at once, without their crops."""

    def __init__(self, out: str, settings: Mapping[str, Any]) -> None:
        self._out, self._settings = out, settings

    def __call__(self, name: str, payload: Any) -> tuple[Outputs, Counts]:
        settings, before = self._settings, previous(self._out)
        faces = pa.concat_tables([light_columns(self._out, path) for path in payload["faces"]])
        linked = [read_table(join(self._out, path)) for path in payload["tracks"]]
        faces = with_tracks(faces, pa.concat_tables([TRACK_SCHEMA.empty_table(), *linked]))
        if not len(faces):
            raise DataError(why_none(self._out))
        looked = pa.concat_tables([read_table(join(self._out, path)) for path in payload["embeddings"]]) if (
            payload["embeddings"]) else None
        found = find_persons(
            faces.sort_by("face_id"), looked, read_decisions(self._out), before, settings,
            lambda face_ids: _crops(self._out, payload["faces"], face_ids),
        )
        identities = self._identities(found)
        split_of = {identity.identity: identity.split for identity in identities}
        table = found.faces.append_column("identity", pa.array(found.names, pa.string()))
        table = table.append_column("split", pa.array([split_of[each] for each in found.names], pa.string()))
        kept = set(found.face_ids)
        IdentityIndex.create(join(self._out, "index"), table, crops=_crops(self._out, payload["faces"], kept))
        said = found.said | {
            "identities": len(identities), "single_faces": sum(len(i.face_ids) == 1 for i in identities),
            "drawn": _drawn(settings),
        } | _split_counts(identities)
        rows = pa.Table.from_pylist([identity.to_row() for identity in identities], schema=IDENTITY_SCHEMA)
        outputs = {
            f"identities/{name}.parquet": stage.parquet_bytes(rows),
            "identities/report.json": json.dumps(said, sort_keys=True, indent=1).encode(),
        }
        counts = {"faces": len(found.names), "identities": len(identities), "dropped": len(found.dropped)}
        return outputs | stage.dropped_output("group", name, found.dropped), counts

    def _identities(self, found: Found) -> list[Identity]:
        settings, before = self._settings, previous(self._out)
        members: dict[str, list[str]] = {}
        for face, name in zip(found.face_ids, found.names, strict=True):
            members.setdefault(name, []).append(face)
        fixed = {name: settings["held"][s] for name, s in found.subjects.items() if s in settings["held"]}
        free = {
            name: (found.subjects.get(name) or faces[0], len(faces)) for name, faces in members.items()
            if name not in fixed
        }
        stay = before.split if before.drawn in ("", _drawn(settings)) else {}
        split_of = fixed | assign_splits(free, settings["splits"], settings["seed"], stay)
        return [
            Identity(
                identity=name, split=split_of[name], subject=found.subjects.get(name), face_ids=tuple(faces),
                purity=round(found.doubts[name].purity, 4), doubt=found.doubts[name].words,
                doubtful=tuple(found.face_ids[row] for row in found.doubts[name].doubtful),
            )
            for name, faces in sorted(members.items())
        ]


def _drawn(settings: Mapping[str, Any]) -> str:
    return json.dumps([settings["seed"], settings["splits"]])


def _crops(out: str, paths: Sequence[str], face_ids: set[str]) -> Iterator[pa.RecordBatch]:
    """Batches (face_id, crop) of the faces asked for, part after part."""
    for path in paths:
        system, place = filesystem(join(out, path))
        with system.open_input_file(place) as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=CROP_ROWS, columns=["face_id", "crop"]):
                wanted = pa.array([face in face_ids for face in batch["face_id"].to_pylist()], pa.bool_())
                chosen = batch.filter(wanted)
                if len(chosen):
                    yield chosen


def _split_counts(identities: Sequence[Identity]) -> dict[str, int]:
    result = {}
    for split in SPLITS:
        chosen = [identity for identity in identities if identity.split == split]
        result[f"{split}_identities"] = len(chosen)
        result[f"{split}_faces"] = sum(len(identity.face_ids) for identity in chosen)
    return result
