"""Two Ray Train workers with ZeRO-2: undisturbed, and with a worker killed in the middle."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from ray.train.v2._internal.execution.scaling_policy import create_scaling_policy

from anchorface.models.checkpoint import read_description
from anchorface.models.weights import load
from anchorface.records import CheckpointError, ConfigurationError
from anchorface.training.checkpoints.layout import complete, latest, name_of
from anchorface.training.execution import Execution
from anchorface.training.job import Job
from anchorface.training.launch import train, trainer
from anchorface.training.recipes import Recipe

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("ray_session")]
POSITIONS, EVERY = 120, 24


@dataclass
class Run:
    """A finished run: its last checkpoint, its progress lines as shown, and the pids killed in it."""

    folder: Path
    last: Path
    lines: list[str]
    killed: list[int] = field(default_factory=list)


def kill_rank_0_after_first_checkpoint(folder: Path, killed: list[int]) -> None:
    """SIGKILL the worker that wrote the first line of progress, as soon as a checkpoint is complete."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not complete(str(folder)):
        time.sleep(0.01)
    pid = json.loads((folder / "progress.jsonl").read_text().splitlines()[0])["pid"]
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


@pytest.fixture(scope="module")
def recipe(micro_recipe: Recipe) -> Recipe:
    return replace(micro_recipe, positions=POSITIONS, checkpoint_every=EVERY, checkpoints_kept=3, log_every=EVERY,
                   grid_every=POSITIONS, cooldown=30)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tiny_dataset: str, runs: Path) -> Run:
    lines: list[str] = []
    last = train(recipe, tiny_dataset, runs / "undisturbed", Execution(threads=1), report=lines.append)
    return Run(runs / "undisturbed", Path(last), lines)


@pytest.fixture(scope="module")
def disturbed(recipe: Recipe, tiny_dataset: str, runs: Path) -> Iterator[Run]:
    folder, lines, killed = runs / "disturbed", [], []
    killer = threading.Thread(target=kill_rank_0_after_first_checkpoint, args=(folder, killed))
    killer.start()
    last = train(recipe, tiny_dataset, folder, Execution(threads=1), report=lines.append)
    killer.join()
    yield Run(folder, Path(last), lines, killed)


def test_a_killed_worker_costs_no_position_and_no_bit(undisturbed: Run, disturbed: Run) -> None:
    assert len(disturbed.killed) == 1
    starts = [line for line in disturbed.lines if "goes on" in line]
    assert starts, disturbed.lines
    calm, shaken = read_description(undisturbed.last), read_description(disturbed.last)
    assert calm.clock == shaken.clock == POSITIONS
    assert calm.digest == shaken.digest
    for file in ("adapter.safetensors", "ema.safetensors"):
        expected, found = (load(run.last / file)[0] for run in (undisturbed, disturbed))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected), file


def test_only_the_newest_checkpoints_stay(undisturbed: Run) -> None:
    steps = [name_of(path) for path in complete(str(undisturbed.folder))]
    assert steps == ["step-00000018", "step-00000024", "step-00000030"]
    assert sorted(path.name for path in (undisturbed.folder / "checkpoints").iterdir()) == steps


def test_progress_says_how_far_how_well_how_fast_how_long(undisturbed: Run) -> None:
    shown = next(line for line in undisturbed.lines if "120/120" in line)
    for part in ("120/120 samples", "loss", "samples/s", "left"):
        assert part in shown


def test_mlflow_holds_recipe_manifest_git_metrics_pictures_and_checkpoint(
    undisturbed: Run, disturbed: Run, tiny_dataset: str
) -> None:
    from mlflow import MlflowClient

    note = json.loads((undisturbed.folder / "run.json").read_text())
    client = MlflowClient(tracking_uri=note["uri"])
    run = client.get_run(note["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["feed.batch"] == "4"
    assert run.data.params["losses.identity.hard"] == "0.25"
    assert run.data.tags["manifest"] == Path(tiny_dataset).name
    assert {"git.commit", "git.dirty", "checkpoint"} <= run.data.tags.keys()
    clocks = [m.step for m in client.get_metric_history(note["run_id"], "loss")]
    assert clocks == [24, 48, 72, 96, 120]
    assert {"flow", "samples_per_second", "learning_rate", "sample/psnr"} <= run.data.metrics.keys()
    assert [a.path for a in client.list_artifacts(note["run_id"], "samples")] == ["samples/step-00000030.png"]
    experiment = client.get_experiment(run.info.experiment_id)
    assert len(client.search_runs([experiment.experiment_id])) == 2
    resumed = json.loads((disturbed.folder / "run.json").read_text())["run_id"]
    assert {m.step for m in client.get_metric_history(resumed, "loss")} == {24, 48, 72, 96, 120}


def test_the_same_command_again_does_nothing(undisturbed: Run, recipe: Recipe, tiny_dataset: str) -> None:
    before = undisturbed.last.stat().st_mtime_ns
    assert train(recipe, tiny_dataset, undisturbed.folder, track=False) == str(undisturbed.last)
    assert undisturbed.last.stat().st_mtime_ns == before


def test_another_recipe_in_the_same_folder_is_refused(undisturbed: Run, recipe: Recipe, tiny_dataset: str) -> None:
    other = replace(recipe, sigma_sampler="uniform")
    with pytest.raises(CheckpointError, match=r"sigma_sampler is 'logit-normal' there and 'uniform' here"):
        train(other, tiny_dataset, undisturbed.folder, track=False)
    assert latest(str(undisturbed.folder)) == str(undisturbed.last)


def test_more_workers_than_the_machine_has_are_refused_at_once(
    recipe: Recipe, tiny_dataset: str, run_folder: Path
) -> None:
    with pytest.raises(ConfigurationError, match="need 129 CPUs, and Ray has 2"):
        train(recipe, tiny_dataset, run_folder, Execution(workers=2, cpus=64), track=False)
    with pytest.raises(ConfigurationError, match=r"need 3 CPUs, 1\.5 at a time on one node, and Ray has 2: "):
        train(recipe, tiny_dataset, run_folder, Execution(workers=3, least_workers=2, cpus=1), track=False)


def test_ray_finds_room_for_an_elastic_runs_workers_and_their_feed(recipe: Recipe, run_folder: Path) -> None:
    job = Job(recipe=recipe, dataset="", manifest_id="", run_folder=str(run_folder),
              execution=Execution(workers=2, least_workers=1))
    policy = create_scaling_policy(trainer(job).scaling_config)
    assert [policy._count_possible_workers({node: {"CPU": 1.0} for node in nodes}) for nodes in ("a", "ab")] == [1, 2]
