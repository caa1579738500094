"""Faces into identity-grouped WebDataset tars: the plan of who stands where, and the tars themselves.

In, from the workspace: `index/` with `identity` and `split`. Out: one immutable dataset version (pipelines.publish):

    dataset/<manifest id>/manifest.json      records.Manifest, written last
    dataset/<manifest id>/faces.parquet      FACE_COLUMNS, in the order of the shards
    dataset/<manifest id>/shards/train-00000.tar     `<face id>.jpg` and `<face id>.json` for each face
    dataset/latest                           the id of the version written last

All faces of an identity stand side by side in one tar; more than GROUP_FACES are cut into groups. Equal faces give
equal bytes: no times, owners or random names in a tar. A version is never written over.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anchorface.identity_index import IdentityIndex
from anchorface.pipelines import stage
from anchorface.pipelines.erasure import settle
from anchorface.pipelines.group import SPLITS
from anchorface.pipelines.progress import Progress
from anchorface.pipelines.publish import TABLE_SCHEMA, finished, publish
from anchorface.pipelines.stage import Counts, Outputs, Part
from anchorface.records.dataset import inside
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.manifest import FACE_COLUMNS
from anchorface.records.storage import delete, join, read_bytes

VERSION = 3
SHARD_BYTES = 64 * 2**20
GROUP_FACES = 64
MEMBER_KEYS = (
    "face_id", "identity", "crop_size", "crop_landmarks", "yaw", "pitch", "roll", "age", "taken", "licence", "consent",
    "source",
)
INDEX_COLUMNS = [name for name in FACE_COLUMNS if name not in ("shard", "offset", "byte_size")]
PLAN_COLUMNS = ["face_id", "identity", "split", "crop_bytes"]


def shards(
    out: str, *, shard_bytes: int = SHARD_BYTES, progress: Progress | None = None, concurrency: int | None = None
) -> str:
    """Write the workspace's faces as a dataset version.

    Args:
        out: a workspace that `group` filled.
        shard_bytes: a tar is closed before it grows beyond this; one group of faces always fits.
        progress: where to report.
        concurrency: Ray workers; 0 works in this process, without Ray.

    Returns:
        The URI of the version's folder. The same faces, settings, code and parent give the same version, byte for byte.

    Raises:
        DataError: `group` has not finished here.
        StorageError: the workspace cannot be written.
    """
    if shard_bytes < 1:
        raise ConfigurationError(f"shard_bytes {shard_bytes}: must be positive")
    settle(out)
    settings = shard_settings(shard_bytes)
    plan, plan_key = planned(out, settings)
    there = finished(out, plan_key)
    if there is not None:
        # A run that was killed at its very end leaves its building site.
        delete(join(out, "building"))
        return there
    parts = [
        Part(
            name=name, rows=len(face_ids), inputs=stage.fingerprint(_inputs(out), _digest(face_ids)),
            payload=stage.payload({"faces": face_ids.to_pylist()}),
        )
        for name, face_ids in plan.items()
    ]
    stage.run(
        out, "shards", "building", parts, partial(_ShardWriter, out), settings=settings, unit="faces",
        progress=progress, concurrency=concurrency,
    )
    return publish(out, plan_key, [*plan], settings)


def shard_settings(shard_bytes: int) -> dict[str, Any]:
    """What else than the faces decides how the shards come out."""
    return {"version": VERSION, "shard_bytes": shard_bytes, "group_faces": GROUP_FACES}


def planned(out: str, settings: Mapping[str, Any]) -> tuple[dict[str, pa.Array], str]:
    """The plan of shards for the index as it is, and the plan's hash (what `done/version.json` names).

    Raises:
        DataError: `group` has not finished here.
    """
    inputs = _inputs(out)
    faces = IdentityIndex.open(join(out, "index")).faces(PLAN_COLUMNS)
    plan = plan_shards(faces, settings["shard_bytes"])
    digests = {name: _digest(face_ids) for name, face_ids in plan.items()}
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


def members(uri: str) -> Iterator[tuple[str, bytes]]:
    """The members of one of our tars, name and bytes, in order.

    Raises:
        DataError: not a tar, or a member that is no plain file of the tar's own folder.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(read_bytes(uri)), mode="r:") as archive:
            for member in archive:
                if not member.isfile() or "/" in inside(member.name):
                    raise DataError(f"{uri}: member {member.name!r} is no plain file; this tar is not ours")
                stream = archive.extractfile(member)
                assert stream is not None
                yield member.name, stream.read()
    except tarfile.TarError as error:
        raise DataError(f"{uri}: not a readable tar: {error}") from error


def pack(files: Iterable[tuple[str, bytes]]) -> tuple[bytes, list[tuple[int, int]]]:
    """A tar of files (name, content), and each `.jpg`'s (offset, size) in it; the same files give the same bytes."""
    buffer = io.BytesIO()
    places = []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
            if name.endswith(".jpg"):
                places.append((archive.offset - -(-len(content) // 512) * 512, len(content)))
    return buffer.getvalue(), places


class _ShardWriter:
    """Writes one tar and the rows of its faces."""

    def __init__(self, out: str) -> None:
        self._index = IdentityIndex.open(join(out, "index"))

    def __call__(self, name: str, payload: Mapping[str, Any]) -> tuple[Outputs, Counts]:
        ids = ", ".join(f"'{face_id}'" for face_id in payload["faces"])
        found = self._index.faces(INDEX_COLUMNS, f"face_id IN ({ids})").to_pylist()
        crops = self._index.crops(payload["faces"])
        rows = {row["face_id"]: row for row in found}
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


def _inputs(out: str) -> str:
    return stage.fingerprint(stage.outputs(out, "group", "identities"), stage.outputs(out, "find_faces", "faces"))


def _digest(face_ids: pa.Array) -> str:
    return hashlib.sha256("\n".join(face_ids.to_pylist()).encode()).hexdigest()
