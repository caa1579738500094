"""Promises of work on a real Slurm of several nodes: the verb's own status, nothing left, the same run after every end.

`make cluster-test`: minutes, and on a machine with Debian's slurm-wlm and munge.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load_file

from anchorface.infra.launch import slurm_script
from anchorface.infra.launch.resources import Resources
from anchorface.infra.launch.slurm import Slurm
from anchorface.infra.launch.submission import Phase, Submission
from anchorface.infra.launch.work import Code, Work
from anchorface.models.checkpoint import read_description
from anchorface.records import ConfigurationError, LauncherError
from anchorface.synthetic import write_corpus
from anchorface.training.checkpoints.layout import latest
from tests.infra.launch.slurm_cluster import ask, until

pytestmark = pytest.mark.cluster
SETTINGS = ("feed.batch=4", "checkpoint_every=16", "grid_every=0", "precision=fp32", "log_every=4",
            "validation.samples=2", "validation.pictures=1", "validation.steps=1")
POSITIONS = 192
VARIABLES = {"TMPDIR": "", "SPT_NOENV": "1", "RAY_worker_niceness": "0"}
"""Of all jobs: Ray's processes, which rename themselves, go on showing them, and get their share of a busy machine."""
WEIGHTS = ("adapter.safetensors", "ema.safetensors")


def work(*command: str, folder: Path, name: str = "train-0a1b2c", array: tuple[tuple[str, ...], ...] = (),
         **needs: object) -> Work:
    return Work(name=name, command=command, folder=str(folder), array=array, environment=tuple(VARIABLES),
                code=Code(commit="0" * 40, tree="a", changed=()),
                resources=Resources(**{"cpus": 2, **needs}))  # type: ignore[arg-type]


def train(dataset: str, run: Path, *more: str) -> tuple[str, ...]:
    settings = [word for each in (*SETTINGS, f"positions={POSITIONS}") for word in ("--set", each)]
    return ("train", dataset, str(run), "--recipe", "iconface_tiny", "--workers", "2", "--threads", "1", "--no-track",
            *settings, *more)


def weights(run: Path) -> dict[str, bytes]:
    newest = latest(str(run))
    assert newest is not None and read_description(newest).clock == POSITIONS
    return {f"{file} {key}": each.tobytes() for file in WEIGHTS for key, each in load_file(Path(newest, file)).items()}


def over(submission: Submission, seconds: float = 1500) -> Phase:
    until(lambda: Slurm().state(submission).phase.over, seconds)
    return Slurm().state(submission).phase


def trains(submission: Submission) -> None:
    """Wait until a run has begun to train, and goes on."""
    def holds() -> bool:
        phase = Slurm().state(submission).phase
        assert not phase.over, said(submission)
        return phase == Phase.RUNNING and "training begins" in said(submission)

    until(holds, 900)


def said(submission: Submission) -> str:
    return "\n".join(Slurm().log(submission, False))


