"""Runs are listed, shown and compared from what lies in their folders; one is trained for it, two are cut from it."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.records import ConfigurationError, StorageError
from anchorface.training.courier import known_run
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.run_folders import find, look
from anchorface.training.tracking import Tracker
from tests.golden.measure import DATASET
from tests.training.test_dummy_system import BATCH, STEPS, dummy_recipe

pytestmark = pytest.mark.line
POSITIONS = STEPS * BATCH


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["runs", *words], env={"COLUMNS": "400", "NO_COLOR": "1"})
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`first`: trained and tracked; `second`: half of it, at another rate, with validations, untracked."""
    folder = tmp_path_factory.mktemp("runs #1 50%25 what?")
    train(dummy_recipe(), DATASET, folder / "first", Execution(workers=0), report=lambda line: None)
    shutil.copytree(folder / "first" / "checkpoints", folder / "group" / "second" / "checkpoints")
    for number, (name, flow) in enumerate((("step-00000005", 0.25), ("step-00000010", 0.5))):
        place = folder / "group" / "second" / "checkpoints" / name / "checkpoint.json"
        said = json.loads(place.read_text())
        said["recipe"] |= {"learning_rate": 0.5, "positions": 2 * POSITIONS}
        said["extra"] |= {"validation": {"validation/flow": flow, "validation/likeness": 0.1 * number},
                          "branches": [{"clock": 10, "changed": {"learning_rate": [0.01, 0.5]}}], "skipped": [[12, 14]]}
        place.write_text(json.dumps(said))
    return folder


def test_mlflow_knows_what_the_run_was_told_how_it_ended_and_what_its_node_did(runs: Path) -> None:
    from mlflow import MlflowClient

    known = known_run(runs / "first")
    assert known is not None
    told = MlflowClient(tracking_uri=known.uri).get_run(known.run_id)
    assert told.info.status == "FINISHED"
    assert told.data.params["losses.distance.weight"] == "1.0" and told.data.params["positions"] == str(POSITIONS)
    assert told.data.tags["execution.workers"] == "0"
    assert {"loss", "distance", "samples_per_second", "system/0/cpu_utilization_percentage",
            "system/0/worker_memory_usage_megabytes", "system/0/disk_usage_percentage"} <= told.data.metrics.keys()
    assert told.data.metrics["system/0/worker_memory_usage_megabytes"] > 100
    assert [given.dataset.digest for given in told.inputs.dataset_inputs] == [told.data.tags["manifest"]]
    assert {path.name for path in runs.iterdir()} == {"first", "group", "mlflow.db", "mlflow-artifacts"}


def test_runs_are_found_and_told_from_their_folders_alone(runs: Path) -> None:
    first, second = (look(folder) for folder in find([str(runs)]))
    assert (first.recipe, first.clock, first.positions) == ("iconface_tiny", POSITIONS, POSITIONS)
    assert first.state == "finished"
    assert (first.newest, first.best, first.waiting, first.starts) == ("step-00000010", "step-00000010", 0, (0,))
    assert first.mlflow and first.last["loss"] > 0
    assert (second.clock, second.positions, second.state) == (POSITIONS, 2 * POSITIONS, "stopped")
    assert (second.newest, second.best, second.mlflow) == ("step-00000010", "step-00000005", "")
    place = runs / "group" / "second" / "checkpoints" / "step-00000010" / "checkpoint.json"
    said = place.read_text()
    place.write_text(json.dumps(json.loads(said) | {"extra": json.loads(said)["extra"] | {
        "best": {"metric": "likeness", "value": 0.1, "clock": 20}}}))
    assert look(second.folder).best == "step-00000010"
    place.write_text(said)


def test_the_list_says_how_far_and_what_is_best(runs: Path) -> None:
    status, text = run("list", str(runs))
    assert status == 0, text
    for part in ("group/second", "20 of 20", "20 of 40", "step-00000005", "finished", "stopped"):
        assert part in text
    assert "no run is there" in run("list", str(runs / "mlflow-artifacts"))[1]


