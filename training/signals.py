"""SIGTERM and Ctrl-C to the launcher: the first ends the run in good order, the second at once.

The first is passed on as a wish (training.notes); the ranks see it, write a checkpoint at the next step boundary and
end. Only the main thread of a process hears signals, so the work goes into a thread of its own while it listens.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from anchorface.records import StorageError
from anchorface.training.notes import Notes

HEARD = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Hears signals while the block runs; outside the main thread it hears none.

    Args:
        notes: the run's. report: takes a line for the user.
    """

    def __init__(self, notes: Notes, report: Callable[[str], None]) -> None:
        self.notes, self.report = notes, report
        self.first: str | None = None
        self.asked = False
        self.listens = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "Signals":
        if self.listens:
            self._before = {number: signal.signal(number, self._hear) for number in HEARD}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self.listens:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def during(self, work: Callable[[], None]) -> None:
        """Do work in a thread of its own; what it raises is raised here."""
        if not self.listens:
            work()
            return
        raised: list[BaseException] = []

        def carefully() -> None:
            try:
                work()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=carefully, name="training", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
            self._ask()
        if raised:
            raise raised[0]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.first is None:
            self.first = name
            self.report(f"{name}: a checkpoint is written after this step, then the run ends; a second signal ends it "
                        "at once")
            self._ask()
            return
        self.report(f"{name} again: ended at once; the newest complete checkpoint stands")
        if "ray" in sys.modules:
            ray = sys.modules["ray"]
            stopper = threading.Thread(target=ray.shutdown, daemon=True)
            stopper.start()
            stopper.join(10.0)
        sys.stdout.flush()
        os._exit(128 + number)

    def _ask(self) -> None:
        """Pass the first signal on; where the storage is away, the next call does."""
        if self.first is not None and not self.asked:
            with contextlib.suppress(StorageError):
                self.notes.ask_to_stop(self.first)
                self.asked = True
