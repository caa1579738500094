"""Ray, started once: on this machine, or the cluster that `RAY_ADDRESS` names.

In: how many CPUs Ray may use here. Out: a connected Ray whose workers import the installed `anchorface`, the same code
as this process.

A Ray of this process's own listens on loopback alone, in a private folder (records.scratch), and is gone with
the process, logs included.
"""

import atexit
import contextlib
import logging
import os
import re
import secrets
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._private.utils import get_dashboard_dependency_error
from ray.data import DataContext

from anchorface.records import metrics_targets, scratch
from anchorface.records.errors import ConfigurationError
from anchorface.records.lineage import code_hash
from anchorface.records.storage import private_files

NAMESPACE = "anchorface"
ENVIRONMENT = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
TRIES = 3
LOOPBACK = "127.0.0.1"
NODES = "ANCHORFACE_RAY_NODES"
"""How many nodes a launcher has started for a cluster; they come one after another."""
COMING = 300.0
"""Seconds for which they are waited for."""


def connect(num_cpus: int | None = None) -> None:
    """Start or join Ray; does nothing when this process is connected already.

    Without `RAY_ADDRESS` it is a Ray of this process's own, even where another one runs on the machine.
    On one machine the workers inherit this process's environment, which is much faster to start than a runtime
    environment.

    Args:
        num_cpus: CPUs that Ray may use on this machine, all of them if None; a cluster knows its own.

    Raises:
        ConfigurationError: a cluster whose workers lack anchorface or have another state of its code, or whose nodes do
            not come; or a Ray of one's own that does not start.
    """
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            join()
            _require_nodes()
            _require_same_code()
        else:
            os.environ.update(ENVIRONMENT)
            _start(num_cpus)
    quiet_data()


def join() -> None:
    """Join the cluster that `RAY_ADDRESS` names, whatever its nodes are like.

    Raises:
        ConfigurationError: there is none, or it takes nobody.
    """
    try:
        ray.init(namespace=NAMESPACE, runtime_env={"env_vars": ENVIRONMENT}, logging_level=logging.WARNING,
                 log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(f"no Ray cluster can be joined at RAY_ADDRESS={os.environ['RAY_ADDRESS']} "
                                 f"({_first_line(error)})") from error


def await_nodes(seconds: float = COMING) -> tuple[int, int]:
    """Wait until as many nodes are there as a launcher has started. Returns how many are, and how many should be."""
    deadline, count = time.monotonic() + seconds, int(os.environ.get(NODES, "1"))
    while (here := sum(node["Alive"] for node in ray.nodes())) < count and time.monotonic() < deadline:
        time.sleep(0.5)
    return here, count


def is_there() -> bool:
    """Whether Ray runs already, here or as a cluster to join."""
    return ray.is_initialized() or bool(os.environ.get("RAY_ADDRESS"))


def quiet_data() -> None:
    """Silence Ray Data's own bars and plans: stages report their progress themselves."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _require_nodes() -> None:
    """Wait for the nodes that a launcher has started.

    Raises:
        ConfigurationError: they did not come; says how many did.
    """
    here, count = await_nodes()
    if here < count:
        ray.shutdown()
        raise ConfigurationError(f"{here} of {count} nodes joined the Ray cluster at {os.environ['RAY_ADDRESS']} in "
                                 f"{COMING:.0f} s; the job's log says what the others print")


def _require_same_code() -> None:
    here = code_hash()
    try:
        there = ray.get(ray.remote(num_cpus=0)(_code_there).remote())
    except ray.exceptions.RayError as error:
        ray.shutdown()
        raise ConfigurationError(f"the workers of the Ray cluster at {os.environ['RAY_ADDRESS']} cannot import "
                                 f"anchorface ({error}); install it on every node, as here: {here}") from error
    if there != here:
        ray.shutdown()
        raise ConfigurationError(f"the workers of the Ray cluster at {os.environ['RAY_ADDRESS']} have anchorface "
                                 f"{there}, this process has {here}; install the same on both")


def _code_there() -> str:
    return code_hash()


def _start(num_cpus: int | None) -> None:
    """Start it; a busy machine gets another try.

    Raises:
        ConfigurationError: it does not start, or no folder for temporary files has a path short enough.
    """
    scratch.delete_left()
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # no file with it, which others could read
    # Ray turns 127.0.0.1 into the machine's address where it believes in clusters, and then listens to the network.
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    # Ray's C++ side prints a false alarm for every actor pool, and Ray Train one a second without a dashboard.
    # Progress comes from pipelines and training.launch; Ray's log files keep what workers print.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for number in range(1, TRIES + 1):
        folders = scratch.folders()
        try:
            with _quiet(), private_files():
                ray.init("local", num_cpus=num_cpus, include_dashboard=False, dashboard_host=LOOPBACK,
                         namespace=NAMESPACE, logging_level=logging.WARNING, log_to_driver=False,
                         _node_ip_address=LOOPBACK, _temp_dir=str(folders[0] / "ray"),
                         object_spilling_directory=str(folders[-1] / "spilled"))
            atexit.register(_end, folders)
            _announce()
            return
        except Exception as error:  # Ray raises whatever its parts raise, a bare Exception for a late one
            _end(folders)
            said = _first_line(error)
            if number == TRIES:
                raise ConfigurationError(
                    f"Ray did not start here in {TRIES} tries ({said}): the machine is too busy, or lacks memory or "
                    "processes. Try again later, give less work at once, or join a cluster by RAY_ADDRESS") from error
            print(f"Ray did not start ({said}): try {number + 1} of {TRIES}", file=sys.stderr, flush=True)


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


def _announce() -> None:
    """Tell Prometheus where this Ray shows its numbers, if it has the agent that does so."""
    if get_dashboard_dependency_error() is None:
        try:
            metrics_targets.announce([f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
                                      for node in ray.nodes()])
        except OSError as error:
            print(f"Prometheus is not told of this Ray ({error})", file=sys.stderr, flush=True)


def _end(folders: list[Path]) -> None:
    """Ray ends, with all processes that name its folder, and the folders go."""
    with contextlib.suppress(Exception):
        ray.shutdown()
    metrics_targets.withdraw()
    scratch.end(folders)
