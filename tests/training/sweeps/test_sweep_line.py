"""Real sweeps: Ray Tune, processes that are killed, trials that fail, MLflow."""

import csv
import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from anchorface.cli.app import INTERRUPTED
from anchorface.models.checkpoint import EMA_FILE, load_adapters, read_description
from anchorface.training.courier import known_run
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe
from anchorface.training.run_folders import look
from anchorface.training.sweeps.run import sweep
from anchorface.training.sweeps.settings import Sweep
from anchorface.training.sweeps.trials import FAILED, FINISHED, STOPPED, Trials, curve, folder_of
from anchorface.training.tracking import PARENT, connect
from tests.processes import marked
from tests.training.sweeps.test_space import swept

pytestmark = pytest.mark.cluster
DRIVER = Path(__file__).resolve().parents[1] / "driver.py"
ALONE = Execution(workers=0, cpus=1.0, threads=1)


@dataclass(frozen=True)
class Command:
    """A sweep in a process of its own. log: what it prints. mark: of all its processes."""

    process: "subprocess.Popen[bytes]"
    log: Path
    mark: str

    def ended(self, status: int, seconds: float = 400) -> str:
        """What it has said, when it has ended so and none of its processes lives."""
        found = self.process.wait(seconds)
        assert found == status, self.log.read_text()
        self.gone()
        return self.log.read_text()

    def until(self, true: Callable[[], bool], seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)

    def gone(self) -> None:
        deadline = time.monotonic() + 60
        while left := marked("MARK", self.mark):
            assert time.monotonic() < deadline, left
            time.sleep(0.5)


def begin(folder: Path, arguments: dict[str, Any]) -> Command:
    mark = uuid.uuid4().hex
    place, log = folder / f"{mark}.arguments", folder / f"{mark}.log"
    place.write_bytes(pickle.dumps({"work": sweep, "folder": str(folder / "sweep"), "execution": ALONE, **arguments}))
    with open(log, "wb") as file:
        return Command(subprocess.Popen(
            [sys.executable, str(DRIVER), str(place)], cwd=DRIVER.parents[2], stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(DRIVER.parents[2]), "MARK": mark}), log, mark)


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "sweep" / "trials.csv").read_text().splitlines()))


def averages(run: str) -> dict[str, bytes]:
    """The averaged adapters of a finished run, by name."""
    place = Path(run, "checkpoints", look(run).newest)
    found = load_adapters(str(place / EMA_FILE), read_description(str(place)))
    return {name: value.numpy().tobytes() for name, value in found.items()}


def test_a_sweep_of_eight_killed_in_the_middle_has_every_trial_once_and_the_best(
    swept_recipe: Recipe, tiny_dataset: str, tmp_path: Path
) -> None:
    wanted = swept(swept_recipe, "learning_rate=1e-3,1e-2", "weight_decay=0,0.1", "anchor_alone=0,0.5")
    arguments = {"wanted": wanted, "dataset_uri": tiny_dataset}
    folder = str(tmp_path / "sweep")
    first = begin(tmp_path, arguments)

    def in_the_middle() -> bool:
        """Some are over, and one that is not was validated and is not at its end."""
        trials = Trials(wanted, folder) if (tmp_path / "sweep" / "trials").exists() else None
        return trials is not None and len(trials.settled()) >= 2 and any(
            not trial.state and 8 <= max(curve(wanted, folder_of(folder, number)), default=0) < 32
            for number, trial in trials.known.items())

    first.until(in_the_middle)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    first.gone()
    before = Trials(wanted, folder)
    over = {trial.number for trial in before.settled()}
    half = [trial.number for trial in before.known.values() if not trial.state]
    assert len(over) >= 2 and half and not (tmp_path / "sweep" / "trials.csv").exists()

    said = begin(tmp_path, arguments).ended(0)
    table = rows(tmp_path)
    assert sorted(int(row["trial"]) for row in table) == list(range(8))
    assert {(row["learning_rate"], row["weight_decay"], row["anchor_alone"]) for row in table} == {
        (rate, decay, alone) for rate in ("1e-3", "1e-2") for decay in ("0", "0.1") for alone in ("0", "0.5")}
    runs = [look(folder_of(folder, number)) for number in range(8)]
    assert all(row["state"] == FINISHED and row["samples"] == "32" for row in table)
    assert all(len(runs[number].starts) == 1 for number in range(8) if number not in half), "none is trained twice"
    assert all(f"trial {number}: " not in said for number in over)
    values = {number: min(one.validation["validation/flow"] for one in run.checkpoints)
              for number, run in enumerate(runs)}
    assert {int(row["trial"]): float(row["flow"]) for row in table} == values
    assert [float(row["flow"]) for row in table] == sorted(float(row["flow"]) for row in table)
    best = runs[int(table[0]["trial"])]
    assert float(table[0]["flow"]) == min(values.values()) and table[0]["checkpoint"] == best.best
    assert (tmp_path / "sweep" / "trials.png").read_bytes()[:4] == b"\x89PNG"

    taken_up = half[0]
    calm = tmp_path / "calm"
    train(wanted.recipe_at(wanted.points[taken_up]), tiny_dataset, calm, ALONE, track=False, report=lambda line: None)
    assert averages(str(calm)) == averages(folder_of(folder, taken_up)), "the killed trial's weights, bit for bit"

    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "anchorface"]
    found = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    (above,) = [run for run in found.values() if PARENT not in run.data.tags]
    below = [run for run in found.values() if run.data.tags.get(PARENT) == above.info.run_id]
    known = {known_run(folder_of(folder, number)) for number in range(8)}
    assert {one.run_id for one in known if one} <= {run.info.run_id for run in below}
    assert all(found[one.run_id].info.status == "FINISHED" for one in known if one)
    assert above.info.status == "FINISHED" and above.data.metrics["best/flow"] == float(table[0]["flow"])
    assert {file.path for file in client.list_artifacts(above.info.run_id)} == {"trials.csv", "trials.md", "trials.png"}


