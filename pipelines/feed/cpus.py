"""What a feed needs of Ray's CPUs: refused at launch where it cannot fit, and said aloud where no batch comes.

In: how many training processes and feed workers there are, and the CPUs that Ray books for each. Out: an error that
names what would fit; lines of report.
"""

import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import ray

from anchorface.records.errors import ConfigurationError

PATIENCE = 30.0
"""Seconds without a batch until it is said: a feed worker imports for about ten on a busy machine."""
Made = TypeVar("Made")


def require_cpus(*, workers: int, cpus: float, feed_workers: int, feed_cpus: float, nodes: Sequence[float],
                 together: bool = False) -> None:
    """Refuse a run whose processes do not fit into the cluster together: the feed of a rank would wait for ever.

    Args:
        workers: training processes. cpus: that Ray books for each.
        feed_workers: of each rank, 0 where the ranks make their batches themselves. feed_cpus: booked for each.
        nodes: CPUs of each node of the cluster. together: a training process and its feed need room on one node.

    Raises:
        ConfigurationError: they do not; the numbers, and combinations that fit.
    """
    each, available = cpus + feed_workers * feed_cpus, sum(nodes)
    fits = sum(int(node / each + 1e-6) for node in (nodes if together else [available]))
    if workers <= fits:
        return
    part = 0.0 if together else math.floor(100 * available / workers / (1 + feed_workers)) / 100
    ways = [f"{fits} worker{'s' * (fits > 1)} of that kind" if fits else "",
            f"{workers} workers with {part:g} CPU booked for each and for each of their feed workers" if part else ""]
    raise ConfigurationError(
        f"{workers} workers x {cpus:g} CPU for training and {workers * feed_workers} feed workers x {feed_cpus:g} CPU "
        f"need {workers * each:g} CPUs{f', {each:g} at a time on one node' if together else ''}, and Ray has "
        f"{' + '.join(f'{node:g}' for node in nodes) if together else f'{available:g}'}: the feed would wait for ever. "
        f"What fits: {', or '.join(filter(None, ways)) or 'more CPUs'}")


class Watch:
    """Says so when a batch is waited for longer than `patience` seconds, and again each time as long has passed.

    Args:
        name: whose feed it is. workers: Ray workers that it asked for. cpus: booked for each, 0 with their reader.
        patience: seconds. report: takes a line; None for a RuntimeWarning.
    """

    def __init__(self, name: str, *, workers: int, cpus: float, patience: float,
                 report: Callable[[str], None] | None) -> None:
        self._name, self._workers, self._cpus, self._patience = name, workers, cpus, patience
        self._report = report or (lambda line: warnings.warn(line, RuntimeWarning, stacklevel=2))
        self._since = math.inf
        self._came = 0

    def over(self, made: Iterable[Made]) -> Iterator[Made]:
        """The same, watched while the reader waits."""
        ended = threading.Event()
        thread = threading.Thread(target=self._look, args=(ended,), daemon=True)
        self._since = time.monotonic()
        thread.start()
        try:
            rows = iter(made)
            while True:
                self._since = time.monotonic()
                try:
                    one = next(rows)
                except StopIteration:
                    return
                finally:
                    self._since = math.inf
                self._came += 1
                yield one
        finally:
            ended.set()
            thread.join()

    def _look(self, ended: threading.Event) -> None:
        told = 1
        while not ended.wait(min(self._patience / 4, 1.0)):
            waited = time.monotonic() - self._since
            if waited < self._patience:
                told = 1
            elif waited >= told * self._patience:
                told += 1
                self._report(self._line(waited))

    def _line(self, waited: float) -> str:
        total, free = (resources.get("CPU", 0) for resources in (ray.cluster_resources(), ray.available_resources()))
        why = "its workers are slow or gone" if self._came else "its workers got no CPU or are still starting"
        asks = f"It asks Ray for {self._workers} x {self._cpus:g} CPU" if self._cpus else "Its CPUs are its reader's"
        return (f"the feed of {self._name} has waited {waited:.0f} s for batch {self._came + 1}: {why}. {asks}; Ray "
                f"has {total:g} CPUs, {free:g} of them not booked")