def test_a_run_is_shown_with_what_it_was_told_and_its_validations(runs: Path) -> None:
    status, text = run("show", str(runs / "group" / "second"))
    assert status == 0, text
    for part in ("recipe.learning_rate │ 0.5", "execution.workers", "step-00000005 (best)", "validation/flow",
                 "at 10: learning_rate 0.01 → 0.5", "left out: 12 to 13"):
        assert part in text


def test_what_differs_is_shown_and_nothing_else(runs: Path) -> None:
    status, text = run("compare", str(runs / "first"), str(runs / "group" / "second"))
    assert status == 0, text
    assert "recipe.learning_rate │ 0.01 │ 0.5" in text and "recipe.feed.batch" not in text and "loss" in text
    assert run("compare", str(runs / "first"))[0] == 2


def test_a_run_at_work_is_running_and_a_dead_one_is_not(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "group" / "second", tmp_path / "run")
    lock = tmp_path / "run" / "lock.json"
    lock.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
    assert look(str(tmp_path / "run")).state == "running"
    lock.write_text(json.dumps({"host": socket.gethostname(), "process": 2**22 + 1}))
    assert look(str(tmp_path / "run")).state == "stopped"
    lock.write_text("")
    Tracker(tmp_path / "run").event("status", status="KILLED")
    assert look(str(tmp_path / "run")).state == "killed"


def test_a_folder_without_a_run_and_a_damaged_checkpoint_are_named(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="no run here"):
        look(str(tmp_path / "empty"))
    shutil.copytree(runs / "group" / "second", tmp_path / "runs" / "damaged")
    shutil.copytree(runs / "group" / "second", tmp_path / "runs" / "whole")
    (tmp_path / "runs" / "damaged" / "checkpoints" / "step-00000005" / "checkpoint.json").write_text("{")
    status, text = run("list", str(tmp_path / "runs"))
    assert status == 1 and "step-00000005/checkpoint.json" in text and "runs/whole" in text
    assert run("list", str(tmp_path / "nowhere"))[0] == 2


def test_a_run_that_was_never_tracked_is_not_sent(runs: Path) -> None:
    status, text = run("sync", str(runs / "group" / "second"))
    assert status == 2 and "never tracked" in text
    assert run("sync", str(runs / "first"))[1] == "0 lines sent"
    status, text = run("sync", str(runs / "first"), "--tracking", "http://me:s3cret@127.0.0.1:9")
    assert status == 2 and "not at http://127.0.0.1:9" in text and "s3cret" not in text


def test_a_run_that_fails_is_failed_in_mlflow_with_its_own_error(runs: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("in the way")
    known = known_run(runs / "first")
    assert known is not None
    with pytest.raises(StorageError, match="checkpoints"):
        train(dummy_recipe(), DATASET, tmp_path / "run", Execution(workers=0, patience=0.0),
              tracking_uri=known.uri, report=lambda line: None)
    failed = known_run(tmp_path / "run")
    assert failed is not None
    assert MlflowClient(tracking_uri=known.uri).get_run(failed.run_id).info.status == "FAILED"
    assert look(str(tmp_path / "run")).state == "failed"


def test_the_command_trains_without_tracking(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "run"
    sets = ("positions=2", "feed.batch=2", "precision=fp32", "grid_every=0", "checkpoint_every=2", "log_every=2",
            "validation.kept=0", "validation.trusted=0")
    words = ["train", DATASET, str(place), "--workers", "0", "--no-track", *(w for s in sets for w in ("--set", s))]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "step-00000001" in result.output.replace("\n", ""), result.output
    assert not list(place.glob("*track*")) and not (place / "run.json").exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]
    found = look(str(place))
    assert (found.state, found.mlflow, found.clock) == ("finished", "", 2)
