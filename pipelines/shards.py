"""Faces into identity-grouped WebDataset tars, and the Manifest that makes them one immutable dataset version.

In, from the workspace: `index/` with `identity` and `split`. Out:

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
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from identity_index import IdentityIndex
from pipelines import stage
from pipelines.group import SPLITS
from pipelines.progress import Progress
from pipelines.stage import Counts, Outputs, Part
from records.dataset import inside
from records.errors import ConfigurationError, DataError
from records.manifest import FACE_COLUMNS, Manifest, Shard
from records.nouns import FACE_SCHEMA
from records.storage import delete, exists, filesystem, join, make_folder, read_bytes, read_table, write_atomic

VERSION = 2
SHARD_BYTES = 64 * 2**20
GROUP_FACES = 64
MEMBER_KEYS = (
    "face_id", "identity", "crop_size", "crop_landmarks", "yaw", "pitch", "roll", "age", "taken", "licence", "consent",
    "source",
)
INDEX_COLUMNS = [name for name in FACE_COLUMNS if name not in ("shard", "offset", "byte_size")]
EMBEDDING = pa.list_(pa.float32())
PLACE = {"shard": pa.string(), "offset": pa.int64(), "byte_size": pa.int64(), "identity": pa.string(),
         "split": pa.string()}
TABLE_SCHEMA = pa.schema([(name, PLACE.get(name) or FACE_SCHEMA.field(name).type) for name in FACE_COLUMNS])


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
        The URI of the version's folder. The same faces and settings give the same version, byte for byte.

    Raises:
        DataError: `group` has not finished here.
        StorageError: the workspace cannot be written.
    """
    if shard_bytes < 1:
        raise ConfigurationError(f"shard_bytes {shard_bytes}: must be positive")
    grouping = stage.outputs(out, "group", "identities")
    faces = IdentityIndex.open(join(out, "index")).faces(["face_id", "identity", "split", "crop_bytes"])
    plan = plan_shards(faces.to_pylist(), shard_bytes)
    settings = {"version": VERSION, "shard_bytes": shard_bytes, "group_faces": GROUP_FACES}
    inputs = stage.fingerprint(grouping, stage.outputs(out, "find_faces", "faces"))
    plan_key = stage.fingerprint(settings, inputs, plan)
    finished = _finished(out, plan_key)
    if finished is not None:
        return finished
    parts = [
        Part(
            name=name, rows=len(face_ids), inputs=stage.fingerprint(inputs, face_ids),
            payload=stage.payload({"faces": face_ids}),
        )
        for name, face_ids in plan.items()
    ]
    stage.run(
        out, "shards", "building", parts, partial(_ShardWriter, out), settings=settings, unit="faces",
        progress=progress, concurrency=concurrency,
    )
    return _publish(out, plan_key, [*plan], settings)


