"""A rank that does nothing ends the attempt, and is named with what it was doing.

Every rank says what it does (`doing`), to the store through which torch.distributed met. A thread of each rank looks at
its own clock. The rank that has stood still for too long tells the user, with the word of every rank, and ends its
process; the launcher then starts a new attempt from the newest checkpoint. Ranks that wait for others in a collective
stand still as well, so they give the one that hangs a quarter more time to speak first; a rank that cannot speak (its
process is stopped) is named by them: it is the one whose word is behind.
"""

import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable

import torch.distributed as dist

WAITING = "waiting for the other ranks"
EXIT_STATUS = 70


class Watch:
    """One rank's watch.

    Args:
        seconds: that a rank may stand still; 0 never looks. tell: takes a line for the user.
    """

    def __init__(self, seconds: float, tell: Callable[[str], None]) -> None:
        self.seconds, self.tell = seconds, tell
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._word, self._since, self._allowed = "starting", time.monotonic(), seconds
        self._over = threading.Event()
        self._store: dist.Store | None = None
        if seconds and self.world > 1:
            self._store = dist.PrefixStore("watch", dist.distributed_c10d._get_default_store())
            threading.Thread(target=self._look, name="watch", daemon=True).start()

    def doing(self, step: int, what: str, allowed: float = 0.0) -> None:
        """This rank begins something.

        Args:
            step: the optimiser step. what: in words. allowed: seconds that it may take, if more than usual.
        """
        self._word, self._since = f"step {step}: {what}", time.monotonic()
        self._allowed = max(self.seconds, allowed) * (1.25 if what == WAITING else 1.0)
        if self._store is not None:
            self._store.set(str(self.rank), json.dumps([step, what, time.time()]))

    def close(self) -> None:
        """The run is over."""
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(min(1.0, self.seconds / 4)):
            stood = time.monotonic() - self._since
            if stood > self._allowed:
                self.tell(self.report(stood))
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
                os._exit(EXIT_STATUS)

    def report(self, stood: float) -> str:
        """Who stands where: this rank, and the ranks whose word is behind the others'."""
        said: dict[int, tuple[int, str, float]] = {}
        assert self._store is not None
        for rank in range(self.world):
            if self._store.check([str(rank)]):
                step, what, when = json.loads(self._store.get(str(rank)))
                said[rank] = (step, what, time.time() - when)
        hanging = [rank for rank, (_, what, _) in said.items() if what != WAITING] or list(said)
        told = "; ".join(f"rank {rank} has been at step {said[rank][0]}, {said[rank][1]}, for {said[rank][2]:.0f} s"
                         for rank in hanging)
        return (f"warning: nothing moved for {stood:.0f} s (--hang {self.seconds:g}): {told}. This attempt ends; the next "
                "goes on from the newest checkpoint")
