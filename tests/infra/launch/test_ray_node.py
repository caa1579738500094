"""Promises of a Ray of a job's own: only who knows the token joins, it ends with its input, and nothing is left."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.infra.launch.ray_cluster import node
from tests.infra.launch.slurm_cluster import until
from tests.processes import marked

pytestmark = pytest.mark.cluster
JOINS = """
import os, ray
from anchorface.pipelines.stages.cluster import connect
connect()
print(sorted(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]))
"""


def test_two_nodes_are_one_private_ray_that_ends_with_its_input() -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="n") as name:
        folder, token = Path(name), secrets.token_hex(32)
        head = node(folder, token, "--cpus", "1")
        assert head.stdin is not None and head.stdout is not None
        address = head.stdout.readline().strip()
        assert address, (folder / "said").read_text()
        worker = node(folder, token, "--cpus", "2", "--address", address)
        assert worker.stdin is not None
        joining = {"RAY_ADDRESS": address, "ANCHORFACE_RAY_NODES": "2", "RAY_AUTH_MODE": "token"}
        done = joined(joining | {"RAY_AUTH_TOKEN": token})
        assert done.stdout.strip() == "[1.0, 2.0]", done.stderr
        refused = joined(joining | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
        assert refused.returncode != 0 and "no Ray cluster can be joined" in refused.stderr
        head.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGTERM)
        time.sleep(3)
        assert head.poll() is None and worker.poll() is None, "SIGTERM is for the work"
        worker.stdin.close()
        assert worker.wait(60) == 0, (folder / "said").read_text()
        head.stdin.close()
        assert head.wait(60) == 0, (folder / "said").read_text()
        until(lambda: marked("MARK", token) == [], 30)
        assert [file.name for file in folder.iterdir()] == ["said"]


def joined(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.run([sys.executable, "-c", JOINS], env=clean | environment, capture_output=True, text=True,
                          timeout=400)
