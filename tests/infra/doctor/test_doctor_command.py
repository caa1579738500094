"""The command: on this machine, without a cluster, and on a real Ray of one node."""

import os
import secrets
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.infra.launch.ray_cluster import BIN, node
from tests.test_cli import run


def test_without_a_cluster_the_ways_to_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    status, text = run("doctor", "--cluster")
    assert status == 2 and all(word in text for word in ("RAY_ADDRESS", "--on slurm", "--on ray", "--on kubernetes"))
    status, text = run("doctor", "--cluster", "--for", "train")
    assert status == 2 and "leave them out" in text
    status, text = run("doctor", "--tracking", "sqlite:///mlflow.db")
    assert status == 2 and "address of MLflow's server" in text


def test_a_launcher_takes_it_as_it_takes_any_work() -> None:
    words = ("submit", "--on", "slurm", "--nodes", "2", "--dry-run", "doctor", "--cluster", "--folder", "work")
    status, text = run(*words)
    assert status == 0 and "set -- doctor --cluster --folder work" in text and "ANCHORFACE_RAY_NODES=2" in text, text
    status, text = run("submit", "--on", "slurm", "--dry-run", "doctor", "--folders", "work")
    assert status == 2 and "--folders" in text


def test_a_place_that_fails_is_a_finding_of_this_machine_with_its_remedy(tmp_path: Path) -> None:
    status, text = run("doctor", "--folder", str(tmp_path / "nowhere"), "--folder", str(tmp_path))
    assert status == 1 and "there is no such folder" in text and "-> give whoever runs this" in text, text
    assert "written, read and deleted" in " ".join(text.split()), text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.cluster
def test_a_ray_of_one_node_is_looked_at_and_left_as_it_was(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="n") as name:  # sockets need a short path
        token = secrets.token_hex(32)
        head = node(Path(name), token, "--cpus", "1")
        assert head.stdin is not None and head.stdout is not None
        try:
            address = head.stdout.readline().strip()
            known = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "COLUMNS": "300",
                     "ANCHORFACE_RAY_NODES": "1"}
            done = subprocess.run([BIN / "anchorface", "doctor", "--cluster", "--folder", str(tmp_path)], text=True,
                                  capture_output=True, env=os.environ | known, timeout=300)
        finally:
            head.stdin.close()
            head.wait(60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the cluster is as work needs it" in done.stdout, done.stdout
    for said in ("(Ray: 1)", "on 1 nodes and here", "of the clock here", "wants a token",
                 "read from here and by 1 nodes", "there is one node"):
        assert said in done.stdout, (said, done.stdout)
    assert list(tmp_path.iterdir()) == []
