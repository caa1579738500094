"""Promises of work on this machine: it goes on by itself, its end is known, and nothing of it is left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from anchorface.infra.launch import supervise
from anchorface.infra.launch.local import Local
from anchorface.infra.launch.resources import Resources
from anchorface.infra.launch.submission import Phase, State, Submission
from anchorface.infra.launch.work import Code, Work
from anchorface.records import ConfigurationError
from tests.infra.launch.slurm_cluster import until
from tests.processes import marked

DETACHED = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("started", flush=True)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(99)
"""
HEARS = """
import signal, sys, time
heard = []
signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
print("ready", flush=True)
deadline = time.monotonic() + 60
while not heard and time.monotonic() < deadline:
    time.sleep(0.05)
time.sleep(1)
sys.exit(70 + len(heard))
"""


def work(*command: str, folder: Path, **needs: object) -> Work:
    return Work(name="corpus-0a1b2c", command=command, resources=Resources(**needs), folder=str(folder),  # type: ignore[arg-type]
                code=Code(commit="0" * 40, tree="a", changed=()))


def ended(local: Local, submission: Submission) -> State:
    until(lambda: local.state(submission).phase.over, 300)
    return local.state(submission)


def test_a_verb_runs_by_itself_and_its_log_and_end_are_known(tmp_path: Path, submissions: Path) -> None:
    local, made = Local(), work("corpus", "people", "--identities", "1", "--photos", "1", "--size", "64",
                                "--workers", "1", folder=tmp_path)
    local.ready(made)
    submission = local.submit(made)
    assert list(local.log(submission, True)) == list(local.log(submission, False))
    assert ended(local, submission) == State(phase=Phase.SUCCEEDED), (submissions / f"{made.name}.log").read_text()
    assert (tmp_path / "people" / "metadata.jsonl").exists()
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in submissions.glob(f"{made.name}.*"))


def test_a_verb_that_fails_has_failed(tmp_path: Path) -> None:
    local = Local()
    submission = local.submit(work("curate", "nowhere", "out", folder=tmp_path))
    assert ended(local, submission) == State(phase=Phase.FAILED, detail="exit status 2")
    assert "nowhere" in "\n".join(local.log(submission, False))


def test_a_job_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    local = Local()
    submission = local.submit(work("corpus", "people", "--identities", "100000", folder=tmp_path))
    until(lambda: list((tmp_path / "people").glob("*")), 300)
    assert local.state(submission).phase == Phase.RUNNING
    local.cancel(submission)
    assert local.state(submission).phase in (Phase.CANCELLED, Phase.FAILED)
    assert marked("ANCHORFACE_JOB", submission.name) == []
    local.cancel(submission)


def test_a_job_whose_supervisor_was_killed_is_still_seen_and_ended(tmp_path: Path) -> None:
    local = Local()
    submission = local.submit(work("corpus", "people", "--identities", "100000", folder=tmp_path))
    until(lambda: list((tmp_path / "people").glob("*")), 300)
    os.kill(int(submission.id), signal.SIGKILL)
    assert local.state(submission).phase == Phase.RUNNING
    local.cancel(submission)
    until(lambda: local.state(submission).phase == Phase.FAILED, 30)
    assert "killed" in local.state(submission).detail and marked("ANCHORFACE_JOB", submission.name) == []


@pytest.mark.cluster
def test_a_ray_of_a_job_ends_with_it_even_if_the_verb_is_killed(tiny_dataset: str, tmp_path: Path) -> None:
    local = Local()
    submission = local.submit(work("train", tiny_dataset, "run", "--recipe", "iconface_tiny", "--workers", "1",
                                   "--no-track", folder=tmp_path))
    supervisor = psutil.Process(int(submission.id))

    def of_ray() -> list[psutil.Process]:
        return [each for each in supervisor.children(recursive=True) if each.cmdline()[:1] and
                each.cmdline()[0].startswith("ray::")]

    until(of_ray, 120)
    here = supervisor.children(recursive=True)
    assert {each.environ().get("ANCHORFACE_JOB") for each in here} == {submission.name}
    supervisor.children()[0].kill()
    assert ended(local, submission) == State(phase=Phase.FAILED, detail="killed by signal 9")
    assert [each for each in here if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(("needs", "said"), [
    ({"nodes": 2}, "one machine"), ({"queue": "a"}, "no queue"), ({"image": "a"}, "no image"),
    ({"cpus": 4000}, "--cpus"), ({"memory_gib": 900_000}, "--memory"), ({"gpus": 60}, "--gpus"),
])
def test_what_this_machine_has_not_is_refused(needs: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Local().ready(work("train", folder=tmp_path, **needs))


@pytest.mark.parametrize("told", ["cancelled", "time"])
def test_a_command_is_told_to_end_once_and_its_status_is_its_own(told: str, tmp_path: Path) -> None:
    process = supervised(tmp_path, HEARS, seconds=61.5 if told == "time" else 0)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for _ in range(2 if told == "cancelled" else 0):
        process.terminate()
        time.sleep(0.2)
    process.wait(100)
    assert json.loads((tmp_path / "status").read_text()) == {"exit": 71, "told": told}


def test_nothing_of_a_command_outlives_it(tmp_path: Path) -> None:
    supervised(tmp_path, DETACHED).wait(60)
    assert json.loads((tmp_path / "status").read_text()) == {"exit": 0, "told": ""}
    assert marked("ANCHORFACE_JOB", tmp_path.name) == []


def test_a_command_that_does_not_hear_is_ended_by_force(tmp_path: Path) -> None:
    process = supervised(tmp_path, DEAF, grace=1)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.terminate()
    process.wait(30)
    assert json.loads((tmp_path / "status").read_text()) == {"exit": -signal.SIGKILL, "told": "cancelled"}


def supervised(folder: Path, program: str, seconds: float = 0, grace: float = 60) -> "subprocess.Popen[str]":
    """A program under `supervise`, marked by the folder's name."""
    mark = f"ANCHORFACE_JOB={folder.name}"
    return subprocess.Popen(
        [sys.executable, "-I", supervise.__file__, str(folder / "status"), str(seconds), str(grace), mark,
         sys.executable, "-c", program],
        env=os.environ | {"ANCHORFACE_JOB": folder.name}, stdout=subprocess.PIPE, text=True)
