"""Promises of work on a real Slurm of several nodes: the verb's own status, nothing left, the same run after every end.

`make cluster-test`: minutes, and on a machine with Debian's slurm-wlm and munge.
"""

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from anchorface.infra.launch.resources import Resources
from anchorface.infra.launch.slurm import Slurm
from anchorface.infra.launch.submission import Phase, Submission
from anchorface.infra.launch.work import Code, Work
from anchorface.models.checkpoint import read_description
from anchorface.records import ConfigurationError, LauncherError
from anchorface.training.checkpoints.layout import latest
from tests.infra.launch.slurm_cluster import ask, until

pytestmark = pytest.mark.cluster
SETTINGS = ("feed.batch=4", "checkpoint_every=16", "grid_every=0", "precision=fp32", "log_every=4",
            "validation.samples=2", "validation.pictures=1", "validation.steps=1")
POSITIONS = 96
WEIGHTS = ("adapter.safetensors", "ema.safetensors")


def work(*command: str, folder: Path, name: str = "train-0a1b2c", array: tuple[tuple[str, ...], ...] = (),
         **needs: object) -> Work:
    return Work(name=name, command=command, folder=str(folder), array=array,
                code=Code(commit="0" * 40, tree="a", changed=()),
                resources=Resources(**{"cpus": 2, **needs}))  # type: ignore[arg-type]


def train(dataset: str, run: Path) -> tuple[str, ...]:
    settings = [word for each in (*SETTINGS, f"positions={POSITIONS}") for word in ("--set", each)]
    return ("train", dataset, str(run), "--recipe", "iconface_tiny", "--workers", "2", "--threads", "1", "--no-track",
            *settings)


def weights(run: Path) -> list[bytes]:
    newest = latest(str(run))
    assert newest is not None and read_description(newest).clock == POSITIONS
    return [Path(newest, name).read_bytes() for name in WEIGHTS]


def over(submission: Submission, seconds: float = 1500) -> Phase:
    until(lambda: Slurm().state(submission).phase.over, seconds)
    return Slurm().state(submission).phase


def trains(submission: Submission, run: Path, least: int = 1) -> None:
    """Wait until a run has written a checkpoint, and goes on."""
    def holds() -> bool:
        phase = Slurm().state(submission).phase
        assert not phase.over, said(submission)
        newest = latest(str(run)) if run.exists() else None
        return phase == Phase.RUNNING and newest is not None and read_description(newest).clock >= least

    until(holds, 900)


def said(submission: Submission) -> str:
    return "\n".join(Slurm().log(submission, False))[-6000:]


def left(submission: Submission) -> list[str]:
    """Processes of a job that live."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("SLURM_JOB_ID") == submission.id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline())[:80])
    return found


@pytest.fixture(scope="module")
def undisturbed(tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The weights of a run by the command itself, without Slurm."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    subprocess.run([sys.executable, "-m", "anchorface", *train(tiny_dataset, run)], check=True, timeout=900)
    return weights(run)


def test_training_on_two_nodes_requeued_in_the_middle_and_preempted_has_the_weights_of_an_undisturbed_run(
    slurm: Path, tiny_dataset: str, undisturbed: list[bytes], tmp_path: Path
) -> None:
    run, launcher = tmp_path / "run", Slurm()
    made = work(*train(tiny_dataset, run), folder=tmp_path, nodes=2, cpus=8, queue="low")
    launcher.ready(made)
    submission = launcher.submit(made)
    trains(submission, run)
    ask("scontrol", "requeue", submission.id)
    until(lambda: launcher.state(submission).phase == Phase.WAITING, 200)
    reached = read_description(str(latest(str(run)))).clock
    until(lambda: left(submission) == [], 60)
    trains(submission, run, reached + 4)
    higher = ask("sbatch", "--parsable", "--partition=high", "--nodes=2", "--cpus-per-task=8", "--output=/dev/null",
                 "--wrap=sleep 5")
    until(lambda: f"JobId={higher} " in ask("scontrol", "-o", "show", "job", higher)
          and "JobState=COMPLETED" in ask("scontrol", "-o", "show", "job", higher), 300)
    assert over(submission) == Phase.SUCCEEDED, said(submission)
    assert "begun again 2 times" in launcher.state(submission).detail
    assert said(submission).count("the run ended in good order") == 2
    assert weights(run) == undisturbed
    until(lambda: left(submission) == [], 60)


def test_a_time_limit_ends_in_good_order_and_the_run_goes_on(
    slurm: Path, tiny_dataset: str, undisturbed: list[bytes], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    submission = Slurm().submit(work(*train(tiny_dataset, run), folder=tmp_path, minutes=3))
    assert over(submission) == Phase.SUCCEEDED, said(submission)
    assert weights(run) == undisturbed


def test_two_jobs_at_once_do_not_see_each_other_and_one_that_is_cancelled_leaves_nothing(
    slurm: Path, tiny_dataset: str, undisturbed: list[bytes], tmp_path: Path
) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    first, second = (
        Slurm().submit(work(*train(tiny_dataset, run), folder=tmp_path, name=f"train-{number:06x}", nodes=2))
        for number, run in enumerate(runs))
    trains(first, runs[0])
    trains(second, runs[1])
    Slurm().cancel(first)
    assert Slurm().state(first).phase == Phase.CANCELLED
    until(lambda: left(first) == [], 60)
    assert over(second) == Phase.SUCCEEDED, said(second)
    assert weights(runs[1]) == undisturbed
    until(lambda: left(second) == [], 60)


def test_a_job_that_fails_has_the_status_of_the_work(slurm: Path, tmp_path: Path) -> None:
    submission = Slurm().submit(work("train", str(tmp_path / "nowhere"), "run", folder=tmp_path))
    assert over(submission) == Phase.FAILED
    assert "exit status 2" in Slurm().state(submission).detail and "nowhere" in said(submission)


def test_an_array_has_a_task_for_each_command(slurm: Path, tmp_path: Path) -> None:
    commands = (*(("restore", f"checkpoint {number}", "in", "out") for number in range(2)), ("train", "--help"))
    submission = Slurm().submit(work(*commands[0], folder=tmp_path, array=commands))
    assert submission.tasks == 3 and over(submission) == Phase.FAILED
    assert "2 of 3 tasks" in Slurm().state(submission).detail
    text = "\n".join(Slurm().log(submission, False))
    assert "checkpoint 0" in text and "checkpoint 1" in text and "Usage" in text


@pytest.mark.parametrize(("needs", "said"), [
    ({"queue": "nowhere"}, "--queue nowhere: Slurm has no such partition; it has high, low"),
    ({"gpus": 3}, "--gpus 3: no node of low has more than 2"),
    ({"nodes": 4}, "not available; nodes of low: 1 of 8 CPUs"),
    ({"cpus": 64}, "not available; nodes of low"),
    ({"memory_gib": 500}, "not available; nodes of low"),
    ({"queue": "high", "nodes": 3}, "a job may have 1-2 of them"),
    ({"queue": "high", "minutes": 90}, "--minutes 90: high gives at most 60"),
    ({"image": "none.sif"}, "--image none.sif: there is no such file"),
])
def test_what_slurm_would_never_start_is_refused_before(
    needs: dict[str, object], said: str, slurm: Path, tmp_path: Path, submissions: Path
) -> None:
    with pytest.raises((ConfigurationError, LauncherError), match=said):
        Slurm().ready(work("train", folder=tmp_path, **needs))
    assert not submissions.exists()
