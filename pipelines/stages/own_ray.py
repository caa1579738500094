"""A Ray of this process's own: on loopback, in a private folder, quiet, and gone with the process.

Ray opens the folder that it is given to everybody, and its sockets need a short path: so it gets a folder inside one of
mode 0700, below the system's folder for temporary files, or below /tmp where that path is too long. What it spills
goes where TMPDIR says. Both are deleted at the end, logs included; what a killed process left is deleted by the next.
"""

import atexit
import contextlib
import fcntl
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import ray
from ray._private import ray_constants

from anchorface.records.errors import ConfigurationError
from anchorface.records.storage import private_files

PREFIX = "anchorface-ray-"
LONGEST = 37
"""Of Ray's folder: a socket's path has 107 bytes, and Ray appends up to 70."""
TRIES = 3
LOOPBACK = "127.0.0.1"
LOCK = "lock"
_held: list[IO[bytes]] = []
"""The locks of this process's folders, open as long as it lives."""


def start(namespace: str, num_cpus: int | None) -> None:
    """Start it; a busy machine gets another try.

    Raises:
        ConfigurationError: it does not start, or no folder for temporary files has a path short enough.
    """
    delete_left()
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # no file with it, which others could read
    # Ray turns 127.0.0.1 into the machine's address where it believes in clusters, and then listens to the network.
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    # Ray's C++ side prints a false alarm for every actor pool, and Ray Train one a second without a dashboard.
    # Progress comes from pipelines and training.launch; Ray's log files keep what workers print.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for number in range(1, TRIES + 1):
        folders = _folders()
        try:
            with _quiet(), private_files():
                ray.init("local", num_cpus=num_cpus, include_dashboard=False, dashboard_host=LOOPBACK,
                         namespace=namespace, logging_level=logging.WARNING, log_to_driver=False,
                         _node_ip_address=LOOPBACK, _temp_dir=str(folders[0] / "ray"),
                         object_spilling_directory=str(folders[-1] / "spilled"))
            atexit.register(_end, folders)
            return
        except Exception as error:  # Ray raises whatever its parts raise, a bare Exception for a late one
            _end(folders)
            said = str(error).strip().partition("\n")[0][:200]
            if number == TRIES:
                raise ConfigurationError(
                    f"Ray did not start here in {TRIES} tries ({said}): the machine is too busy, or lacks memory or "
                    "processes. Try again later, give less work at once, or join a cluster by RAY_ADDRESS") from error
            print(f"Ray did not start ({said}): try {number + 1} of {TRIES}", file=sys.stderr, flush=True)


def delete_left() -> None:
    """Delete the folders of this user's processes that were killed: those whose lock nobody holds."""
    for root in {tempfile.gettempdir(), "/tmp"}:
        for folder in Path(root).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError), open(folder / LOCK, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file.fileno()).st_uid == os.geteuid():
                    shutil.rmtree(folder, ignore_errors=True)


def _folders() -> list[Path]:
    """Private folders: the first for Ray, the last for what it spills; one for both where its path is short."""
    made: list[Path] = []
    for root in dict.fromkeys([tempfile.gettempdir(), "/tmp"]):
        try:
            made.insert(0, Path(tempfile.mkdtemp(prefix=PREFIX, dir=root)))
            _held.append(open(made[0] / LOCK, "wb"))  # noqa: SIM115 (the system drops the lock with the process)
            fcntl.flock(_held[-1], fcntl.LOCK_EX)
        except OSError as error:
            _end(made)
            raise ConfigurationError(f"{root}: Ray needs a folder for temporary files here ({error}); set TMPDIR to "
                                     "one that can be written") from error
        if len(os.fsencode(made[0])) <= LONGEST:
            return made
    _end(made)
    raise ConfigurationError(f"{made[0]}: too long a path for Ray's sockets; set TMPDIR to a shorter one")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what Ray says of its log level and of a token that is already set; the rest is printed afterwards."""
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said, warnings.catch_warnings():
        # Ray forks and at once starts another program, which does Lance no harm.
        warnings.filterwarnings("ignore", message="lance is not fork-safe")
        before = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            said.seek(0)
            os.write(2, b"".join(line for line in said if not re.search(rb"logging\.cc:\d+: Set ray log level", line)))


def _end(folders: list[Path]) -> None:
    """Ray ends, with all processes that name its folder, and the folders go."""
    with contextlib.suppress(Exception):
        ray.shutdown()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in " ".join(process.cmdline()) for folder in folders):
                process.send_signal(signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
