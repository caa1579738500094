"""The whole line in a process of its own, which may kill itself: `python killed_line.py SOURCE OUT EMBEDDER [MOVES]`.

With MOVES it ends by SIGKILL in the middle of its MOVES-th rename: the temporary file is written, the name is not.
"""

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "pipelines")]

from whole_line import run_line  # noqa: E402


def dying(left: int) -> Callable[[str, str], None]:
    """`os.replace`, whose n-th call never happens because the process is gone."""
    replace, calls = os.replace, count(1)

    def replace_or_die(source: str, target: str) -> None:
        if next(calls) == left:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    return replace_or_die


def main() -> None:
    """Run the line; say when the imports are done."""
    source, out, embedder, *moves = sys.argv[1:]
    if moves:
        os.replace = dying(int(moves[0]))
    print("ready", flush=True)
    run_line(Path(source), Path(out), embedder, concurrency=0)


if __name__ == "__main__":
    main()
