"""The plan of shards: which faces stand side by side in which tar.

In, from the workspace: `index/` with `identity`, `split` and `crop_bytes`, and `track` and `frame` unless it was made
before there were tracks. Out: shard name -> face ids in order, and a hash of the plan. All faces of an identity stand
side by side in one tar; more than GROUP_FACES are cut into groups. Frames of a track follow one another, so that a clip
is read in one piece. Faces whose consent was withdrawn go into no plan.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index import IdentityIndex
from anchorface.pipelines.identities.splits import SPLITS
from anchorface.pipelines.stages import stage
from anchorface.records.errors import ConfigurationError
from anchorface.records.manifest import CLASSES, CLIP_COLUMNS, with_clip_columns
from anchorface.records.storage import join
from anchorface.records.terms import allowed_rows, count_terms, withdrawn_rows

VERSION = 4
"""Of the plan and of the tars that follow it."""
GROUP_FACES = 64
PLAN_COLUMNS = ["face_id", "identity", "split", "crop_bytes", *CLIP_COLUMNS]


class ShardSettings(TypedDict):
    """What `shard_settings` gives."""

    version: int
    shard_bytes: int
    group_faces: int
    only: NotRequired[dict[str, list[str]]]


def shard_settings(shard_bytes: int, only: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """What else than the faces decides how the shards come out.

    Args:
        shard_bytes: size of a tar. only: column of CLASSES -> the words or classes that go in (see records.terms);
            others stay out.

    Raises:
        ConfigurationError: another column, or one without classes.
    """
    settings: dict[str, Any] = {"version": VERSION, "shard_bytes": shard_bytes, "group_faces": GROUP_FACES}
    for column, classes in (only or {}).items():
        if column not in CLASSES or not classes:
            raise ConfigurationError(f"shards: only {column} {list(classes)}; columns are {', '.join(CLASSES)}, each "
                                     "with at least one class")
    # Left out where nothing is asked, so that versions made before have the same settings.
    return settings | ({"only": {name: sorted(set(classes)) for name, classes in sorted(only.items())}} if only else {})


def planned(
    out: str, settings: Mapping[str, Any]
) -> tuple[dict[str, pa.Array], str, dict[str, dict[str, int]]]:
    """The plan of shards for the index as it is, the plan's hash (what `done/version.json` names), and the faces that
    stay out: column -> class -> number.

    Raises:
        DataError: `group` has not finished here.
    """
    inputs = plan_inputs(out)
    only = settings.get("only", {})
    every = indexed(IdentityIndex.open(join(out, "index")), [*dict.fromkeys([*PLAN_COLUMNS, "consent", *only])])
    faces = every.filter(pc.invert(withdrawn_rows(every["consent"])))
    left_out = {"consent": _classes(every["consent"].filter(withdrawn_rows(every["consent"])), "consent")}
    for column, classes in only.items():
        outside = pc.invert(allowed_rows(faces[column], column, classes))
        left_out[column] = left_out.get(column, {}) | _classes(faces[column].filter(outside), column)
        faces = faces.filter(pc.invert(outside))
    plan = plan_shards(faces, settings["shard_bytes"])
    digests = {name: faces_digest(face_ids) for name, face_ids in plan.items()}
    return plan, stage.fingerprint(settings, inputs, digests), {name: n for name, n in left_out.items() if n}


def indexed(index: IdentityIndex, columns: Sequence[str], filter: str | None = None) -> pa.Table:
    """Rows of the index with CLIP_COLUMNS; of other columns those that it has."""
    return with_clip_columns(index.faces([name for name in columns if name in index.columns], filter))


def _classes(values: pa.ChunkedArray, column: str) -> dict[str, int]:
    """Class -> number of rows; a source is its own word, and is not said."""
    counts = {each["values"]: each["counts"] for each in pc.value_counts(values).to_pylist()}
    if column == "source":
        return {"other": sum(counts.values())} if counts else {}
    return count_terms(column, counts)


def plan_shards(faces: pa.Table, shard_bytes: int) -> dict[str, pa.Array]:
    """Which faces go into which tar: name -> face ids in order.

    Identities stay in order of name within their split; a group of an identity is never cut.

    Args:
        faces: PLAN_COLUMNS, or these without CLIP_COLUMNS, in any order of rows.
        shard_bytes: size of a tar, about.
    """
    if not len(faces):
        return {}
    side = pc.index_in(faces["split"], value_set=pa.array(SPLITS))
    table = with_clip_columns(faces).select(PLAN_COLUMNS).append_column("side", side)
    table = table.sort_by([(name, "ascending") for name in ("side", "identity", "track", "frame", "face_id")])
    table = table.combine_chunks()
    tracked = pc.not_equal(table["track"], "").to_numpy()
    sides = table["side"].to_numpy()
    sizes = table["crop_bytes"].to_numpy().astype(np.int64) + 2048
    codes = pc.dictionary_encode(table["identity"]).combine_chunks().indices.to_numpy(zero_copy_only=False)
    changes = np.flatnonzero((codes[1:] != codes[:-1]) | (sides[1:] != sides[:-1])) + 1
    borders = [0, *changes.tolist(), len(table)]
    rows: dict[str, list[np.ndarray]] = {}
    name, filled, counts = "", 0, dict.fromkeys(SPLITS, 0)
    for start, stop in pairwise(borders):
        split = SPLITS[sides[start]]
        pieces = -(-(stop - start) // GROUP_FACES)
        for piece in range(pieces):
            # Face ids are hashes, so every n-th of them is a fair sample of the person's photographs.
            films = stop - int(tracked[start:stop].sum())
            first, last = (films + number * (stop - films) // pieces for number in (piece, piece + 1))
            taken = np.concatenate([np.arange(start + piece, films, pieces), np.arange(first, last)])
            size = int(sizes[taken].sum())
            if not name.startswith(f"{split}-") or filled + size > shard_bytes:
                name, filled = f"{split}-{counts[split]:05d}", 0
                counts[split] += 1
            rows.setdefault(name, []).append(taken)
            filled += size
    face_ids = table["face_id"].combine_chunks()
    return {name: face_ids.take(pa.array(np.concatenate(taken))) for name, taken in rows.items()}


def plan_inputs(out: str) -> str:
    """The hash of the tables that a plan follows.

    Raises:
        DataError: `group` has not finished here.
    """
    return stage.fingerprint(stage.outputs(out, "group", "identities"), stage.outputs(out, "find_faces", "faces"))


def faces_digest(face_ids: pa.Array) -> str:
    """The hash of face ids in order."""
    return hashlib.sha256("\n".join(face_ids.to_pylist()).encode()).hexdigest()
