"""A disk that is full and a storage that is away for a while cost a run nothing; for too long, they end it clearly."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from anchorface.models.checkpoint import read_description
from anchorface.records import DataError, StorageError
from anchorface.training.checkpoints.layout import complete, latest, name_of
from anchorface.training.courier import known_run
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.notes import Notes
from anchorface.training.recipes import Recipe
from anchorface.training.signals import Signals
from tests.disks import fill
from tests.training.disturbance import Disturbed

pytestmark = pytest.mark.line
HERE = Execution(workers=0, threads=1, patience=60.0)


def disturbed(recipe: Recipe, **given: object) -> Recipe:
    """A line at every step, a grid at every second, checkpoints after four and eight of eight steps."""
    return replace(recipe, losses=(Disturbed(**given),), log_every=4, grid_every=8)  # type: ignore[arg-type]


def clocks(run: Path) -> list[int]:
    return [json.loads(line)["clock"] for line in (run / "progress.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("what", ["full", "away"])
def test_what_waits_for_a_while_is_written_in_order_and_once(
    micro_recipe: Recipe, tiny_dataset: str, tmp_path: Path, request: pytest.FixtureRequest, what: str
) -> None:
    disk = request.getfixturevalue("small_disk") if what == "full" else tmp_path
    run, lines = disk / "run", list[str]()
    harm = str(disk if what == "full" else run)
    last = train(disturbed(micro_recipe, at=9, what=what, place=harm, seconds=4.0), tiny_dataset, run, HERE,
                 tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", report=lines.append)
    assert read_description(last).clock == 32
    assert [name_of(folder) for folder in complete(str(run))] == ["step-00000004", "step-00000008"]
    assert clocks(run) == [0, *range(4, 33, 4)]
    assert sorted(path.name for path in (run / "samples").iterdir()) == [f"step-{n:08d}.png" for n in (2, 4, 6, 8)]
    assert sum(f"{run} cannot be written since" in line for line in lines) == 1, lines
    assert sum(f"{run} can be written again after" in line for line in lines) == 1, lines
    assert sum("goes on at" in line or "training begins" in line for line in lines) == 1, lines
    known = known_run(run)
    assert known is not None
    client = MlflowClient(tracking_uri=known.uri)
    assert [point.step for point in client.get_metric_history(known.run_id, "loss")] == list(range(4, 33, 4))
    assert len(client.list_artifacts(known.run_id, "samples")) == 4
    assert len(client.list_artifacts(known.run_id, "checkpoints")) == 2


def test_a_disk_that_stays_full_ends_the_run_and_the_same_command_goes_on(
    micro_recipe: Recipe, tiny_dataset: str, small_disk: Path
) -> None:
    run, recipe = small_disk / "run", disturbed(micro_recipe, at=21, place=str(small_disk))
    with pytest.raises(StorageError, match=r"cannot be written since .* No space left.* start the same command again"):
        train(recipe, tiny_dataset, run, replace(HERE, patience=1.0), track=False)
    assert [name_of(folder) for folder in complete(str(run))] == ["step-00000004"]
    (small_disk / "ballast").unlink()
    last = train(recipe, tiny_dataset, run, HERE, track=False)
    assert read_description(last).clock == 32
    assert clocks(run)[-5:] == [16, *range(20, 33, 4)]


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_grid_that_cannot_be_written_costs_a_warning(micro_recipe: Recipe, tiny_dataset: str, run_folder: Path,
                                                       patience: float) -> None:
    run_folder.mkdir()
    (run_folder / "samples").write_text("in the way")
    lines: list[str] = []
    last = train(disturbed(micro_recipe, at=-1), tiny_dataset, run_folder, replace(HERE, patience=patience),
                 track=False, report=lines.append)
    assert read_description(last).clock == 32
    assert sum("the sample grid" in line and "is not kept" in line for line in lines) == 4, lines


def test_an_old_checkpoint_that_cannot_be_deleted_is_told_and_the_run_goes_on(
    micro_recipe: Recipe, tiny_dataset: str, small_disk: Path
) -> None:
    run, recipe = small_disk / "run", disturbed(micro_recipe, at=-1)
    recipe = replace(recipe, checkpoint_every=4, checkpoints_kept=1, grid_every=0, checkpoints_best=0)
    train(replace(recipe, positions=8), tiny_dataset, run, HERE, track=False)
    (old,) = complete(str(run))
    held, lines = Path(old) / "held", list[str]()
    held.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(held)], check=True)
    try:
        last = train(recipe, tiny_dataset, run, HERE, track=False, report=lines.append)
        assert complete(str(run)) == [last] == [latest(str(run))] and read_description(last).clock == 32
        assert any(f"{old} cannot be deleted" in line for line in lines), lines
        longer = train(replace(recipe, positions=40), tiny_dataset, run, HERE, track=False, report=lines.append)
        assert complete(str(run)) == [longer] and held.exists()
    finally:
        subprocess.run(["umount", "-l", str(held)], check=True)


def test_a_signal_on_a_full_disk_is_heard_when_there_is_room(small_disk: Path) -> None:
    """The wish to stop is a file, too; notes wait as it does."""
    notes, said = Notes(str(small_disk / "run")), list[str]()
    (small_disk / "run").mkdir()
    ballast = fill(small_disk)

    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1.0)
        notes.tell("one")
        notes.tell("two")
        assert notes.stop_asked() is None and notes.told() == []
        ballast.unlink()
        deadline = time.monotonic() + 20
        while notes.stop_asked() is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert notes.deliver() and notes.told() == ["one", "two"]

    with Signals(notes, said.append) as signals:
        signals.during(work)
    assert notes.stop_asked() == "SIGTERM" and len(said) == 1


@pytest.mark.usefixtures("ray_session")
def test_an_error_of_ours_on_one_rank_ends_the_run_without_another_attempt(
    micro_recipe: Recipe, tiny_dataset: str, run_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="a damaged shard"):
        train(disturbed(micro_recipe, at=15, what="raise", place=str(tmp_path / "shard")), tiny_dataset, run_folder,
              Execution(workers=2, threads=1, failures=3, feed="inline"), track=False)
    assert clocks(run_folder) == [0, 4, 8, 12]
