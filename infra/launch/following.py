"""A log file read while it is written."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

PAUSE = 0.2
"""Seconds between two looks at the file."""


def lines(file: Path, over: Callable[[], bool], every: float = 5.0) -> Iterator[str]:
    """Lines of a file without their ends, to its last one. over: whether nothing more will be written; asked where the
    file ends, `every` so many seconds at most."""
    rest, asked = "", -every
    while not file.exists():
        if over():
            return
        time.sleep(PAUSE)
    with open(file, encoding="utf-8", errors="replace", newline="\n") as opened:
        while True:
            ended = False
            if time.monotonic() - asked > every:
                ended, asked = over(), time.monotonic()
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
