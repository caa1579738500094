"""What cannot be written just now, and for how long that may last: a full disk, a store that is away for a while.

Whoever writes says here what failed and what works again, keeps what is not written, and tries again. What may never
answer gets its time by `within`.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from anchorface.records.errors import StorageError

RETRY_SECONDS = 2.0
"""Seconds between two tries, for whoever has nothing else to do (our choice)."""
Answer = TypeVar("Answer")


def _nobody(text: str) -> None:
    """Told of by the error alone."""


class Patience:
    """One for all files that a process writes of one thing; its threads share it.

    Args:
        seconds: for which a file may fail; with 0 the first failure is the error.
        place: the folder that a person is told of. tell: takes one line when writing begins to fail and one when
            everything is written again.
    """

    def __init__(self, seconds: float = 0.0, place: str = "", tell: Callable[[str], None] = _nobody) -> None:
        self.seconds, self.place, self.tell = seconds, place, tell
        self._failing: dict[str, tuple[float, float]] = {}
        self._begun = 0.0

    def failed(self, uri: str, error: OSError) -> None:
        """A file cannot be written now.

        Raises:
            StorageError: it could not for longer than the patience lasts.
        """
        now = time.monotonic()
        began, clock = self._failing.setdefault(uri, (now, time.time()))
        if now - began >= self.seconds:
            since = f" since {_hour(clock)}" if self.seconds else ""
            said = f"{uri}: cannot be written{since} ({error.__cause__ or error})"
            raise StorageError(f"{said}. Free space, or bring the storage back, and start the same command again; what "
                               "was written before stands") from error
        if not self._begun:
            self._begun = now
            self.tell(f"warning: {self.place} cannot be written since {_hour(clock)} ({_cause(error)}): what is to be "
                      f"written waits, and is tried again for {self.seconds:.0f} seconds")

    def persist(self, uri: str, write: Callable[[], None]) -> None:
        """Write a file, again and again until it is written.

        Raises:
            StorageError: as `failed`.
        """
        while True:
            try:
                write()
                break
            except OSError as error:
                self.failed(uri, error)
            time.sleep(RETRY_SECONDS)
        self.worked(uri)

    def worked(self, uri: str) -> None:
        """A file is written."""
        if self._failing.pop(uri, None) and not self._failing and self._begun:
            waited, self._begun = time.monotonic() - self._begun, 0.0
            self.tell(f"{self.place} can be written again after {waited:.0f} seconds; what waited is written")

    def given_up(self, uri: str) -> None:
        """A file will not be written; whoever says so tells of it himself."""
        self._failing.pop(uri, None)
        if not self._failing:
            self._begun = 0.0


def within(seconds: float | None, action: Callable[[], Answer]) -> Answer:
    """What `action` returns or raises; TimeoutError if it takes longer, None for as long as it takes."""
    if seconds is None:
        return action()
    answers: list[Answer] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            answers.append(action())
        except Exception as error:  # raised again below, where somebody hears it
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not answers:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return answers[0]


def _hour(clock: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(clock))


def _cause(error: OSError) -> str:
    """Of an error and those that led to it, what the system says, which is the same in all processes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__
    return str(error)
