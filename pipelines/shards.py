"""Faces into identity-grouped WebDataset tars: one immutable dataset version.

In, from the workspace: `index/` with `identity` and `split`. Out (see versions.plan, versions.publish):

    dataset/<manifest id>/manifest.json      records.Manifest, written last
    dataset/<manifest id>/faces.parquet      FACE_COLUMNS and CLIP_COLUMNS, in the order of the shards
    dataset/<manifest id>/shards/train-00000.tar     `<face id>.jpg` and `<face id>.json` for each face
    dataset/latest                           the id of the version written last

All faces of an identity stand side by side in one tar; more than GROUP_FACES are cut into groups. Crops along a track
do not shake (versions.steady). Equal faces give equal bytes: no times, owners or random names in a tar. A version is
never written over.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from anchorface.identity_index import IdentityIndex
from anchorface.pipelines.erasure.erase import writes
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.stages.stage import Counts, Outputs, Part
from anchorface.pipelines.versions.plan import faces_digest, indexed, plan_inputs, planned, shard_settings
from anchorface.pipelines.versions.publish import TABLE_SCHEMA, finished, publish
from anchorface.pipelines.versions.steady import steady
from anchorface.pipelines.versions.tar import pack
from anchorface.records.errors import ConfigurationError, ConsentError, DataError
from anchorface.records.manifest import CLIP_COLUMNS, FACE_COLUMNS
from anchorface.records.storage import delete, join

SHARD_BYTES = 64 * 2**20
MEMBER_KEYS = (
    "face_id", "identity", "crop_size", "crop_landmarks", "yaw", "pitch", "roll", "age", "taken", "licence", "consent",
    "source", *CLIP_COLUMNS,
)
INDEX_COLUMNS = [*(name for name in FACE_COLUMNS if name not in ("shard", "offset", "byte_size")), *CLIP_COLUMNS,
                 "landmarks", "track_landmarks"]


@writes("shards")
def shards(
    out: str, *, shard_bytes: int = SHARD_BYTES, only: Mapping[str, Sequence[str]] | None = None,
    progress: Progress | None = None, concurrency: int | None = None,
) -> str:
    """Write the workspace's faces as a dataset version.

    Args:
        out: a workspace that `group` filled.
        shard_bytes: a tar is closed before it grows beyond this; one group of faces always fits.
        only: `licence`, `consent` or `source` -> what goes in, as classes (`commercial`, `granted`) or the photographs'
            own words (see records.terms.allows); other faces stay out, and those whose consent was withdrawn always do.
            The manifest's `left_out` counts them.
        progress: where to report.
        concurrency: Ray workers; 0 works in this process, without Ray.

    Returns:
        The URI of the version's folder. The same faces, settings, code and parent give the same version, byte for byte.

    Raises:
        DataError: `group` has not finished here, or no face is of the classes asked for.
        ConsentError: consent to every face was withdrawn.
        StorageError: the workspace cannot be written.
    """
    if shard_bytes < 1:
        raise ConfigurationError(f"shard_bytes {shard_bytes}: must be positive")
    settings = shard_settings(shard_bytes, only)
    plan, plan_key, left_out = planned(out, settings)
    if not plan and left_out:
        counted = "; ".join(f"{column} {counts}" for column, counts in left_out.items())
        if not only:
            raise ConsentError(f"{out}: consent to all of its faces was withdrawn: {counted}")
        raise DataError(f"{out}: no face is of the classes {dict(only)}; its faces are of {counted}")
    there = finished(out, plan_key)
    if there is not None:
        # A run that was killed at its very end leaves its building site.
        delete(join(out, "building"))
        return there
    parts = [
        Part(
            name=name, rows=len(face_ids), inputs=stage.fingerprint(plan_inputs(out), faces_digest(face_ids)),
            payload=stage.payload({"faces": face_ids.to_pylist()}),
        )
        for name, face_ids in plan.items()
    ]
    stage.run(
        out, "shards", parts, partial(_ShardWriter, out), settings=settings, unit="faces",
        progress=progress, concurrency=concurrency,
    )
    return publish(out, plan_key, [*plan], settings, left_out)


class _ShardWriter:
    """Writes one tar and the rows of its faces."""

    def __init__(self, out: str) -> None:
        self._index = IdentityIndex.open(join(out, "index"))

    def __call__(self, name: str, payload: Mapping[str, Any]) -> tuple[Outputs, Counts]:
        ids = ", ".join(f"'{face_id}'" for face_id in payload["faces"])
        found = indexed(self._index, INDEX_COLUMNS, f"face_id IN ({ids})").to_pylist()
        crops = self._index.crops(payload["faces"])
        rows = {row["face_id"]: row for row in found}
        for face_id, row in rows.items():
            if row["track"]:
                crops[face_id], points = steady(crops[face_id], row)
                row["crop_landmarks"] = points.ravel().tolist()
        content, places = pack(_described([rows[face_id] for face_id in payload["faces"]], crops))
        path = f"shards/{name}.tar"
        described = [
            rows[face_id] | {"shard": path, "offset": offset, "byte_size": size}
            for face_id, (offset, size) in zip(payload["faces"], places, strict=True)
        ]
        table = pa.Table.from_pylist(described, schema=TABLE_SCHEMA)
        outputs = {f"building/{path}": content, f"building/rows/{name}.parquet": stage.parquet_bytes(table)}
        return outputs, {"faces": len(places)}


def _described(rows: Iterable[Mapping[str, Any]], crops: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Each face's crop and what is said of it, as files of a tar."""
    for row in rows:
        yield f"{row['face_id']}.jpg", crops[row["face_id"]]
        said = json.dumps({key: row[key] for key in MEMBER_KEYS}, default=str, sort_keys=True)
        yield f"{row['face_id']}.json", said.encode()
