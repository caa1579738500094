"""A person is erased while a run trains on her: it is refused by name, or ends the run; nothing of hers stays."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from anchorface.pipelines.erasure.erase import erase
from anchorface.pipelines.erasure.person import by_identity
from anchorface.pipelines.erasure.rows import identity_rows
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.records.errors import ConfigurationError
from anchorface.records.storage import list_files, read_table, write_atomic
from anchorface.records.uses import noted
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe
from tests.forked import Forked


def train_there(recipe: Recipe, dataset: str, run: str) -> None:
    train(recipe, dataset, run, Execution(workers=0, threads=1), track=False, report=print)


@pytest.mark.line
@pytest.mark.timeout(300)
def test_who_is_erased_while_a_run_trains_is_in_nothing_that_it_leaves(
    tiny_dataset: str, micro_recipe: Recipe, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(Path(tiny_dataset).parents[1], tmp_path / "out"))
    shutil.rmtree(out / "uses", ignore_errors=True)  # the copy knows nothing of other tests' runs
    run, log = tmp_path / "run", tmp_path / "run.log"
    recipe = replace(micro_recipe, positions=400_000, grid_every=8, checkpoint_every=8)
    process = Forked(log, train_there, recipe, str(out / "dataset"), str(run))
    while not list(run.glob("samples/*.png")) or not list(run.glob("checkpoints/*/checkpoint.json")):
        assert process.returncode is None, log.read_text()
        time.sleep(0.2)
    trained = {row["identity"]: row["face_ids"] for row in identity_rows(str(out))}
    split = read_table(str(out / "identities" / "part-00000.parquet"), ("identity", "split")).to_pylist()
    name = next(row["identity"] for row in split if row["split"] == "train")
    rows = [row for uri in list_files(str(out / "faces")) for row in read_table(uri).to_pylist()
            if row["face_id"] in trained[name]]
    selection = by_identity(str(out), [name])

    with pytest.raises(ConfigurationError, match=rf"in use: train on .*, process {process.pid}, since"):
        erase(str(out), selection)
    report = erase(str(out), selection, stop=True)

    assert process.wait(60) != 0 and "Interrupted" in log.read_text()
    needles = [row["crop"] for row in rows] + [row["face_id"].encode() for row in rows]
    assert len(rows) == len(trained[name]) > 0
    for path in [*out.rglob("*"), *run.rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert not any(needle in content for needle in needles), path
    assert not list(run.glob("samples/*"))
    (saw,) = [said for said in report["runs"] if said["kind"] == "training"]
    assert saw["folder"] == str(run) and saw["checkpoints"]


@pytest.mark.line
def test_no_training_begins_on_a_version_that_is_being_erased_from(
    tiny_dataset: str, micro_recipe: Recipe, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(Path(tiny_dataset).parents[1], tmp_path / "out"))
    version = open_dataset(str(out / "dataset")).manifest_id
    write_atomic(str(out / "erased" / "pending" / "one.json"),
                 json.dumps({"erasure_id": "one", "versions": [version]}).encode())
    with pytest.raises(ConfigurationError, match=rf"faces of version {version} are being erased \(erasure one\)"):
        train_there(micro_recipe, str(out / "dataset"), str(tmp_path / "run"))
    assert str(tmp_path / "run") in [use.place for use in noted(str(out))], "the erasure sees that it was there"
