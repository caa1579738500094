"""The whole line in a process of its own, which may kill itself: `python killed_line.py SOURCE OUT EMBEDDER [MOVES]`.

With MOVES it ends by SIGKILL in the middle of its MOVES-th rename: the temporary file is written, the name is not.
"""

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "pipelines")]

import pyarrow.fs  # noqa: E402
from whole_line import run_line  # noqa: E402

from anchorface.records import storage  # noqa: E402


class DyingFilesystem(pyarrow.fs.LocalFileSystem):
    """The local filesystem, whose n-th `move` never happens because the process is gone."""

    left = 0

    def move(self, source: str, target: str) -> None:
        """Count down, then die."""
        DyingFilesystem.left -= 1
        if DyingFilesystem.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().move(source, target)


def main() -> None:
    """Run the line; say when the imports are done."""
    source, out, embedder, *moves = sys.argv[1:]
    if moves:
        DyingFilesystem.left = int(moves[0])
        whole = storage.filesystem

        def filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
            system, path = whole(uri)
            return (DyingFilesystem() if isinstance(system, pyarrow.fs.LocalFileSystem) else system), path

        for module in list(sys.modules.values()):
            if getattr(module, "filesystem", None) is whole:
                module.filesystem = filesystem
    print("ready", flush=True)
    run_line(Path(source), Path(out), embedder, concurrency=0)


if __name__ == "__main__":
    main()
