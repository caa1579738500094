"""Shows a run to the user while its ranks work: new lines of `progress.jsonl`, and what ranks have to say."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from anchorface.records import AnchorfaceError
from anchorface.records.lines import Lines
from anchorface.records.storage import is_local, join
from anchorface.training.best import told
from anchorface.training.job import PROGRESS
from anchorface.training.notes import SELDOM, Notes
from anchorface.training.throughput import summary


class Follower:
    """Follows a run folder while the block runs.

    Args:
        run_folder: its URI. report: takes one line for a person. every: seconds between looks; None: seldom in a
            bucket.
    """

    def __init__(self, run_folder: str, report: Callable[[str], None], every: float | None = None) -> None:
        self.lines, self.notes = Lines(join(run_folder, PROGRESS)), Notes(run_folder)
        self.report, self.every = report, every or (1.0 if is_local(run_folder) else SELDOM)
        self.place = self.lines.read()[1]
        self.shown: list[dict[str, Any]] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> "Follower":
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.over.set()
        self.thread.join()
        self._show()
        if said := summary(self.shown):
            self.report(said)

    def _follow(self) -> None:
        while not self.over.wait(self.every):
            self._show()

    def _show(self) -> None:
        try:
            found, place = self.lines.read(self.place)
            if found:  # a file that is away for a moment is no file that begins anew
                self.place = place
            for values in found:
                self.report(line(values))
            self.shown += found
            for text in self.notes.told():
                self.report(text)
        except (AnchorfaceError, OSError):
            return  # the storage is away for a moment; what it holds is shown at the next look


def line(values: dict[str, Any]) -> str:
    """One line of progress for a person."""
    done, whole = int(values["clock"]), int(values["positions"])
    if "validation/flow" in values:
        return told(values)
    if "loss" not in values:
        workers = f"{values['workers']} worker{'s' * (values['workers'] > 1)}"
        return f"training {f'goes on at {done:,} of' if done else 'begins:'} {whole:,} samples, {workers}"
    minutes, seconds = divmod(round(values["seconds_left"]), 60)
    words = {"flow": "flow {:.4f}", "identity_cosine": "likeness {:.2f}"}
    parts = ", ".join(word.format(values[name]) for name, word in words.items() if name in values)
    return (f"training {done:,}/{whole:,} samples, loss {values['loss']:.4f}{f' ({parts})' if parts else ''}, "
            f"{values['samples_per_second']:.1f} samples/s, {minutes}:{seconds:02d} left")
