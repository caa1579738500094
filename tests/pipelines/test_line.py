"""Photographs to shards: what arrives, what is kept, and what a rerun, a killed run and Ray change (nothing)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import webdataset
from whole_line import run_line

from anchorface.faces.images import decode_jpeg
from anchorface.identity_index import IdentityIndex
from anchorface.pipelines.feed.dataset import CropReader, open_dataset
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.stage import dropped
from anchorface.pipelines.verify import version_checks
from anchorface.pipelines.versions.tar import members
from anchorface.records.checks import carry_out
from anchorface.records.errors import DataError
from anchorface.records.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]


def modified(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_photo_gives_its_faces_with_what_the_sidecar_says(line, corpus):
    rows = [json.loads(text) for text in (corpus / "metadata.jsonl").read_text().splitlines()]
    index = IdentityIndex.open(str(line.out / "index"))
    faces = index.faces(["uri", "subject", "age", "age_source", "yaw", "licence", "consent", "score"]).to_pylist()
    assert len(faces) == sum(len(row["faces"]) for row in rows)
    assert len(dropped(str(line.out))) == 0
    for row in rows:
        here = {f["subject"]: f for f in faces if f["uri"] == str(corpus / row["file"])}
        for said in row["faces"]:
            found = here[said["subject"]]
            assert found["age"] == pytest.approx(said["age"], abs=1e-3) and found["age_source"] == "given"
            assert found["yaw"] == pytest.approx(said["yaw"], abs=1e-3)
            assert (found["licence"], found["consent"]) == (row["licence"], row["consent"])


def test_no_identity_stands_on_two_sides(line):
    table = IdentityIndex.open(str(line.out / "index")).faces(["identity", "split", "subject", "photo_id"]).to_pylist()
    for key in ("identity", "subject"):
        sides = {}
        for row in table:
            sides.setdefault(row[key], set()).add(row["split"])
        assert all(len(split) == 1 for split in sides.values())
    assert {row["split"] for row in table} == {"train", "val", "test"}
    shard_sides = {}
    for shard in open_dataset(str(line.version)).manifest.shards:
        for identity in shard.identities:
            shard_sides.setdefault(identity, set()).add(shard.split)
    assert all(len(split) == 1 for split in shard_sides.values())


def test_a_person_with_one_photo_is_kept_for_training(line):
    dataset = open_dataset(str(line.version))
    names, counts = np.unique(dataset.columns["identity"], return_counts=True)
    held_out = set(dataset.columns["identity"][dataset.columns["split"] != "train"].tolist())
    assert all(counts[names.tolist().index(name)] > 1 for name in held_out)


def test_licence_and_consent_arrive_in_the_manifest(line):
    manifest = open_dataset(str(line.version)).manifest
    assert manifest.licences["CC BY 4.0"] == 5 and manifest.consents["signed 2026-03"] == 5
    assert sum(manifest.consents.values()) == sum(c["faces"] for c in manifest.counts.values())
    assert len(manifest.weights[line.embedder]) == 64
    assert manifest.manifest_id == line.version.name == (line.out / "dataset" / "latest").read_text().strip()


def test_webdataset_reads_the_shards(line):
    dataset = open_dataset(str(line.out / "dataset"))
    reader = CropReader(dataset)
    row = 0
    for shard in dataset.manifest.shards:
        read = webdataset.WebDataset(str(line.version / shard.path), shardshuffle=False, empty_check=False)
        samples = list(read)
        assert len(samples) == shard.faces
        for sample in samples:
            assert sample["__key__"] == dataset.columns["face_id"][row]
            assert json.loads(sample["json"])["identity"] == dataset.columns["identity"][row]
            assert sample["jpg"] == reader.jpeg(row)
            size = json.loads(sample["json"])["crop_size"]
            assert 112 <= size <= 160 and decode_jpeg(sample["jpg"]).shape == (size, size, 3)
            row += 1
        assert [len(content) for _, content in members(str(line.version / shard.path))][::2] == [
            len(sample["jpg"]) for sample in samples
        ]
    assert row == len(dataset)
    assert not [*filter(None, carry_out(version_checks(dataset.uri)))]


def test_faces_of_a_person_stand_side_by_side(line):
    names = open_dataset(str(line.version)).columns["identity"]
    changes = int((names[1:] != names[:-1]).sum()) + 1
    assert changes == len(set(names.tolist()))


def test_rerun_does_nothing(line):
    before = modified(line.out)
    version = run_line(line.source, line.out, line.embedder, concurrency=0)
    assert version == line.version and modified(line.out) == before


def test_changed_setting_redoes_and_leaves_the_old_version_alone(line, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(line.out, out)
    old = content(out / "dataset" / line.version.name)
    group(str(out), labels=True, splits=(0.5, 0.25, 0.25), seed=4)
    version = Path(shards(str(out), shard_bytes=150_000, concurrency=0))
    assert version.name != line.version.name
    assert content(out / "dataset" / line.version.name) == old
    assert open_dataset(str(out / "dataset")).manifest_id == version.name


def test_killed_run_resumes_to_the_same_bytes(line, tmp_path):
    out = tmp_path / "out"
    text = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1] + '/tests/pipelines')\n"
        "from whole_line import run_line\n"
        "run_line(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], 0)\n"
    )
    arguments = [sys.executable, "-c", text, str(ROOT), str(line.source), str(out), line.embedder]
    process = subprocess.Popen(arguments, cwd=ROOT)
    first = out / "done" / "find_faces" / "part-00000.json"
    limit = time.monotonic() + 240
    while not first.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert first.exists() and not (out / "done" / "find_faces" / "complete.json").exists()
    done = first.stat().st_mtime_ns

    version = run_line(line.source, out, line.embedder, concurrency=0)
    assert first.stat().st_mtime_ns == done
    assert content(out / "faces") == content(line.out / "faces")
    assert content(version) == content(line.version) and version.name == line.version.name
    assert not list(out.rglob("*.tmp")) and not (out / "building").exists()


def test_ray_workers_write_the_same_version(ray_session, line, tmp_path):
    version = run_line(line.source, tmp_path / "out", line.embedder, concurrency=2)
    assert version.name == line.version.name and content(version) == content(line.version)


def test_new_photo_redoes_its_part_alone(line, corpus, tmp_path):
    out, source = tmp_path / "out", tmp_path / "source"
    shutil.copytree(corpus, source)
    run_line(source, out, line.embedder, concurrency=0)
    before = modified(out / "faces")
    shutil.copy(source / "s000004" / "000.jpg", source / "s000004" / "copy.jpg")
    run_line(source, out, line.embedder, concurrency=0)
    assert modified(out / "faces") == before
    (causes,) = dropped(str(out)).to_pylist()
    assert causes["uri"].endswith("copy.jpg") and causes["cause"].endswith("s000004/000.jpg")


def test_unfinished_stage_is_named(tmp_path):
    with pytest.raises(DataError, match="has not finished"):
        find_faces(str(tmp_path), embedder="mobileface_mit_112")


def test_manifest_that_names_files_outside_its_folder_is_refused(line, tmp_path):
    text = (line.version / "manifest.json").read_text()
    manifest = Manifest.from_json(text)
    for path in ("../../etc/passwd", "/etc/passwd", "shards/../../x.tar"):
        (tmp_path / "manifest.json").write_text(text.replace(manifest.shards[0].path, path))
        with pytest.raises(DataError, match="inside its folder"):
            open_dataset(str(tmp_path))


def test_damaged_shard_is_named(line, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(line.version, copy)
    dataset = open_dataset(str(copy))
    path = copy / dataset.manifest.shards[0].path
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(DataError, match=path.name):
        CropReader(dataset).jpeg(0)
    damaged, = filter(None, carry_out(version_checks(dataset.uri)))
    assert damaged.place.endswith(path.name)
