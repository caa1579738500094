"""A dataset version is made public: described by a Manifest, moved to the folder of its id, named by `latest`.

In, from the workspace: `building/shards/*.tar` and `building/rows/*.parquet` of a finished plan. Out: see
pipelines.shards. The manifest's parent is the version that was the latest before; a version whose content stands there
already is taken up again as it is, so a rerun never becomes its own parent.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from anchorface.pipelines.identities.splits import SPLITS
from anchorface.pipelines.stages import stage
from anchorface.records import storage
from anchorface.records.dataset import latest_version
from anchorface.records.lineage import code_hash, manifests
from anchorface.records.manifest import CLIP_COLUMNS, FACE_COLUMNS, Manifest, Shard
from anchorface.records.nouns import FACE_SCHEMA
from anchorface.records.state import RelativePath, read_state
from anchorface.records.storage import (
    delete,
    exists,
    filesystem,
    join,
    make_folder,
    read_table,
    write_atomic,
)
from anchorface.records.table_stream import write_stream

PLACE = {"shard": pa.string(), "offset": pa.int64(), "byte_size": pa.int64(), "identity": pa.string(),
         "split": pa.string(), **{name: none.type for name, none in CLIP_COLUMNS.items()}}
TABLE_SCHEMA = pa.schema([(name, PLACE.get(name) or FACE_SCHEMA.field(name).type)
                          for name in (*FACE_COLUMNS, *CLIP_COLUMNS)])


class Published(TypedDict):
    """`done/version.json`: the hash of a plan, and the id of the version that it gave."""

    plan: str
    manifest_id: RelativePath


def publish(
    out: str, plan_key: str, names: Sequence[str], settings: Mapping[str, Any],
    left_out: Mapping[str, Mapping[str, int]],
) -> str:
    """Describe the finished tars by a Manifest and move them to their version's folder.

    Args:
        out: the workspace. plan_key: hash of the plan that they follow.
        names: of the shards, in order.
        settings: of `shards`. left_out: faces of the index that are not in it, column -> class -> number.

    Returns:
        The version's folder.
    """
    written = stage.outputs(out, "shards", "building")
    building = join(out, "building")
    tally = Tally()
    described = []
    for name in names:
        uri = join(building, "rows", f"{name}.parquet")
        identities = read_table(uri, ("identity",))["identity"]
        described.append(Shard(
            path=f"shards/{name}.tar", split=name.partition("-")[0], faces=len(identities),
            identities=tuple(pc.unique(identities).to_pylist()), byte_size=size(join(building, f"shards/{name}.tar")),
            sha256=written[f"building/shards/{name}.tar"],
        ))
    rows = (read_table(join(building, "rows", f"{name}.parquet")) for name in names)
    faces_sha256 = write_stream(join(building, "faces.parquet"), TABLE_SCHEMA, tally.watch(rows))
    found, grouped = stage.settings(out, "find_faces"), stage.settings(out, "group")
    manifest = Manifest(
        shards=tuple(described), counts=tally.counts(described), licences=tally.of("licence"),
        consents=tally.of("consent"), weights=found["weights"], faces_sha256=faces_sha256,
        settings={"find_faces": found, "group": grouped, "shards": dict(settings)}, code=code_hash(),
        parents=latest_id(out), extra={"left_out": left_out} if left_out else {},
    )
    manifest = _known(out, manifest) or manifest
    version = move(building, join(out, "dataset"), manifest)
    name_latest(out, manifest.manifest_id, plan_key)
    delete(building)
    return version


def move(building: str, dataset: str, manifest: Manifest) -> str:
    """Move what was built to the folder of its id; what stands there whole already stays. The manifest goes last."""
    version = join(dataset, manifest.manifest_id)
    make_folder(join(version, "shards"))
    for shard in manifest.shards:
        if not whole(version, shard):
            storage.move(join(building, shard.path), join(version, shard.path))
    if not exists(join(version, "faces.parquet")):
        storage.move(join(building, "faces.parquet"), join(version, "faces.parquet"))
    if not exists(join(version, "manifest.json")):
        write_atomic(join(version, "manifest.json"), manifest.to_json().encode())
    return version


def name_latest(out: str, manifest_id: str, plan_key: str) -> None:
    """`latest` names this version, and the plan that gives it counts as done."""
    write_atomic(join(out, "dataset", "latest"), f"{manifest_id}\n".encode())
    state = {"plan": plan_key, "manifest_id": manifest_id}
    write_atomic(join(out, "done", "version.json"), json.dumps(state).encode())


def latest_id(out: str) -> tuple[str, ...]:
    """The id of the version that `latest` names, if there is one."""
    uri = join(out, "dataset", "latest")
    return (latest_version(join(out, "dataset")),) if exists(uri) else ()


def finished(out: str, plan_key: str) -> str | None:
    """The version that this plan gave, if it is the latest and still stands there whole."""
    marker = join(out, "done", "version.json")
    if not exists(marker):
        return None
    state = read_state(marker, Published)
    version = join(out, "dataset", state["manifest_id"])
    if state["plan"] != plan_key or not exists(join(version, "manifest.json")):
        return None
    if latest_id(out) != (state["manifest_id"],):
        return None
    manifest = Manifest.read(version)
    complete = all(whole(version, shard) for shard in manifest.shards)
    return version if complete and exists(join(version, "faces.parquet")) else None


def whole(version: str, shard: Shard) -> bool:
    """Whether a shard stands there in its full size."""
    uri = join(version, shard.path)
    return exists(uri) and size(uri) == shard.byte_size


def size(uri: str) -> int:
    """A file's bytes."""
    system, path = filesystem(uri)
    return int(system.get_file_info(path).size)


class Tally:
    """Counts licences and consents while tables pass by."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {"licence": {}, "consent": {}}

    def watch(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The tables, counted."""
        for table in tables:
            for column, tally in self._counts.items():
                for value in pc.value_counts(table[column]).to_pylist():
                    tally[str(value["values"])] = tally.get(str(value["values"]), 0) + value["counts"]
            yield table

    def of(self, column: str) -> dict[str, int]:
        """Value -> faces, in order of value."""
        return dict(sorted(self._counts[column].items()))

    @staticmethod
    def counts(shards: Sequence[Shard]) -> dict[str, dict[str, int]]:
        """Faces and identities of each split."""
        return {
            split: {
                "faces": sum(shard.faces for shard in shards if shard.split == split),
                "identities": len({i for shard in shards if shard.split == split for i in shard.identities}),
            }
            for split in SPLITS
        }


def _known(out: str, manifest: Manifest) -> Manifest | None:
    """A version of the same content, made alike, that stands here already."""
    if not exists(join(out, "dataset")):
        return None
    return next((m for m in manifests(join(out, "dataset")) if m.content_id == manifest.content_id), None)
