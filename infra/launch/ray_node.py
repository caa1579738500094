"""A node of a Ray of a job's own: `python -m anchorface.infra.launch.ray_node --cpus 8 --gpus 1 [--address HOST:PORT]`.

Without an address it is the head, and prints `HOST:PORT` when it is there. It lives until its standard input ends, so
that it goes with whoever started it, and then leaves no process and no file. It listens on ports that nobody else has;
the token that whoever joins must know comes in RAY_AUTH_TOKEN. SIGTERM does not end it: the work hears that as well,
and needs Ray for its last checkpoint.
"""

import argparse
import contextlib
import importlib.util
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from anchorface.records import scratch

CURRENT = "ray_current_cluster"
"""The file in Ray's folder with the address of its head."""
SECONDS = 300.0
"""For which a head's start is waited for."""
OBJECTS = 0.3
"""Share of the memory for Ray's objects, as Ray takes it of a whole machine's."""
ANY_PORT = ("node-manager-port", "object-manager-port", "min-worker-port", "max-worker-port", "metrics-export-port",
            "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port")


def main(words: list[str]) -> int:
    """Carry the command out; its exit status, that of Ray where it ends by itself."""
    parser = argparse.ArgumentParser(prog="ray_node")
    parser.add_argument("--cpus", type=int, default=0, help="0: all that this process may use")
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--memory-gib", type=int, default=0, help="that it may use, a share of it for Ray's objects")
    parser.add_argument("--address", default="")
    given = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    scratch.delete_left()
    made = scratch.folders()
    try:
        return _live(given, made)
    finally:
        scratch.end(made)


def start(given: argparse.Namespace, made: list[Path]) -> list[str]:
    """The command that starts Ray's processes here and stays with them."""
    cpus = given.cpus or len(os.sched_getaffinity(0))
    ray = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
           f"--num-cpus={cpus}", f"--num-gpus={given.gpus}", f"--temp-dir={made[0] / 'ray'}",
           f"--object-spilling-directory={made[-1] / 'spilled'}", *(f"--{name}=0" for name in ANY_PORT)]
    if given.memory_gib:
        ray.append(f"--object-store-memory={int(OBJECTS * given.memory_gib * 2**30)}")
    if given.address:
        return [*ray, f"--address={given.address}"]
    if importlib.util.find_spec("grpc"):  # then Ray's head serves clients too, for whom it takes no 0 as any port
        with socket.socket() as free:
            free.bind(("", 0))
            ray.append(f"--ray-client-server-port={free.getsockname()[1]}")
    return [*ray, "--head", "--port=0", "--include-dashboard=false"]


def _live(given: argparse.Namespace, made: list[Path]) -> int:
    environment = os.environ | {"TMPDIR": str(made[-1]), "RAY_AUTH_MODE": "token"}
    with subprocess.Popen(start(given, made), stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment,
                          start_new_session=True) as ray:
        try:
            if not given.address:
                print(_address(made[0] / "ray" / CURRENT, ray), flush=True)
            while ray.poll() is None and not _ended(0.5):
                pass
            return ray.returncode or 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                scratch.end(made)
                ray.kill()


def _address(file: Path, ray: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and ray.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if said := file.read_text().strip():
                return said
        time.sleep(0.2)
    raise SystemExit(f"Ray's head did not start in {SECONDS:.0f} s: what it printed stands above")


def _ended(seconds: float) -> bool:
    """Whether the standard input has ended; waits for so long."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1024)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