def alive(submission: Submission) -> list[dict[str, str]]:
    """Of each process of a job that lives, its environment, and its command line as `command`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            its = {"SLURM_JOB_ID": submission.id, "SLURM_CONF": os.environ["SLURM_CONF"]}
            if its.items() <= environment.items() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(environment | {"command": " ".join(process.cmdline())})
    return found


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The nodes' folder for temporary files, with a path short enough for Ray; and VARIABLES."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="") as name:
        for key, value in (VARIABLES | {"TMPDIR": name}).items():
            monkeypatch.setenv(key, value)
        yield Path(name)


@pytest.fixture(scope="module")
def undisturbed(tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The weights of a run by the command itself, without Slurm."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    subprocess.run([sys.executable, "-m", "anchorface", *train(tiny_dataset, run)], check=True, timeout=900,
                   env=os.environ | {"RAY_worker_niceness": "0"})
    return weights(run)


@pytest.mark.parametrize("how", ["requeued", "preempted", "out of time"])
def test_training_on_two_nodes_that_is_ended_in_the_middle_has_the_weights_of_an_undisturbed_run(
    how: str, slurm: Path, tiny_dataset: str, undisturbed: dict[str, bytes], tmp_path: Path, temporary: Path
) -> None:
    run, launcher = tmp_path / "run", Slurm()
    made = work(*train(tiny_dataset, run, "--cpus", "1.5"), folder=tmp_path, nodes=2, queue="low")
    launcher.ready(made)
    submission = launcher.submit(made)
    trains(submission)
    assert len({each["SLURMD_NODENAME"] for each in alive(submission) if "TrainWorker" in each["command"]}) == 2
    if how == "requeued":
        ask("scontrol", "requeue", submission.id)
    elif how == "preempted":
        ask("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")
    else:  # as Slurm does at the end of --time (--signal=B:USR1)
        ask("scancel", "--batch", "--signal=USR1", submission.id)
    until(lambda: launcher.state(submission).phase == Phase.WAITING, 100)
    until(lambda: alive(submission) == [], 60)
    assert 0 < read_description(str(latest(str(run)))).clock < POSITIONS
    assert over(submission) == Phase.SUCCEEDED, said(submission)
    assert "begun again 1 times" in launcher.state(submission).detail
    assert said(submission).count("the run ended in good order") == 1
    assert weights(run) == undisturbed
    until(lambda: alive(submission) == [], 60)
    assert list(temporary.iterdir()) == []


def test_slurm_tells_of_the_end_of_the_time_and_the_work_begins_again(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_script, "GRACE", 170)  # seconds of the four minutes
    submission = Slurm().submit(work("corpus", "people", "--identities", "100000", folder=tmp_path, minutes=4))
    until(lambda: Slurm().state(submission).phase == Phase.RUNNING, 60)
    until(lambda: Slurm().state(submission).phase == Phase.WAITING, 200)
    assert list((tmp_path / "people").glob("*"))
    Slurm().cancel(submission)
    assert Slurm().state(submission).phase == Phase.CANCELLED and alive(submission) == []


def test_work_that_is_told_to_end_before_it_began_begins_again(slurm: Path, tmp_path: Path) -> None:
    submission = Slurm().submit(work("train", "nowhere", "run", folder=tmp_path))
    until(lambda: alive(submission), 60)
    ask("scancel", "--batch", "--signal=USR1", submission.id)
    assert over(submission) == Phase.FAILED
    state = Slurm().state(submission)
    assert "exit status 2" in state.detail and "begun again 1 times" in state.detail
    assert said(submission).count("nowhere") == 1


def test_two_jobs_at_once_do_not_see_each_other_and_one_that_is_cancelled_leaves_nothing(
    slurm: Path, tiny_dataset: str, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    first, second = (
        Slurm().submit(work(*train(tiny_dataset, run), folder=tmp_path, name=f"train-{number:06x}", nodes=2))
        for number, run in enumerate(runs))
    trains(first)
    trains(second)
    Slurm().cancel(first)
    assert Slurm().state(first).phase == Phase.CANCELLED
    until(lambda: alive(first) == [], 60)
    assert over(second) == Phase.SUCCEEDED, said(second)
    assert weights(runs[1]) == undisturbed
    until(lambda: alive(second) == [], 60)


def test_nodes_for_the_feed_beside_a_node_with_gpus_are_one_ray(slurm: Path, tmp_path: Path) -> None:
    write_corpus(str(tmp_path / "photos"), identities=2, photos_each=2, seed=5, size=144)
    made = work("curate", "photos", "workspace", "--detector", "given", folder=tmp_path, gpus=1, feed_nodes=1,
                feed_cpus=2)
    Slurm().ready(made)
    submission = Slurm().submit(made)  # curate waits for all nodes of its Ray
    assert over(submission) == Phase.SUCCEEDED, said(submission)
    assert alive(submission) == []


def test_a_job_that_fails_has_the_status_of_the_work(slurm: Path, tmp_path: Path) -> None:
    submission = Slurm().submit(work("train", str(tmp_path / "nowhere"), "run", folder=tmp_path))
    assert over(submission) == Phase.FAILED
    assert "exit status 2" in Slurm().state(submission).detail and "nowhere" in said(submission)


def test_a_sweep_as_an_array_trains_its_tasks_each_by_itself(
    slurm: Path, tiny_dataset: str, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    commands = (train(tiny_dataset, tmp_path / "0", "--set", "feed.seed=7"), train(tiny_dataset, tmp_path / "1"),
                ("restore", "nowhere", "in", "out"))
    submission = Slurm().submit(work(*commands[0], folder=tmp_path, array=commands))
    until(lambda: (tmp_path / "0" / "progress.jsonl").exists(), 300)
    ask("scancel", "--batch", "--signal=USR1", f"{submission.id}_0")
    assert over(submission) == Phase.FAILED and "1 of 3 tasks" in Slurm().state(submission).detail
    assert weights(tmp_path / "1") == undisturbed != weights(tmp_path / "0")
    text = said(submission)
    assert text.count("the run ended in good order") == 1 and "nowhere" in text


def test_the_doctor_looks_at_two_nodes_from_inside_an_allocation(slurm: Path, tmp_path: Path) -> None:
    words = ["--wait", "--on", "slurm", "--nodes", "2", "--cpus", "2"]
    words += [word for name in VARIABLES for word in ("--env", name)]
    done = subprocess.run(
        [sys.executable, "-m", "anchorface", "submit", *words, "doctor", "--cluster", "--folder", str(tmp_path)],
        cwd=tmp_path, text=True, timeout=600, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = " ".join(done.stdout.replace("│", " ").split())
    assert done.returncode == 0, done.stdout
    for words in ("2 of 2 nodes joined", "wants a token", "reaches the others", "64 MiB over 2 nodes is right",
                  "the cluster is as work needs it"):
        assert words in text, done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["state"], "the submissions of this test"


@pytest.mark.parametrize(("needs", "said"), [
    ({"queue": "nowhere"}, "--queue nowhere: Slurm has no such partition; it has high, low"),
    ({"gpus": 3}, "--gpus 3: no node of low has more than 2"),
    ({"nodes": 4}, r"not available; nodes of low: .*1 of 8 CPUs"),
    ({"cpus": 64}, "not available; nodes of low"),
    ({"memory_gib": 500}, "not available; nodes of low"),
    ({"queue": "high", "nodes": 3}, "a job may have 1-2 of them"),
    ({"queue": "high", "minutes": 90}, "--minutes 90: high gives at most 60"),
    ({"minutes": 3}, "--minutes 3: Slurm tells of the end up to 180 s before"),
    ({"image": "none.sif"}, "--image none.sif: there is no such file"),
    ({"image": "docker://a/b:1"}, "this Slurm has no Pyxis"),
])
def test_what_slurm_would_never_start_is_refused_before(
    needs: dict[str, object], said: str, slurm: Path, tmp_path: Path, submissions: Path
) -> None:
    with pytest.raises((ConfigurationError, LauncherError), match=said):
        Slurm().ready(work("train", folder=tmp_path, **needs))
    assert not submissions.exists()