def plan_shards(faces: Sequence[Mapping[str, Any]], shard_bytes: int) -> dict[str, list[str]]:
    """Which faces go into which tar: name -> face ids in order.

    Identities stay in order of name within their split; a group of an identity is never cut.
    """
    members: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(faces, key=lambda row: (SPLITS.index(row["split"]), row["identity"], row["face_id"])):
        members.setdefault((row["split"], row["identity"]), []).append(row)
    plan: dict[str, list[str]] = {}
    name, filled, counts = "", 0, dict.fromkeys(SPLITS, 0)
    for (split, _), rows in members.items():
        pieces = -(-len(rows) // GROUP_FACES)
        for piece in range(pieces):
            # Face ids are hashes, so every n-th of them is a fair sample of the person's photographs.
            taken = rows[piece::pieces]
            size = sum(row["crop_bytes"] + 2048 for row in taken)
            if not name.startswith(f"{split}-") or filled + size > shard_bytes:
                name, filled = f"{split}-{counts[split]:05d}", 0
                counts[split] += 1
            plan.setdefault(name, []).extend(row["face_id"] for row in taken)
            filled += size
    return plan


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


class _ShardWriter:
    """Writes one tar and the rows of its faces."""

    def __init__(self, out: str) -> None:
        self._index = IdentityIndex.open(join(out, "index"))

    def __call__(self, name: str, payload: Mapping[str, Any]) -> tuple[Outputs, Counts]:
        ids = ", ".join(f"'{face_id}'" for face_id in payload["faces"])
        found = self._index.faces([*INDEX_COLUMNS, "crop"], f"face_id IN ({ids})").to_pylist()
        rows = {row["face_id"]: row for row in found}
        content, places = _tar([rows[face_id] for face_id in payload["faces"]])
        path = f"shards/{name}.tar"
        described = [
            rows[face_id] | {"shard": path, "offset": offset, "byte_size": size}
            for face_id, (offset, size) in zip(payload["faces"], places, strict=True)
        ]
        table = pa.Table.from_pylist(described, schema=TABLE_SCHEMA)
        outputs = {f"building/{path}": content, f"building/rows/{name}.parquet": stage.parquet_bytes(table)}
        return outputs, {"faces": len(places)}


def _tar(rows: Sequence[Mapping[str, Any]]) -> tuple[bytes, list[tuple[int, int]]]:
    """A tar of the rows' crops and descriptions, and each crop's (offset, size) in it."""
    buffer = io.BytesIO()
    places = []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for row in rows:
            said = json.dumps({key: row[key] for key in MEMBER_KEYS}, default=str, sort_keys=True).encode()
            for name, content in ((f"{row['face_id']}.jpg", row["crop"]), (f"{row['face_id']}.json", said)):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                archive.addfile(entry, io.BytesIO(content))
                if name.endswith(".jpg"):
                    places.append((archive.offset - -(-len(content) // 512) * 512, len(content)))
    return buffer.getvalue(), places


def _publish(out: str, plan_key: str, names: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Describe the finished tars by a Manifest and move them to their version's folder."""
    written = stage.outputs(out, "shards", "building")
    tables = [read_table(join(out, "building", "rows", f"{name}.parquet")) for name in names]
    content = stage.parquet_bytes(pa.concat_tables(tables).cast(TABLE_SCHEMA))
    described = tuple(
        Shard(
            path=f"shards/{name}.tar", split=name.partition("-")[0], faces=len(table),
            identities=tuple(dict.fromkeys(table["identity"].to_pylist())),
            byte_size=_size(join(out, "building", "shards", f"{name}.tar")),
            sha256=written[f"building/shards/{name}.tar"],
        )
        for name, table in zip(names, tables, strict=True)
    )
    rows = pa.concat_tables(tables)
    found, grouped = stage.settings(out, "find_faces"), stage.settings(out, "group")
    manifest = Manifest(
        shards=described, counts=_counts(rows), licences=_tally(rows, "licence"), consents=_tally(rows, "consent"),
        weights=found["weights"], faces_sha256=hashlib.sha256(content).hexdigest(),
        settings={"find_faces": found, "group": grouped, "shards": dict(settings)},
        code=f"pipelines {VERSION}",
    )
    version = join(out, "dataset", manifest.manifest_id)
    make_folder(join(version, "shards"))
    for shard in described:
        if not _whole(version, shard):
            system, source = filesystem(join(out, "building", shard.path))
            system.move(source, filesystem(join(version, shard.path))[1])
    files = {"faces.parquet": content, "manifest.json": manifest.to_json().encode()}
    for name, expected in files.items():
        if not exists(join(version, name)):
            write_atomic(join(version, name), expected)
    write_atomic(join(out, "dataset", "latest"), f"{manifest.manifest_id}\n".encode())
    state = {"plan": plan_key, "manifest_id": manifest.manifest_id}
    write_atomic(join(out, "done", "version.json"), json.dumps(state).encode())
    delete(join(out, "building"))
    return version


def _finished(out: str, plan_key: str) -> str | None:
    """The version that this plan gave, if it still stands there whole."""
    marker, latest = join(out, "done", "version.json"), join(out, "dataset", "latest")
    if not exists(marker) or not exists(latest):
        return None
    state = json.loads(read_bytes(marker))
    version = join(out, "dataset", state["manifest_id"])
    if state["plan"] != plan_key or not exists(join(version, "manifest.json")):
        return None
    if read_bytes(latest).decode().strip() != state["manifest_id"]:
        return None
    manifest = Manifest.from_json(read_bytes(join(version, "manifest.json")).decode())
    whole = all(_whole(version, shard) for shard in manifest.shards)
    return version if whole and exists(join(version, "faces.parquet")) else None


def _whole(version: str, shard: Shard) -> bool:
    uri = join(version, shard.path)
    return exists(uri) and _size(uri) == shard.byte_size


def _size(uri: str) -> int:
    system, path = filesystem(uri)
    return int(system.get_file_info(path).size)


def _counts(rows: pa.Table) -> dict[str, dict[str, int]]:
    result = {}
    for split in SPLITS:
        chosen = [i for i, s in zip(rows["identity"].to_pylist(), rows["split"].to_pylist(), strict=True) if s == split]
        result[split] = {"faces": len(chosen), "identities": len(set(chosen))}
    return result


def _tally(rows: pa.Table, column: str) -> dict[str, int]:
    tally: dict[str, int] = {}
    for value in sorted(str(v) for v in rows[column].to_pylist()):
        tally[value] = tally.get(value, 0) + 1
    return tally
