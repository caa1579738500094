"""A log file read while it is written."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

PAUSE = 0.5
"""Seconds between two looks at the file."""
ASKED = 5.0
"""Seconds between two questions whether it is over."""


def lines(file: Path, over: Callable[[], bool]) -> Iterator[str]:
    """Lines of a file without their ends, to its last one. over: whether nothing more will be written; asked where the
    file ends, not more often than every ASKED seconds."""
    rest, asked = "", -ASKED
    while not file.exists():
        if over():
            return
        time.sleep(PAUSE)
    with open(file, encoding="utf-8", errors="replace", newline="\n") as opened:
        while True:
            ended = time.monotonic() - asked > ASKED and over()
            asked = time.monotonic() if time.monotonic() - asked > ASKED else asked
            while text := opened.readline():
                rest += text
                if rest.endswith("\n"):
                    yield rest[:-1]
                    rest = ""
            if ended:
                if rest:
                    yield rest
                return
            time.sleep(PAUSE)
