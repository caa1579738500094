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

from records import storage  # noqa: E402


class DyingFilesystem:
    """The local filesystem, whose n-th `move` never happens because the process is gone."""

    def __init__(self, moves: int) -> None:
        self._real, self._left = pyarrow.fs.LocalFileSystem(), moves

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def move(self, source: str, target: str) -> None:
        """Count down, then die."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._real.move(source, target)


def main() -> None:
    """Run the line; say when the imports are done."""
    source, out, embedder, *moves = sys.argv[1:]
    if moves:
        dying = DyingFilesystem(int(moves[0]))
        whole = storage.filesystem

        def filesystem(uri: str) -> tuple[object, str]:
            system, path = whole(uri)
            return (dying if isinstance(system, pyarrow.fs.LocalFileSystem) else system), path

        for module in list(sys.modules.values()):
            if getattr(module, "filesystem", None) is whole and module is not sys.modules["__main__"]:
                module.filesystem = filesystem
    print("ready", flush=True)
    run_line(Path(source), Path(out), embedder, concurrency=0)


if __name__ == "__main__":
    main()
