"""Log files read while they are written."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PAUSE = 0.2
"""Seconds between two looks at the files."""


def lines(files: Sequence[Path], over: Callable[[], bool], every: float = 5.0) -> Iterator[str]:
    """Lines of files without their ends, as they come, to the last ones; of several files with the place of the file
    in front (`3: text`). A file may come late or never. over: whether nothing more will be written; asked where the
    files end, `every` so many seconds at most."""
    growing, asked = [_Growing(file) for file in files], -every
    marks = [f"{place}: " if len(files) > 1 else "" for place in range(len(files))]
    while True:
        ended = False
        if time.monotonic() - asked > every:
            ended, asked = over(), time.monotonic()
        for mark, each in zip(marks, growing, strict=True):
            for line in each.new(ended):
                yield mark + line
        if ended:
            return
        time.sleep(PAUSE)


class _Growing:
    """A file that is opened for each look: an array has a thousand."""

    def __init__(self, file: Path) -> None:
        self.file, self.place, self.rest = file, 0, b""

    def new(self, whole: bool) -> Iterator[str]:
        """Lines that came since the last look. whole: with the last one, which has no end yet."""
        if not self.file.exists():
            return
        with open(self.file, "rb") as opened:
            opened.seek(self.place)
            for line in opened:
                self.place += len(line)
                self.rest += line
                if self.rest.endswith(b"\n"):
                    yield self._taken()
            if whole and self.rest:
                yield self._taken()

    def _taken(self) -> str:
        line, self.rest = self.rest.removesuffix(b"\n"), b""
        return line.decode(errors="replace")
