"""Private folders of a process for temporary files, deleted with it; what a killed process left, the next deletes.

Ray opens the folder that it is given to everybody, and its sockets need a short path: so it gets a folder inside one of
mode 0700, below the system's folder for temporary files, or below /tmp where that path is too long. What it spills goes
where TMPDIR says.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import IO

import psutil

from anchorface.records.errors import ConfigurationError

PREFIX = "anchorface-ray-"
LONGEST = 37
"""Of Ray's folder: a socket's path has 107 bytes, and Ray appends up to 70."""
LOCK = "lock"
DYING = 10.0
"""Seconds for which the end of a killed process is waited for, on a busy machine."""
_held: list[IO[bytes]] = []
"""The locks of this process's folders, open as long as it lives."""


def folders() -> list[Path]:
    """New private folders: the first for Ray, the last for what it spills; one for both where its path is short.

    Raises:
        ConfigurationError: none can be made, or no path is short enough.
    """
    made: list[Path] = []
    for root in dict.fromkeys([tempfile.gettempdir(), "/tmp"]):
        try:
            made.insert(0, Path(tempfile.mkdtemp(prefix=PREFIX, dir=root)))
            _held.append(open(made[0] / LOCK, "wb"))  # noqa: SIM115 (the system drops the lock with the process)
            fcntl.flock(_held[-1], fcntl.LOCK_EX)
        except OSError as error:
            end(made)
            raise ConfigurationError(f"{root}: Ray needs a folder for temporary files here ({error}); set TMPDIR to "
                                     "one that can be written") from error
        if len(os.fsencode(made[0])) <= LONGEST:
            return made
    end(made)
    raise ConfigurationError(f"{made[0]}: too long a path for Ray's sockets; set TMPDIR to a shorter one")


def delete_left() -> list[str]:
    """Delete the folders of this user's processes that were killed: those whose lock nobody holds. Returns the folders
    of those that live."""
    living = []
    for root in {tempfile.gettempdir(), "/tmp"}:
        for folder in Path(root).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError), open(folder / LOCK, "rb") as file:
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    continue
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    living.append(str(folder))
                else:
                    shutil.rmtree(folder, ignore_errors=True)
    return living


def end(made: list[Path]) -> None:
    """Kill the processes below this one that name the folders, and delete the folders once they write no more."""
    killed = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in " ".join(process.cmdline()) for folder in made):
                process.send_signal(signal.SIGKILL)
                killed.append(process)
    deadline = time.monotonic() + DYING
    while not all(map(_is_dead, killed)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def _is_dead(process: psutil.Process) -> bool:
    """Whether nothing of it runs any more."""
    try:
        return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return True
