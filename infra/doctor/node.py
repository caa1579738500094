"""A node of a cluster as the doctor asks it: an actor without CPUs or GPUs of its own, which lives until it is killed.

What it says crosses as text and plain values: a node with other code may have another idea of our classes.
"""

import importlib
import json
import os
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import psutil

from anchorface.infra import supply
from anchorface.infra.doctor import places, reach, tracking
from anchorface.infra.doctor.ports import Listening, listening
from anchorface.infra.launch.work import ROOMS
from anchorface.records.lineage import code_hash


@dataclass(frozen=True, kw_only=True)
class State:
    """What a node says of itself.

    code: as `records.lineage.code_hash` of all rooms. packages: that are installed in other versions than the locks
    say. cpus, gpus: that a process may use; GPUs by torch, which needs no memory of theirs for that. memory, free: GiB;
    of the folder `scratch` for temporary files. interfaces: backend of torch.distributed -> the network interface that
    it takes there, as far as it can be told.
    """

    python: str
    code: str
    packages: tuple[str, ...]
    cpus: int
    gpus: int
    memory: float
    free: float
    scratch: str
    interfaces: dict[str, str]
    listening: tuple[Listening, ...]


def state() -> State:
    """Of the machine where this runs."""
    scratch = tempfile.gettempdir()
    return State(
        python=platform.python_version(), code=code_hash(ROOMS), packages=tuple(supply.differing(supply.locked())),
        cpus=len(os.sched_getaffinity(0)), gpus=importlib.import_module("torch").cuda.device_count(),
        memory=psutil.virtual_memory().total / 2**30, free=shutil.disk_usage(scratch).free / 2**30, scratch=scratch,
        interfaces={"gloo": _gloo(), "nccl": os.environ.get("NCCL_SOCKET_IFNAME") or "the one that NCCL chooses"},
        listening=tuple(listening()))


def _gloo() -> str:
    """The interface of gloo: the one named by its variable, else the one of the address of the machine's name."""
    if named := os.environ.get("GLOO_SOCKET_IFNAME"):
        return f"{named} (GLOO_SOCKET_IFNAME)"
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return f"none: {name} has no address"
    found = [name for name, its in psutil.net_if_addrs().items() if any(each.address == address for each in its)]
    return f"{', '.join(found) or 'none'} ({address}, the address of {name})"


class Node:
    """The actor; every answer is plain, and a failure is one too, as a text."""

    def state(self) -> str:
        """JSON of a State."""
        return json.dumps(asdict(state()))

    def clock(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def answers_of(self, server: str) -> str:
        """Whether MLflow's server answers from here; see `tracking.failure`."""
        return tracking.failure(server)

    def shares(self, place: str, theirs: str, own: str) -> str:
        """Read what the driver wrote, and write one's own; see `places.share`."""
        return places.bounded(lambda: places.share(place, theirs, own))

    def removes(self, place: str, own: str) -> str:
        """Delete what this node wrote."""
        return places.bounded(lambda: places.remove(place, own))

    def listens(self, address: str, name: str) -> tuple[int, str]:
        """The port at which this node says its name to whoever comes, and why there is none."""
        return reach.listen(address, name)

    def reaches(self, others: Mapping[str, tuple[str, int]]) -> dict[str, str]:
        """Name of a node that is not reached from here -> why; see `reach.unreached`."""
        return reach.unreached(others)
