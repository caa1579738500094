"""The clips of a split: which frames of which tracks, the faces that can help them, and what is known of them.

In: an opened dataset version, its rows to train on, FeedSettings with several frames. Out: rows of the dataset's table.
A clip is `frames` frames of one track, `stride` of the film's frames apart and none of them missing; every frame that
one can begin at begins one, and stands for it in the order of an epoch. References are faces of the same person from
other tracks and from photographs, by the mismatch policy.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.compared import Compared
from anchorface.identity_index.retrieval.exclusions import refusals
from anchorface.identity_index.retrieval.mismatch import choose
from anchorface.pipelines.feed.dataset import Dataset
from anchorface.pipelines.feed.order import Rows
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.pipelines.feed.table import Columns
from anchorface.pipelines.sources.address import parse_address
from anchorface.records.attributes import CLEAN, attribute_row
from anchorface.records.errors import DataError
from anchorface.records.lineage import code_hash
from anchorface.records.nouns import Clip

CANDIDATES = 64
"""Faces of other tracks, and photographs, that references are chosen from, evenly spread over all: our choice."""
TRACKS = 64
"""Tracks whose candidates a process keeps: our choice."""
SERIOUS, BROAD = 0.77, 1.02
"""What `Face.smile` is of the most serious and of the broadest mouths (faces.attributes.smile)."""


class Clips:
    """The clips that begin at some rows.

    first: int64 [C], the row that each begins at, rising. capacity: int32 [C], how many references each can have.

    Args:
        dataset: the opened version. settings: of the feed. rows: the faces to train on, in shard order.

    Raises:
        DataError: none of their tracks has so many frames; says how many the longest has.
    """

    def __init__(self, dataset: Dataset, settings: FeedSettings, rows: Rows) -> None:
        self._dataset, self._settings = dataset, settings
        self._rows = _clip_rows(dataset, settings, rows)
        self.first: Rows = self._rows[:, 0]
        self._candidates = lru_cache(TRACKS)(self._find_candidates)
        self.capacity = dataset.table.derived(f"clips-{self._key()}", self._count_admitted)

    def rows(self, first: int) -> Rows:
        """The rows of the clip that begins at a row, int64 [T]."""
        found: Rows = self._rows[np.searchsorted(self.first, first)]
        return found

    def clip(self, rows: Rows) -> Clip:
        """A clip by the names and times of its rows."""
        columns = self._dataset.columns
        seconds = [parse_address(uri).second for uri in columns["uri"][rows].tolist()]
        return Clip(track=str(columns["track"][rows[0]]), face_ids=tuple(columns["face_id"][rows].tolist()),
                    seconds=tuple(round(second - seconds[0], 3) for second in seconds))

    def references(self, first: int, k: int, rng: np.random.Generator) -> dict[int, str]:
        """Up to k references for a clip, best first: row -> why. None is of its track or a copy of one of its frames;
        gaps are those to the frame in the middle.
        """
        rows, policy = self.rows(first), self._settings.policy
        candidates = self._candidates(str(self._dataset.columns["track"][first]), first)
        admitted = candidates[~self._refused(rows, candidates).any(axis=0)]
        every = np.concatenate([rows[len(rows) // 2:][:1], admitted])
        album = Album.of_columns(self._dataset.columns, every)
        chosen = choose(Compared(album, policy), 0, k, rng)
        return dict(zip(every[list(chosen.chosen)].tolist(), chosen.reasons(), strict=True))

    def _find_candidates(self, track: str, first: int) -> Rows:
        """The person's photographs and faces of other tracks, some of each where there are many."""
        columns, person = self._dataset.columns, self._dataset.person_rows(first)
        names = columns["track"][person.start : person.stop]
        photographs, others = np.flatnonzero(names == ""), np.flatnonzero((names != "") & (names != track))
        return person.start + np.sort(np.concatenate([_thinned(photographs), _thinned(others)]))

    def _refused(self, rows: Rows, candidates: Rows) -> NDArray[np.bool_]:
        """Which candidates cannot help each frame, [T, M]."""
        album = Album.of_columns(self._dataset.columns, np.concatenate([rows, candidates]))
        of = np.arange(len(rows), len(album))
        return np.stack([refusals(album.take(np.concatenate([[place], of])), np.zeros(1, np.int64),
                                  self._settings.policy)[0, 1:] > 0 for place in range(len(rows))])

    def _count_admitted(self) -> NDArray[np.int32]:
        """How many candidates no frame of a clip refuses."""
        counts = np.zeros(len(self.first), np.int32)
        names = self._dataset.columns["track"][self.first]
        for track in np.unique(names):
            mine = np.flatnonzero(names == track)
            frames, places = np.unique(self._rows[mine], return_inverse=True)
            candidates = self._candidates(str(track), int(frames[0]))
            refused = self._refused(frames, candidates)
            counts[mine] = (~refused[places.reshape(len(mine), -1)].any(axis=1)).sum(axis=1)
        return counts

    def _key(self) -> str:
        """Of everything that the numbers of references depend on, beside the table."""
        told: dict[str, Any] = {name: getattr(self._settings, name) for name in ("frames", "stride", "split",
                                                                                  "identities")}
        text = json.dumps([asdict(self._settings.policy), told, code_hash()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def attributes(columns: Columns, rows: list[int]) -> NDArray[np.float32]:
    """What is known of a clip's clean frames, [A] in the order of records.attributes: their mean age and smile, and
    that they are clean."""
    smile = float(np.clip((columns["smile"][rows].mean() - SERIOUS) / (BROAD - SERIOUS), 0, 1))
    known = CLEAN | {"smile": smile}
    ages = columns["age"][rows]
    if np.isfinite(ages).any():
        known["age"] = float(np.clip(np.nanmean(ages), 0, 100))
    return attribute_row(known)


def _clip_rows(dataset: Dataset, settings: FeedSettings, rows: Rows) -> Rows:
    """The rows of all clips, int64 [C, T], in order of the first."""
    frames = dataset.columns["frame"][rows].astype(np.int64)
    rows, frames = rows[frames >= 0], frames[frames >= 0]
    names = dataset.columns["track"][rows]
    order = np.lexsort((frames, names))
    rows, frames, names = rows[order], frames[order], names[order]
    # Frames of all tracks on one line of numbers, each track further from the next than a clip is long.
    number = np.concatenate([[0], np.cumsum(names[1:] != names[:-1])]) if len(rows) else frames
    steps = settings.stride * np.arange(settings.frames)
    keys = number * (int(frames.max(initial=0)) + int(steps[-1]) + 1) + frames
    wanted = keys[:, None] + steps
    places = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    whole = (keys[places] == wanted).all(axis=1) if len(keys) else np.zeros(0, np.bool_)
    if not whole.any():
        longest = max((len(run) for run in _runs(keys, settings.stride)), default=0)
        raise DataError(
            f"{dataset.uri}: no clip of {settings.frames} frames {settings.stride} apart in split {settings.split!r}; "
            f"its longest track has {longest} such frames. Clips are cut from films whose every frame was taken: "
            "`anchorface curate --frame-seconds 0`")
    found = rows[places[whole]]
    ordered: Rows = found[np.argsort(found[:, 0], kind="stable")]
    return ordered


def _runs(keys: NDArray[np.int64], stride: int) -> Iterator[NDArray[np.int64]]:
    """The frames that follow one another at the stride."""
    for phase in range(stride):
        mine = keys[keys % stride == phase]
        yield from np.split(mine, np.flatnonzero(np.diff(mine) != stride) + 1) if len(mine) else ()


def _thinned(rows: Rows) -> Rows:
    """At most CANDIDATES of them, evenly spread."""
    if len(rows) <= CANDIDATES:
        return rows
    return rows[np.linspace(0, len(rows) - 1, CANDIDATES).astype(np.int64)]
