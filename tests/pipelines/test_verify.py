"""Damage is seen when it is read: a flipped bit anywhere, never blessed by an erasure, and named by `verify`."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.lance_store import WRITING
from anchorface.models.checkpoint import ADAPTER_FILE, read_description, write_adapter, write_description
from anchorface.pipelines.erasure.erase import erase, settle
from anchorface.pipelines.erasure.person import by_identity
from anchorface.pipelines.erasure.rows import identity_rows
from anchorface.pipelines.feed.dataset import CropReader, open_dataset
from anchorface.pipelines.group import CHOICES, group
from anchorface.pipelines.stages import stage
from anchorface.records import rng
from anchorface.records.dataset import DatasetVersion
from anchorface.records.errors import DataError

FLIPS = 43


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture
def out(line, tmp_path: Path) -> Path:
    """A copy of the finished workspace."""
    shutil.copytree(line.out, tmp_path / "out")
    return tmp_path / "out"


def test_every_flipped_bit_of_a_shard_is_an_error_that_names_it(out: Path, line) -> None:
    folder = out / "dataset" / line.version.name
    dataset, version = open_dataset(str(folder)), DatasetVersion.open(str(folder))
    shard = dataset.manifest.shards[0]
    path, row = folder / shard.path, next(row for row in version.rows() if row["shard"] == shard.path)
    number = dataset.columns["face_id"].tolist().index(row["face_id"])
    whole = path.read_bytes()
    assert CropReader(dataset).jpeg(number) == version.crop_bytes(row)
    for bit in rng(0, "flips", 0).integers(0, len(whole) * 8, FLIPS):
        flip(path, int(bit))
        with pytest.raises(DataError, match=path.name):
            CropReader(dataset).jpeg(number)
        with pytest.raises(DataError, match=path.name):
            version.crop_bytes(row)
        path.write_bytes(whole)
    assert CropReader(dataset).jpeg(number) == version.crop_bytes(row)


def test_an_erasure_never_gives_a_damaged_shard_a_new_hash(out: Path, line) -> None:
    name = identity_rows(str(out))[0]["identity"]
    folder = out / "dataset" / line.version.name
    shard = next(shard for shard in open_dataset(str(folder)).manifest.shards if name in shard.identities)
    whole = (folder / shard.path).read_bytes()
    flip(folder / shard.path, 8 * 700)
    with pytest.raises(DataError, match=shard.path):
        erase(str(out), by_identity(str(out), [name]))
    assert [path.name for path in (out / "dataset").glob("*/manifest.json")] == ["manifest.json"]
    assert (folder / "manifest.json").exists()
    (folder / shard.path).write_bytes(whole)  # copied again, as the error says: then the erasure goes on
    assert len(settle(str(out))) == 1 and not folder.exists()


def verify(place: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", str(place)], env={"COLUMNS": "400", "NO_COLOR": "1"})
    return result.exit_code, result.output


def test_verify_reads_everything_and_says_what_to_do(out: Path, line, tmp_path: Path) -> None:
    status, text = verify(out)
    assert status == 0 and "all of them whole" in text
    folder = out / "dataset" / line.version.name
    damaged = [
        next((out / "faces").glob("*.parquet")), next((out / "photos").glob("*.parquet")), folder / "faces.parquet",
        min((folder / "shards").glob("*.tar")), out / "identities" / "report.json",
    ]
    for path in damaged:
        flip(path, 8 * (path.stat().st_size // 2))
    for path in (out / "done" / "group").glob("part-*.json"):
        path.write_text("{")
    damaged += [*(out / "done" / "group").glob("part-*.json")]
    status, text = verify(out)
    lines = [line for line in text.splitlines() if any(str(path) in line for path in damaged)]
    assert status == 1 and len(lines) == len(damaged) - 1  # report.json: its marker is gone
    assert all("again" in line or "run `shards`" in line for line in lines)
    status, text = verify(folder)
    assert status == 1 and "faces.parquet" in text
    status, text = verify(tmp_path)
    assert status == 2 and "no workspace" in text


def test_an_index_is_looked_at_once_it_is_finished(out: Path) -> None:
    shutil.rmtree(out / "index" / "faces.lance")
    status, text = verify(out)
    assert status == 1 and "no face index here" in text
    shutil.rmtree(out / "done" / "group")
    status, text = verify(out)
    assert status == 0 and "no face index here" not in text


def test_a_version_is_looked_at_once_it_is_published(out: Path, line) -> None:
    manifest = out / "dataset" / line.version.name / "manifest.json"
    (out / "dataset" / "f00d" / "shards").mkdir(parents=True)
    status, text = verify(out)
    assert status == 1 and "f00d/manifest.json" in text.replace("\n", "")
    (out / "building" / "shards").mkdir(parents=True)
    status, text = verify(out)
    assert status == 0 and "f00d" not in text
    manifest.unlink()
    status, text = verify(out)  # `latest` names it, building or not
    assert status == 1 and line.version.name in text.replace("\n", "")


@pytest.mark.parametrize("cut", ["_versions/*.manifest", "data/*.lance"])
def test_what_a_power_cut_leaves_of_an_index_is_made_anew(out: Path, cut: str) -> None:
    whole = IdentityIndex.open(str(out / "index"))
    face_ids = whole.faces()["face_id"].to_pylist()
    before, settings = whole.crops(face_ids), stage.settings(str(out), "group")
    chosen = {name: settings[name] for name in CHOICES}
    shutil.rmtree(out / "done" / "group")
    (out / "index" / WRITING).write_text("the machine's run before this one")
    for path in (out / "index").glob(f"*/{cut}"):
        path.write_bytes(b"")
    group(str(out), **chosen)
    assert IdentityIndex.open(str(out / "index")).crops(face_ids) == before


def test_verify_reads_checkpoints(tmp_path: Path) -> None:
    golden = next((Path(__file__).parents[1] / "golden" / "run" / "checkpoints").iterdir())
    run, folder = tmp_path / "run", tmp_path / "run" / "checkpoints" / "step-00000005"
    write_adapter(folder, {"weight": torch.ones(8, 8)})
    weights = folder / ADAPTER_FILE
    said = {"bytes": weights.stat().st_size, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    write_description(folder, replace(read_description(golden), extra={"state": {"files": {ADAPTER_FILE: said}}}))
    for place in (run, folder, golden):
        status, text = verify(place)
        assert status == 0 and "all of them whole" in text
    flip(weights, 8 * (weights.stat().st_size - 1))
    status, text = verify(run)
    assert status == 1 and weights.name in text and "delete this checkpoint" in text