def test_halving_a_signal_and_a_failing_trial_leave_rows_and_the_same_command_goes_on(
    swept_recipe: Recipe, tiny_dataset: str, tmp_path: Path
) -> None:
    """Six trials by random search, of which the first fails by itself: a file stands where its checkpoints would, and
    nobody waits for it to go."""
    recipe = replace(swept_recipe, positions=96)
    wanted = swept(recipe, "learning_rate=1e-5..1e-2:log", search="random", trials=6, asha=True, reduction=2.0)
    folder = str(tmp_path / "sweep")
    Path(folder_of(folder, 0)).mkdir(parents=True)
    Path(folder_of(folder, 0), "checkpoints").write_text("in the way")
    arguments = {"wanted": wanted, "dataset_uri": tiny_dataset, "track": False,
                 "execution": replace(ALONE, patience=0.0)}
    first = begin(tmp_path, arguments)
    first.until(lambda: any(Path(folder_of(folder, number), "progress.jsonl").exists() for number in range(1, 6)))
    first.process.send_signal(signal.SIGINT)
    assert "the same command goes on" in first.ended(INTERRUPTED)
    begun = [number for number in range(1, 6) if Path(folder_of(folder, number), "progress.jsonl").exists()]
    assert all(look(folder_of(folder, number)).checkpoints for number in begun), "each has ended with a checkpoint"

    begin(tmp_path, arguments).ended(0)
    table = {int(row["trial"]): row for row in rows(tmp_path)}
    assert sorted(table) == list(range(6)) and table[0]["state"] == FAILED and table[0]["reason"]
    states = [table[number]["state"] for number in range(1, 6)]
    assert set(states) == {FINISHED, STOPPED}, states
    for number, state in enumerate(states, 1):
        assert (int(table[number]["samples"]) < 96) == (state == STOPPED)
        assert look(folder_of(folder, number)).newest, "a stopped trial is a run that can go on"
    best = min((row for row in table.values() if row["flow"]), key=lambda row: float(row["flow"]))
    assert best["state"] == FINISHED and rows(tmp_path)[0] == best


def test_tasks_of_an_array_make_the_sweep_and_its_table_together(
    swept_recipe: Recipe, tiny_dataset: str, tmp_path: Path
) -> None:
    wanted: Sweep = swept(replace(swept_recipe, positions=16), "learning_rate=1e-3,1e-2")
    started = [begin(tmp_path, {"wanted": wanted, "dataset_uri": tiny_dataset, "only": number}) for number in range(2)]
    for command in started:
        command.ended(0)
    table = rows(tmp_path)
    assert [row["state"] for row in table] == [FINISHED, FINISHED]
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "anchorface"]
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == 3 and sum(PARENT in run.data.tags for run in found) == 2, "one run above both"
