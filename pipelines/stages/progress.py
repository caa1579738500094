"""Progress that a person can follow: bars in a terminal, a line every few seconds anywhere else.

In: a stage's name, its number of rows, and `advance(rows, dropped=...)` as they are done. Out: text on standard
error, so that a verb's own output stays clean.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from anchorface.records.console import Console

EVERY_SECONDS, EVERY_LOOK = 5.0, 1.0
LATELY = 30.0
"""Seconds by whose pace the time that is left is told: what starts slowly is not slow (rich's bars take as many)."""


class StageProgress:
    """One stage's progress: rows done, and counts by name (`dropped`, `faces`, ...). watch: who else is shown it, once
    a second at most, and at the end.
    """

    def __init__(self, name: str, total: int, unit: str, bars: Bars | None, stream: TextIO | None) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done, self.counts = 0, dict[str, int]()
        self._bars, self._stream = bars, stream
        self._task = bars.add_task(name, total=total, counts="") if bars is not None else None
        self._start = self._last = time.monotonic()
        self._already, self._shown = 0, 0.0
        self._lately = deque([(self._start, 0)])
        self.watch: Callable[[StageProgress], None] | None = None

    def skip(self, rows: int, counts: Mapping[str, int]) -> None:
        """Count rows that an earlier run has done."""
        self._already += rows
        self.advance(rows, **counts)

    def advance(self, rows: int = 1, **counts: int) -> None:
        """Count rows as done and add to the named counts."""
        self.done += rows
        self._lately.append((time.monotonic(), self.done - self._already))
        while len(self._lately) > 2 and self._lately[1][0] < time.monotonic() - LATELY:
            self._lately.popleft()
        for key, number in counts.items():
            self.counts[key] = self.counts.get(key, 0) + number
        if time.monotonic() - self._shown >= EVERY_LOOK:
            self._show()
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=self.done, counts=self._said())
        elif self._stream is not None and self.done < self.total and time.monotonic() - self._last >= EVERY_SECONDS:
            self._last = time.monotonic()
            self._line()

    def finish(self) -> None:
        """Say the last word of the stage."""
        self._show()
        if self._bars is None and self._stream is not None:
            self._line()

    def _show(self) -> None:
        self._shown = time.monotonic()
        if self.watch is not None:
            self.watch(self)

    def _said(self) -> str:
        return "  ".join(f"{number:,} {key}" for key, number in self.counts.items())

    def _line(self) -> None:
        seconds = time.monotonic() - self._start
        began, before = self._lately[0]
        rate = (self.done - self._already - before) / max(time.monotonic() - began, 1e-3)
        parts = [f"{self.name:<12}{self.done:>8,}/{self.total:,} {self.unit}", self._said()]
        if self.done >= self.total:
            parts.append(f"done in {seconds:.1f} s")
        elif rate > 0:
            parts.append(f"{rate:.0f}/s, {(self.total - self.done) / rate:.0f} s left")
        if self._already:
            parts.append(f"({self._already:,} done before)")
        print("  ".join(part for part in parts if part), file=self._stream, flush=True)


class Progress:
    """Where stages report to.

    Args:
        stream: standard error unless given. A terminal gets bars, anything else plain lines.
        quiet: report nothing.
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = None if quiet else stream or sys.stderr

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "photos") -> Iterator[StageProgress]:
        """Report one stage of `total` rows for the length of the `with` block."""
        if self._stream is None or not self._stream.isatty():
            progress = StageProgress(name, total, unit, None, self._stream)
            yield progress
            progress.finish()
            return
        columns = (
            TextColumn("[bold]{task.description:<12}"), BarColumn(bar_width=32), MofNCompleteColumn(),
            TextColumn(unit), TextColumn("{task.fields[counts]}"), TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Bars(*columns, console=Console(file=self._stream)) as bars:
            progress = StageProgress(name, total, unit, bars, None)
            yield progress
            progress.finish()
