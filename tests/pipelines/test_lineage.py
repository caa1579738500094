"""Versions: who came from whom, what changed between them, and that a rerun is never its own parent."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from anchorface.pipelines.group import group
from anchorface.pipelines.shards import shards
from anchorface.pipelines.versions.plan import plan_shards
from anchorface.records.errors import DataError
from anchorface.records.lineage import code_hash, diff, manifests, versions
from anchorface.records.manifest import Manifest
from anchorface.records.storage import read_table
from anchorface.records.table_stream import sha256_of, write_stream

SETTINGS = {"labels": True, "splits": (0.5, 0.25, 0.25)}


def built(out: Path) -> Path:
    return Path(shards(str(out), shard_bytes=150_000, concurrency=0))


@pytest.fixture(scope="module")
def family(line, tmp_path_factory) -> tuple[Path, list[str]]:
    """A workspace with two versions, the second with other splits; their ids, the elder first."""
    out = tmp_path_factory.mktemp("lineage") / "out"
    shutil.copytree(line.out, out)
    group(str(out), seed=7, **SETTINGS)
    return out, [line.version.name, built(out).name]


def test_a_version_names_the_one_before_as_its_parent(family):
    out, (first, second) = family
    found = versions(str(out / "dataset"))
    assert [(v.manifest_id, v.parents, v.depth, v.latest) for v in found] == [
        (first, (), 0, False), (second, (first,), 1, True)]
    assert found[1].manifest.code == code_hash() != ""


def test_a_rerun_is_not_its_own_parent_whatever_was_lost(line, family, tmp_path):
    out, (first, second) = family
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    (copy / "done" / "version.json").unlink()
    assert built(copy).name == second
    shutil.rmtree(copy / "dataset" / second / "shards")
    assert built(copy).name == second
    group(str(copy), seed=3, **SETTINGS)
    assert built(copy).name == first, "the same content, made alike, is the version that stands here already"
    assert (copy / "dataset" / "latest").read_text().strip() == first
    assert len(manifests(str(copy / "dataset"))) == 2


def test_a_changed_manifest_is_named(family, tmp_path):
    out, (first, _) = family
    copy = tmp_path / "dataset"
    shutil.copytree(out / "dataset", copy)
    path = copy / first / "manifest.json"
    path.write_text(path.read_text().replace('"group_faces": 64', '"group_faces": 65'))
    with pytest.raises(DataError, match="changed by hand"):
        versions(str(copy))
    with pytest.raises(DataError, match="no dataset"):
        versions(str(tmp_path / "nothing"))


def test_a_version_does_not_differ_from_itself(family):
    out, (first, _) = family
    same = diff(str(out / "dataset" / first), str(out / "dataset" / first))
    assert len(same.rows) == 0 and same.made == {} and set(same.counts().values()) == {0}


def test_other_splits_are_seen_as_splits_and_as_settings(family):
    out, ids = family
    found = diff(*(str(out / "dataset" / name) for name in ids))
    tables = [
        {row["face_id"]: row["split"] for row in read_table(f"{out}/dataset/{name}/faces.parquet").to_pylist()}
        for name in ids]
    moved = {face for face, split in tables[0].items() if tables[1][face] != split}
    assert moved and {row["face_id"] for row in found.rows.to_pylist() if row["change"] == "split"} == moved
    assert found.counts() == {"added": 0, "removed": 0, "moved": 0, "split": len(moved), "changed": 0}
    assert found.made["settings.group.seed"] == ("3", "7")


def test_every_kind_of_change_is_a_row(family, tmp_path):
    out, (first, _) = family
    old, new = out / "dataset" / first, tmp_path / "new"
    table = read_table(str(old / "faces.parquet"))
    rows = table.to_pylist()
    left, moved, aged, turned = rows[0], rows[1], rows[2], rows[3]
    moved["identity"], aged["age"] = "p999999", None
    turned["embedding"] = [-value for value in turned["embedding"]]
    rows[0] = left | {"face_id": "new-0"}
    changed = pa.Table.from_pylist(rows[::-1], schema=table.schema)
    new.mkdir()
    digest = write_stream(str(new / "faces.parquet"), table.schema, [changed.slice(0, 4), changed.slice(4)])
    assert digest == sha256_of(str(new / "faces.parquet"))
    assert read_table(str(new / "faces.parquet")).equals(changed)
    manifest = Manifest.from_json((old / "manifest.json").read_text())
    (new / "manifest.json").write_text(replace(manifest, code="other", faces_sha256=digest).to_json())

    found = diff(str(old), str(new))

    age = table["age"][2].as_py()
    assert sorted(tuple(row.values()) for row in found.rows.to_pylist()) == sorted([
        ("new-0", "added", "", "", ""), (left["face_id"], "removed", "", "", ""),
        (moved["face_id"], "moved", "identity", table["identity"][1].as_py(), "p999999"),
        (aged["face_id"], "changed", "age", str(age), "None"),
        (turned["face_id"], "changed", "embedding", "", "cosine -1.0000"),
    ])
    assert found.made == {"code": (manifest.code, "other")}


def test_the_plan_does_not_depend_on_the_order_of_rows(line):
    faces = read_table(str(line.version / "faces.parquet"), ("face_id", "identity", "split", "byte_size"))
    faces = faces.rename_columns(["face_id", "identity", "split", "crop_bytes"])
    plan = plan_shards(faces, 150_000)
    turned = plan_shards(faces.take(pa.array(range(len(faces)))[::-1]), 150_000)
    assert json.dumps({k: v.to_pylist() for k, v in plan.items()}) == json.dumps(
        {k: v.to_pylist() for k, v in turned.items()})
    planned = [face for ids in plan.values() for face in ids.to_pylist()]
    assert planned == faces["face_id"].to_pylist() and pc.count_distinct(faces["face_id"]).as_py() == len(planned)
