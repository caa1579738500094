"""The whole line in a process of its own, which may kill itself in the middle of a rename: the temporary file is
written, the name is not.
"""

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path

from whole_line import run_line


def dying(left: int) -> Callable[[str, str], None]:
    """`os.replace`, whose n-th call never happens because the process is gone."""
    replace, calls = os.replace, count(1)

    def replace_or_die(source: str, target: str) -> None:
        if next(calls) == left:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    return replace_or_die


def run(source: Path, out: Path, embedder: str, moves: int) -> None:
    """What the process does. moves: it ends by SIGKILL in its so-manieth rename; 0 for none."""
    if moves:
        os.replace = dying(moves)
    run_line(source, out, embedder, concurrency=0)
