"""Dataset versions without what is erased.

In: `dataset/<id>/` of every version that holds an erased face. Out: a new version each, whose parent is the old id and
whose manifest says how many faces were `erased`; the old folder is gone whole. Tars without an erased face are moved as
they are, the others are written again; a tar whose faces are all gone is left out. `dataset/latest` moves along.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anchorface.pipelines.erasure.tables import without_subjects
from anchorface.pipelines.feed.table import forget
from anchorface.pipelines.versions.publish import Tally, latest_id, move, size, whole
from anchorface.pipelines.versions.tar import members, pack
from anchorface.records import storage
from anchorface.records.dataset import require_shard, require_table
from anchorface.records.lineage import code_hash, manifests
from anchorface.records.manifest import Manifest, Shard
from anchorface.records.storage import delete, exists, filesystem, join, read_table, write_atomic
from anchorface.records.table_stream import sha256_of, write_stream

FOLDER = "rewriting"


def versions_with(out: str, face_ids: frozenset[str]) -> list[str]:
    """The ids of the versions that hold one of these faces."""
    dataset = join(out, "dataset")
    if not exists(dataset):
        return []
    gone = pa.array(sorted(face_ids), pa.string())
    return [
        manifest.manifest_id for manifest in manifests(dataset)
        if pc.any(pc.is_in(_column(out, manifest.manifest_id, "face_id"), value_set=gone)).as_py()
    ]


def rewrite_version(out: str, manifest_id: str, face_ids: frozenset[str], subjects: frozenset[str]) -> str:
    """Replace a version by one without these faces; doing it again after a kill finishes it.

    Returns:
        The new version's id; empty if the old one was deleted by hand.

    Raises:
        DataError: a table or shard of it is not the one of its manifest; nothing damaged gets a new hash.
    """
    dataset = join(out, "dataset")
    old = join(dataset, manifest_id)
    if not exists(join(old, "manifest.json")):
        new = _successor(out, manifest_id)
        if new:
            _pass_on(out, manifest_id, new)
        delete(old)
        delete(join(out, FOLDER, manifest_id))
        return new
    building = join(out, FOLDER, manifest_id)
    described = join(building, "manifest.json")
    if not exists(described):
        write_atomic(described, _build(old, building, face_ids, subjects).to_json().encode())
    manifest = Manifest.read(building)
    move(building, dataset, manifest)
    _pass_on(out, manifest_id, manifest.manifest_id)
    # First the table, so that no reader maps it anew after it is forgotten.
    delete(join(old, "faces.parquet"))
    forget(Manifest.read(old).faces_sha256)
    # The manifest goes first: a folder without one is no version, and a second attempt knows how far this one came.
    delete(join(old, "manifest.json"))
    delete(old)
    delete(building)
    return manifest.manifest_id


def _build(old: str, building: str, face_ids: frozenset[str], subjects: frozenset[str]) -> Manifest:
    """The new version's files, all of them in `building`, and its manifest."""
    before = Manifest.read(old)
    require_table(old, before)
    schema = _schema(old)
    shards = [_rewrite_shard(old, building, shard, face_ids, schema) for shard in before.shards]
    kept = [shard for shard in shards if shard is not None]
    tally = Tally()
    tables = (read_table(_rows(building, shard)) for shard in kept)
    faces_sha256 = write_stream(join(building, "faces.parquet"), schema, tally.watch(tables))
    ancestors = {**before.extra.get("ancestors", {}), before.manifest_id: list(before.parents)}
    return replace(
        before, shards=tuple(kept), counts=tally.counts(kept), licences=tally.of("licence"),
        consents=tally.of("consent"), faces_sha256=faces_sha256, parents=(before.manifest_id,), code=code_hash(),
        settings=without_subjects(before.settings, subjects),
        extra={**before.extra, "erased": before.faces - sum(shard.faces for shard in kept), "ancestors": ancestors},
    )


def _rewrite_shard(old: str, building: str, shard: Shard, face_ids: frozenset[str], schema: pa.Schema) -> Shard | None:
    """A shard and its rows in `building`, without the faces; None if none is left."""
    rows = _shard_rows(old, shard.path)
    keep = pc.invert(pc.is_in(rows["face_id"], value_set=pa.array(sorted(face_ids), pa.string())))
    left = rows.filter(keep)
    if not len(left):
        return None
    target = join(building, shard.path)
    if len(left) < len(rows):
        require_shard(old, shard)
        content, places = pack(_others(join(old, shard.path), set(left["face_id"].to_pylist())))
        write_atomic(target, content)
        left = left.set_column(left.schema.get_field_index("offset"), "offset", pa.array([o for o, _ in places]))
        shard = replace(
            shard, faces=len(left), identities=tuple(pc.unique(left["identity"]).to_pylist()), byte_size=size(target),
            sha256=sha256_of(target),
        )
    elif whole(building, shard):
        require_shard(building, shard)
    else:
        require_shard(old, shard)
        storage.move(join(old, shard.path), target)
    write_stream(_rows(building, shard), schema, [left])
    return shard


def _others(uri: str, face_ids: set[str]) -> Iterator[tuple[str, bytes]]:
    return ((name, content) for name, content in members(uri) if name.rpartition(".")[0] in face_ids)


def _shard_rows(old: str, path: str) -> pa.Table:
    return pq.read_table(
        filesystem(join(old, "faces.parquet"))[1], filesystem=filesystem(old)[0], filters=[("shard", "==", path)])


def _rows(building: str, shard: Shard) -> str:
    return join(building, "rows", f"{shard.path.rpartition('/')[2]}.parquet")


def _schema(old: str) -> pa.Schema:
    system, path = filesystem(join(old, "faces.parquet"))
    with system.open_input_file(path) as file:
        return pq.read_schema(file)


def _column(out: str, manifest_id: str, name: str) -> pa.ChunkedArray:
    return read_table(join(out, "dataset", manifest_id, "faces.parquet"), (name,))[name]


def _successor(out: str, manifest_id: str) -> str:
    """The version that took a rewritten one's place; empty if somebody deleted the old one before."""
    found: list[Any] = [
        m.manifest_id for m in manifests(join(out, "dataset")) if manifest_id in m.parents and "erased" in m.extra]
    return found[0] if found else ""


def _pass_on(out: str, old: str, new: str) -> None:
    if latest_id(out) == (old,):
        write_atomic(join(out, "dataset", "latest"), f"{new}\n".encode())
