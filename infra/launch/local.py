"""This machine: a process of its own group, which goes on when the terminal is closed, with a log file.

A small program stays with it (`supervise`) and writes how it ended beside the submission, `NAME.status`. It and the
work hold the lock of `NAME.lock` as long as they live, so whether they do is asked of the system. The work gets the
environment of whoever submits it, all of it.
"""

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from anchorface.infra.launch import supervise
from anchorface.infra.launch.following import lines
from anchorface.infra.launch.resources import GRACE, Resources
from anchorface.infra.launch.submission import Phase, State, Submission, folder, keep, made_folder, now
from anchorface.infra.launch.work import Work, single
from anchorface.records import ConfigurationError
from anchorface.records.state import read_state
from anchorface.records.storage import exists, join, private

MARK = "ANCHORFACE_JOB"
"""A variable of all processes of a job: its name."""
SHOWN = "SPT_NOENV"
"""With it, Ray's processes, which rename themselves, do not write over the place where the system shows variables."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What `supervise` writes. exit: the command's status, negative for a signal. told: `cancelled`, `time` or none."""

    exit: int
    told: str


class Local:
    """See the module and `submission.Launcher`."""

    def render(self, work: Work) -> dict[str, str]:
        """The command line."""
        task = single(work, "local")
        task.resources.none_of("local", "feed_nodes", "feed_cpus", "queue", "image", "account")
        if task.resources.nodes > 1:
            raise ConfigurationError("--nodes: local is one machine; take another --on")
        return {f"{work.name}.sh": f"cd {shlex.quote(work.folder)}\n{shlex.join(_words(task))}\n"}

    def ready(self, work: Work) -> None:
        """Refuse what this machine has not."""
        self.render(work)
        _require_here(work.resources)
        if not os.access(work.folder, os.X_OK):
            raise ConfigurationError(f"{work.folder}: there is no such folder to run in, or it may not be entered")

    def submit(self, work: Work) -> Submission:
        """Start it."""
        made_folder()
        log, lock, status = (join(folder(), f"{work.name}.{end}") for end in ("log", "lock", "status"))
        command = [sys.executable, "-I", supervise.__file__, status, str(work.resources.minutes * 60), str(GRACE),
                   f"{MARK}={work.name}", *_words(work)]
        with open(log, "ab", opener=private) as said, open(lock, "wb", opener=private) as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            process = subprocess.Popen(
                command, cwd=work.folder, env=os.environ | {MARK: work.name, "PYTHONUNBUFFERED": "1", SHOWN: "1"},
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, pass_fds=[held.fileno()])
        return keep(Submission(launcher="local", id=str(process.pid), name=work.name, command=work.command,
                               submitted=now(), log=log))

    def state(self, submission: Submission) -> State:
        """Whether the lock is held, else what was written at the end."""
        if _lives(submission):
            return State(phase=Phase.RUNNING, detail=f"process {submission.id}")
        status = join(folder(), f"{submission.name}.status")
        if not exists(status):
            return State(phase=Phase.FAILED, detail="killed, with its supervisor; the same command goes on")
        ended = read_state(status, Ended)
        said = f"exit status {ended.exit}" if ended.exit >= 0 else f"killed by signal {-ended.exit}"
        if ended.exit == 0:
            return State(phase=Phase.SUCCEEDED)
        if ended.told == "cancelled":
            return State(phase=Phase.CANCELLED, detail=said)
        up = "its time was up, the same command goes on; " if ended.told == "time" else ""
        return State(phase=Phase.FAILED, detail=up + said)

    def log(self, submission: Submission, follow: bool) -> Iterator[str]:
        """Its file."""
        return lines([Path(submission.log)], lambda: not follow or not _lives(submission), every=0)

    def cancel(self, submission: Submission) -> None:
        """SIGTERM, and GRACE seconds later the end by force."""
        deadline = time.monotonic() + GRACE + 10
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(int(submission.id))
            if supervisor.environ().get(MARK) == submission.name:
                supervisor.terminate()
                while (_lives(submission) and supervisor.status() != psutil.STATUS_ZOMBIE
                       and time.monotonic() < deadline):
                    time.sleep(0.2)
        if _lives(submission):
            supervise.end_marked(f"{MARK}={submission.name}")


def _words(work: Work) -> list[str]:
    return [sys.executable, "-P", "-m", "anchorface", *work.command]


def _lives(submission: Submission) -> bool:
    """Whether a process of it holds its lock."""
    with contextlib.suppress(FileNotFoundError), open(join(folder(), f"{submission.name}.lock"), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _require_here(needs: Resources) -> None:
    here = len(os.sched_getaffinity(0))
    if needs.cpus > here:
        raise ConfigurationError(f"--cpus {needs.cpus}: this machine gives {here}")
    memory = psutil.virtual_memory().total / 2**30
    if needs.memory_gib > memory:
        raise ConfigurationError(f"--memory {needs.memory_gib}: this machine has {memory:.1f} GiB")
    if needs.gpus:
        import torch

        if needs.gpus > torch.cuda.device_count():
            raise ConfigurationError(f"--gpus {needs.gpus}: this machine has {torch.cuda.device_count()}")
