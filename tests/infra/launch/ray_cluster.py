"""A Ray cluster of the tests' own: a head and other nodes, each a raylet with an address of loopback, with a token.

    with ray_cluster(folder) as cluster: ...cluster.variables, cluster.kill(node)

Ray turns 127.0.0.1 into the machine's own address where it makes clusters; 127.0.0.2 and the next stay what they are.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.infra.launch.slurm_cluster import free_ports

BIN = Path(sys.executable).parent
HEAD, OTHERS = "127.0.0.2", ("127.0.0.3", "127.0.0.4")
PATIENCE = 300.0


@dataclass(frozen=True)
class Cluster:
    """variables: of whoever speaks to it. folder: Ray's, named in the command lines of all its processes. address: of
    its head, for who joins."""

    variables: dict[str, str]
    folder: Path
    address: str

    def processes(self, node: str) -> list[psutil.Process]:
        """The raylet of a node and all that it started, the raylet first."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if f"--node_ip_address={node}" in words and str(self.folder) in " ".join(words):
                return [process, *process.children(recursive=True)]
        return []

    def kill(self, node: str) -> None:
        """A node is gone at once, as when its power fails."""
        kill(self.processes(node)[0])


@contextlib.contextmanager
def ray_cluster(folder: Path, under: Mapping[str, Sequence[str]] | None = None) -> Iterator[Cluster]:
    """A head without CPUs and two nodes of two.

    Args:
        folder: its path must be short, for sockets. under: address of a node -> a program, with its words, that starts
            Ray's there (env, unshare).
    """
    port, dashboard, client = free_ports(3)
    token = secrets.token_hex(32)
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "OMP_NUM_THREADS": "1",
                                "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_worker_niceness": "0"}
    own = ["--block", "--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0",
           "--dashboard-agent-listen-port=0", "--object-store-memory=100000000"]
    head = ["--head", f"--node-ip-address={HEAD}", f"--port={port}", "--num-cpus=0",
            "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}"]
    commands = [head, *([f"--address={HEAD}:{port}", f"--node-ip-address={node}", "--num-cpus=2"] for node in OTHERS)]
    started: list[subprocess.Popen[bytes]] = []
    cluster = Cluster({"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}", "RAY_AUTH_MODE": "token",
                       "RAY_AUTH_TOKEN": token}, folder, f"{HEAD}:{port}")
    try:
        for number, words in enumerate(commands):
            words = [*(under or {}).get((HEAD, *OTHERS)[number], ()), str(BIN / "ray"), "start", *words, *own,
                     f"--temp-dir={folder}/{number}"]  # a disk of its own
            with open(folder / f"start-{number}.out", "wb") as said:
                started.append(subprocess.Popen(words, env=environment, stdout=said, stderr=said,
                                                stdin=subprocess.DEVNULL))
            if number in (0, len(commands) - 1):  # the head is there before the others, which start at once
                for each, process in enumerate(started):
                    _wait(folder / f"start-{each}.out", process)
        yield cluster
    finally:
        # At once: a node that is told to end waits half a minute for actors of Ray's own that live as long as it does.
        for process in psutil.process_iter(["cmdline"]):
            if str(folder) in " ".join(process.info["cmdline"] or []) and process.pid != os.getpid():
                kill(process)
        for each in started:
            each.wait()


def node(folder: Path, token: str, *words: str) -> "subprocess.Popen[str]":
    """A node of a Ray of a job's own (infra.launch.ray_node); what it prints stands in the file `said`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "anchorface.infra.launch.ray_node", "--gpus", "0", *words], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(folder / "said", "a"),
        env=environment | {"RAY_AUTH_TOKEN": token, "RAY_AUTH_MODE": "token", "TMPDIR": str(folder), "MARK": token})


def kill(process: psutil.Process) -> None:
    """A process ends at once, with all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _wait(out: Path, process: subprocess.Popen[bytes]) -> None:
    """Until `ray start` says that its node is up."""
    end = time.monotonic() + PATIENCE
    while "Ray runtime started" not in (said := out.read_text()):
        assert process.poll() is None and time.monotonic() < end, said
        time.sleep(0.2)
