"""The plan of shards: which faces stand side by side in which tar.

In, from the workspace: `index/` with `identity`, `split` and `crop_bytes`. Out: shard name -> face ids in order, and a
hash of the plan. All faces of an identity stand side by side in one tar; more than GROUP_FACES are cut into groups.
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
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.manifest import CLASSES
from anchorface.records.storage import join

VERSION = 3
"""Of the plan and of the tars that follow it."""
GROUP_FACES = 64
PLAN_COLUMNS = ["face_id", "identity", "split", "crop_bytes"]


class ShardSettings(TypedDict):
    """What `shard_settings` gives."""

    version: int
    shard_bytes: int
    group_faces: int
    only: NotRequired[dict[str, list[str]]]


def shard_settings(shard_bytes: int, only: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """What else than the faces decides how the shards come out.

    Args:
        shard_bytes: size of a tar. only: column of CLASSES -> the classes that go in; others stay out.

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


def planned(out: str, settings: Mapping[str, Any]) -> tuple[dict[str, pa.Array], str]:
    """The plan of shards for the index as it is, and the plan's hash (what `done/version.json` names).

    Raises:
        DataError: `group` has not finished here, or no face is of the classes that are asked for.
    """
    inputs = plan_inputs(out)
    only = settings.get("only", {})
    faces = IdentityIndex.open(join(out, "index")).faces([*PLAN_COLUMNS, *only])
    for column, classes in only.items():
        faces = faces.filter(pc.is_in(faces[column], value_set=pa.array(classes, pa.string())))
    if only and not len(faces):
        raise DataError(f"{out}: no face is of the classes {only}; a version's manifest counts licences and consents")
    plan = plan_shards(faces, settings["shard_bytes"])
    digests = {name: faces_digest(face_ids) for name, face_ids in plan.items()}
    return plan, stage.fingerprint(settings, inputs, digests)


def plan_shards(faces: pa.Table, shard_bytes: int) -> dict[str, pa.Array]:
    """Which faces go into which tar: name -> face ids in order.

    Identities stay in order of name within their split; a group of an identity is never cut.

    Args:
        faces: columns `face_id`, `identity`, `split`, `crop_bytes`, in any order of rows.
        shard_bytes: size of a tar, about.
    """
    if not len(faces):
        return {}
    side = pc.index_in(faces["split"], value_set=pa.array(SPLITS))
    table = faces.select(PLAN_COLUMNS).append_column("side", side)
    table = table.sort_by([("side", "ascending"), ("identity", "ascending"), ("face_id", "ascending")])
    table = table.combine_chunks()
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
            taken = np.arange(start + piece, stop, pieces)
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
