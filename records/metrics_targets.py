"""Where a Ray of a process's own shows its numbers (pipelines.stages.metrics), told to Prometheus while it runs.

In: addresses of metrics ports. Out, in the folder of `targets()`, if `anchorface servers up` has made that: PID.json,
as Prometheus' `file_sd_configs` take it.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from anchorface.records.errors import ConfigurationError
from anchorface.records.homes import state_home
from anchorface.records.storage import write_atomic


def targets() -> Path:
    """The folder of files that say where a Ray of a process's own shows its numbers, PID.json; any other file there is
    somebody else's, for a cluster."""
    return state_home("targets")


def announce(addresses: Sequence[str]) -> None:
    """Tell of this process's, HOST:PORT each, if anybody wants to know; files of killed processes go.

    Raises:
        StorageError: the folder is there and cannot be written.
    """
    with contextlib.suppress(ConfigurationError):  # nobody has a home here
        if os.path.isdir(targets()):
            _announce(addresses)


def _announce(addresses: Sequence[str]) -> None:
    for file in targets().glob("*.json"):
        if file.stem.isdecimal() and not psutil.pid_exists(int(file.stem)):
            file.unlink(missing_ok=True)
    told = [{"targets": list(addresses), "labels": {"job": "ray"}}]
    write_atomic(str(_file()), json.dumps(told).encode())


def withdraw() -> None:
    """Ray is gone, and with it its ports."""
    with contextlib.suppress(OSError, ConfigurationError):
        _file().unlink(missing_ok=True)


def _file() -> Path:
    return targets() / f"{os.getpid()}.json"
