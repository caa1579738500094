"""Faces of films linked to tracks, before `group` decides who is who.

In, from the workspace: `faces/part-*.parquet`. Out: `tracks/part-*.parquet` (records.TRACK_SCHEMA), a part for each in
which films stand; a rerun links only those that changed. Only films whose frames were taken less than SLOWEST seconds
apart have tracks: the frames of others are photographs of one person at best, and near-duplicates among them go.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.faces.tracks import Sighting, link, steadied
from anchorface.pipelines.sources.address import parse_address
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.stages.stage import Counts, Outputs, Part
from anchorface.records.nouns import TRACK_SCHEMA, Track
from anchorface.records.storage import exists, join, read_table

VERSION = 1
STAGE = FOLDER = "tracks"
SLOWEST = 0.25
"""Our choice: at 4 frames a second a head turns by some 20 degrees from one to the next."""
READ = ("face_id", "uri", "box", "landmarks", "embedding")
NO_TRACK = {"track": "", "frame": -1, "track_landmarks": None}
"""What a face says that is in none: of a photograph, or alone in its film."""
COLUMNS = {"track": pa.string(), "frame": pa.int32(), "track_landmarks": pa.list_(pa.float32())}


def link_tracks(out: str, *, progress: Progress | None = None, concurrency: int | None = None) -> dict[str, str]:
    """Link the faces of a workspace's films to tracks, or what is left of them.

    Args:
        out: a workspace that `find_faces` filled.
        progress: where to report.
        concurrency: Ray workers; 0 works in this process, without Ray.

    Returns:
        Path in the workspace -> SHA-256 of the tables written; none where there is no film.

    Raises:
        DataError: `find_faces` has not finished here.
    """
    parts = []
    for path, digest in stage.outputs(out, "find_faces", "faces").items():
        films = pc.sum(pc.match_substring(read_table(join(out, path), ("uri",))["uri"], "#t=")).as_py() or 0
        if films:
            name = path.rpartition("/")[2].removesuffix(".parquet")
            parts.append(Part(name=name, rows=films, inputs=digest, payload=stage.payload({"path": path})))
    if not parts and not exists(join(out, "done", STAGE)):
        return {}
    stage.run(out, STAGE, parts, partial(_Tracker, out), settings={"version": VERSION}, unit="faces",
              progress=progress, concurrency=concurrency)
    return stage.outputs(out, STAGE, FOLDER)


def with_tracks(faces: pa.Table, tracks: pa.Table) -> pa.Table:
    """The face table with `track`, `frame` and `track_landmarks`, as COLUMNS has them; NO_TRACK where there is none.

    Args:
        tracks: TRACK_SCHEMA.
    """
    places: dict[str, dict[str, Any]] = {}
    for row in tracks.to_pylist():
        points = np.reshape(row["landmarks"], (-1, 10)).tolist()
        for face_id, frame, landmarks in zip(row["face_ids"], row["frames"], points, strict=True):
            places[face_id] = {"track": row["track"], "frame": frame, "track_landmarks": landmarks}
    found = [places.get(face_id, NO_TRACK) for face_id in faces["face_id"].to_pylist()]
    for name, kind in COLUMNS.items():
        faces = faces.append_column(name, pa.array([each[name] for each in found], kind))
    return faces


def tracks_of(faces: pa.Table) -> Iterator[Track]:
    """The tracks of all films in a face table; a face alone is none.

    Frames are numbered by the film's usual step of time, so that one that was not taken, or shows nobody, leaves a gap.

    Args:
        faces: READ.
    """
    films: dict[str, list[tuple[float, dict[str, Any]]]] = defaultdict(list)
    for row in faces.to_pylist():
        address = parse_address(row["uri"])
        if address.kind == "frame":
            films[address.file].append((address.second, row))
    for _, seen in sorted(films.items()):
        seen.sort(key=lambda each: (each[0], each[1]["face_id"]))
        times = np.unique([second for second, _ in seen])
        steps = np.diff(times)
        if not len(steps) or np.median(steps) >= SLOWEST:
            continue
        past = np.maximum(np.rint(steps / np.median(steps)), 1).astype(np.int64)
        number = dict(zip(times.tolist(), np.concatenate([[0], np.cumsum(past)]).tolist(), strict=True))
        sightings = [Sighting(
            frame=number[second], seconds=second, box=tuple(row["box"]),
            landmarks=np.reshape(row["landmarks"], (5, 2)).astype(np.float64),
            embedding=np.asarray(row["embedding"], np.float32)) for second, row in seen]
        for places in link(sightings):
            if len(places) > 1:
                yield _track([seen[place][1]["face_id"] for place in places], [sightings[place] for place in places])


def _track(face_ids: list[str], sightings: list[Sighting]) -> Track:
    steady = steadied([one.seconds for one in sightings], np.stack([one.landmarks for one in sightings]))
    return Track(
        track="t" + hashlib.sha256(f"track/{face_ids[0]}".encode()).hexdigest()[:16], face_ids=tuple(face_ids),
        frames=tuple(one.frame for one in sightings), landmarks=tuple(steady.ravel().tolist()))


class _Tracker:
    """Links the films of one part after the other; a film's frames stand in one part."""

    def __init__(self, out: str) -> None:
        self._out = out

    def __call__(self, name: str, payload: Mapping[str, Any]) -> tuple[Outputs, Counts]:
        tracks = [*tracks_of(read_table(join(self._out, payload["path"]), READ))]
        table = pa.Table.from_pylist([track.to_row() for track in tracks], schema=TRACK_SCHEMA)
        counts = {"tracks": len(tracks), "faces": sum(len(track.face_ids) for track in tracks)}
        return {f"{FOLDER}/{name}.parquet": stage.parquet_bytes(table)}, counts
