"""Processes of their own that need not import anything: forked from multiprocessing's fork server, which has imported
what the verbs and a rank need (seven seconds) and has done nothing else. DeepSpeed is left to those that use it.
"""

import multiprocessing
import os
import subprocess
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([
    "anchorface.pipelines.ingest", "anchorface.pipelines.find_faces", "anchorface.pipelines.group",
    "anchorface.pipelines.shards", "anchorface.training.loop", "anchorface.training.launch",
    "diffusers.models.transformers.transformer_flux2", "diffusers.models.autoencoders.autoencoder_kl_flux2",
])


class Forked:
    """A function at work in another process, spoken to as `subprocess.Popen` is.

    Args:
        log: a file for what it prints. function, arguments: pickled by name and by value.
    """

    def __init__(self, log: Path, function: Callable[..., None], *arguments: Any) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self._process = CONTEXT.Process(target=_printing, args=(log, function, arguments))
        self._process.start()
        self.pid = self._process.pid
        self.kill = self._process.kill

    @property
    def returncode(self) -> int | None:
        """Its exit status, minus the signal that ended it, or None while it lives."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        assert self.pid is not None
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Its exit status."""
        if not connection.wait([self._process.sentinel], timeout):
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        self._process.join()
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float = 60.0) -> tuple[str, None]:
        """What it has printed, when it has ended."""
        self.wait(timeout)
        return self.log.read_text(errors="replace"), None


def finished(started: list[Forked], timeout: float) -> None:
    """All of them end, and end well."""
    outputs = [process.communicate(timeout)[0] for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(outputs)[-6000:]


def _printing(log: Path, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    function(*arguments)
