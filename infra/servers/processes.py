"""Processes that go on without a terminal, known by a variable of their environment: no file can be wrong about them.

In: a folder and a server's name. Out: processes of their own group, all of whose children bear the same mark.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

MARK = "ANCHORFACE_SERVER"
GRACE = 20.0
"""Seconds from SIGTERM to SIGKILL."""


def start(folder: Path, name: str, words: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start it, in its folder, with a log beside it. Its own process is returned: for a moment it bears no mark yet."""
    with open(folder / f"{name}.log", "ab") as log:
        return subprocess.Popen(words, cwd=folder, env={**os.environ, **environment, MARK: _mark(folder, name)},
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def living(folder: Path, name: str) -> list[psutil.Process]:
    """Its processes."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == _mark(folder, name):
                found.append(process)
    return found


def end(folder: Path, name: str) -> None:
    """End it, by force after GRACE seconds, and return when no process of it is left."""
    for process in living(folder, name):
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + GRACE
    while left := living(folder, name):
        if time.monotonic() > deadline:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        time.sleep(0.1)


def _mark(folder: Path, name: str) -> str:
    return f"{folder}:{name}"
