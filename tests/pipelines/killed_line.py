"""The whole line in a process of its own, which may kill itself in the middle of a rename: the temporary file is
written, the name is not.
"""

import os
import signal
import sys
from pathlib import Path

import pyarrow.fs
from whole_line import run_line

from anchorface.records import storage


class DyingFilesystem(pyarrow.fs.LocalFileSystem):
    """The local filesystem, whose n-th `move` never happens because the process is gone."""

    left = 0

    def move(self, source: str, target: str) -> None:
        """Count down, then die."""
        DyingFilesystem.left -= 1
        if DyingFilesystem.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().move(source, target)


def run(source: Path, out: Path, embedder: str, moves: int) -> None:
    """What the process does. moves: it ends by SIGKILL in its so-manieth rename; 0 for none."""
    if moves:
        DyingFilesystem.left = moves
        whole = storage.filesystem

        def filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
            system, path = whole(uri)
            return (DyingFilesystem() if isinstance(system, pyarrow.fs.LocalFileSystem) else system), path

        for module in list(sys.modules.values()):
            if getattr(module, "filesystem", None) is whole:
                module.filesystem = filesystem
    run_line(source, out, embedder, concurrency=0)
