"""Work on a real Ray cluster of three nodes by `anchorface submit --on ray`, with a token; a node is killed."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.infra.launch.ray_cluster import BIN, OTHERS, Cluster, ray_cluster

pytest.importorskip("aiohttp_cors", reason="needs ray[default]: make cluster-environment")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
PATIENCE = 900.0
MICRO = ("--workers", "1", "--cpus", "0.5", "--feed-cpus", "0.25", "--threads", "1", "--no-track",
         "--set", "positions=24", "--set", "feed.batch=4", "--set", "checkpoint_every=8", "--set", "grid_every=0",
         "--set", "validation.every=0", "--set", "precision=fp32")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ar-", dir="/tmp"))  # sockets need a short path
    try:
        with ray_cluster(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def said(cluster: Cluster, tmp_path: Path):  # type: ignore[no-untyped-def]
    """`anchorface` with these words, as a user of the cluster: its exit status and all that it prints."""

    def call(*words: str, folder: Path = tmp_path, **variables: str) -> tuple[int, str]:
        environment = os.environ | cluster.variables | {"XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "400"}
        done = subprocess.run([BIN / "anchorface", *words], env=environment | variables, cwd=folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    return call


def until(holds, said) -> None:  # type: ignore[no-untyped-def]
    """Wait for something to hold; else fail with what there is to say."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, said()
        time.sleep(0.5)


def test_bad_input_is_told_before_anything_is_started(said) -> None:  # type: ignore[no-untyped-def]
    restore = ("restore", "checkpoint", "old", "new")
    status, text = said("submit", "--on", "ray", *restore, RAY_AUTH_TOKEN="f" * 64)
    assert status == 2 and "has another token" in text and "RAY_AUTH_TOKEN_PATH" in text, text
    status, text = said("submit", "--on", "ray", *restore, RAY_AUTH_TOKEN="", RAY_AUTH_MODE="disabled")
    assert status == 2 and "wants a token" in text, text
    status, text = said("submit", "--on", "ray", "--gpus", "4", *restore)
    assert status == 2 and "4 GPU on a node: the largest of the cluster's 3 nodes has 0" in text, text
    status, text = said("jobs")
    assert "nothing was submitted" in text


def test_a_job_that_fails_says_so(said) -> None:  # type: ignore[no-untyped-def]
    status, text = said("submit", "--on", "ray", "--wait", "restore", "no-checkpoint", "no-photos", "out")
    assert status == 1 and "failed (exit status 2)" in text and "no-checkpoint" in text, text


def test_training_that_is_cancelled_leaves_a_checkpoint_and_nothing_else(
    said, cluster: Cluster, tiny_dataset: str, tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    name = submitted(*said("submit", "--on", "ray", "train", tiny_dataset, "run", *MICRO, "--set", "positions=40000",
                           "--set", "checkpoint_every=20000"))
    lines = tmp_path / "run" / "progress.jsonl"
    until(lambda: lines.exists() and lines.stat().st_size, lambda: said("logs", name)[1])
    status, text = said("cancel", name)
    assert status == 0 and "cancelled" in text, text
    assert len(complete(tmp_path)) == 1, said("logs", name)[1]
    assert not [each for node in OTHERS for each in cluster.processes(node) if trains(each)]


def test_training_goes_on_when_a_node_is_killed(
    said, cluster: Cluster, tiny_dataset: str, tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    name = submitted(*said("submit", "--on", "ray", "--cpus", "2", "train", tiny_dataset, "run", *MICRO))
    until(lambda: complete(tmp_path), lambda: said("logs", name)[1])
    busy = next(node for node in OTHERS if any(map(trains, cluster.processes(node))))
    cluster.kill(busy)
    before = len(complete(tmp_path))
    _, text = said("logs", name, "--follow")
    _, listed = said("jobs")
    assert "succeeded" in listed, text + listed
    assert json.loads((complete(tmp_path)[-1] / "checkpoint.json").read_text())["clock"] == 24
    assert before < 3, "it was killed on the way"


def submitted(status: int, text: str) -> str:
    """The name of a job, from what `submit` said."""
    assert status == 0, text
    return re.findall(r"(train-[0-9a-f]{6}): ray has it", text)[0]


def complete(folder: Path) -> list[Path]:
    """The checkpoints of a run, in order."""
    return sorted(path.parent for path in folder.glob("run/checkpoints/*/checkpoint.json"))


def trains(process: psutil.Process) -> bool:
    """Whether this is one of Ray Train's workers."""
    try:
        return "TrainWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False
