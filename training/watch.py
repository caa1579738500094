"""A rank that does nothing ends the attempt, and is named with what it was doing.

Every rank notes what it does (`doing`). A thread of each rank looks at that, and tells the others through the store by
which torch.distributed met: a count that grows, the word, and where the rank's main thread stands. When a rank has
stood still for too long, its thread tells the user who hangs, and ends the process; the launcher then starts a new
attempt from the newest checkpoint. Ranks that wait for others in a collective stand still as well: who hangs is whose
count has stopped growing (its process is stopped, or its machine is gone), or else who does not stand in a collective.
"""

import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch.distributed as dist

EXIT_STATUS = 70
COLLECTIVES = "distributed_c10d.py"
Word = tuple[int, int, str, float, str]
"""What a rank says: a count, the step, what it does, for how many seconds, and the line where it stands."""


class Watch:
    """One rank's watch.

    Args:
        seconds: that a rank may stand still; 0 never looks. tell: takes a line for the user.
    """

    def __init__(self, seconds: float, tell: Callable[[str], None]) -> None:
        self.seconds, self.tell = seconds, tell
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._now: tuple[int, str, float, float] = (0, "starting", time.monotonic(), seconds)
        self._tick, self._count = min(1.0, seconds / 4), 0
        self._main = threading.get_ident()
        self._over = threading.Event()
        if seconds and self.world > 1:
            self._store = dist.PrefixStore("watch", dist.distributed_c10d._get_default_store())
            threading.Thread(target=self._look, name="watch", daemon=True).start()

    def doing(self, step: int, what: str, allowed: float = 0.0) -> None:
        """This rank begins something.

        Args:
            step: the optimiser step. what: in words. allowed: seconds that it may take, if more than usual.
        """
        self._now = (step, what, time.monotonic(), max(self.seconds, allowed))

    def close(self) -> None:
        """The run is over."""
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(self._tick):
            step, what, since, allowed = self._now
            stood = time.monotonic() - since
            self._count += 1
            word: Word = (self._count, step, what, stood, _place(self._main))
            self._store.set(str(self.rank), json.dumps(word))
            if stood > allowed:
                before = self._words()
                time.sleep(3 * self._tick)
                self.tell(report(before, self._words(), stood, self.seconds, self.rank))
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
                os._exit(EXIT_STATUS)

    def _words(self) -> dict[int, Word]:
        ranks = [rank for rank in range(self.world) if self._store.check([str(rank)])]
        return {rank: tuple(json.loads(self._store.get(str(rank)))) for rank in ranks}  # type: ignore[misc]


def report(before: dict[int, Word], after: dict[int, Word], stood: float, seconds: float, own: int) -> str:
    """Who hangs, of two looks at all ranks' words, told by rank `own`, which tells no more words after the first."""
    silent = [rank for rank, word in after.items() if rank != own and word[0] == before.get(rank, word)[0]]
    outside = [rank for rank, word in after.items() if COLLECTIVES not in word[4]]
    told = "; ".join(_told(rank, after[rank], rank in silent) for rank in silent or outside or after)
    return (f"warning: nothing moved for {stood:.0f} s (--hang {seconds:g}): {told}. This attempt ends; the next goes "
            "on from the newest checkpoint")


def _told(rank: int, word: Word, silent: bool) -> str:
    _, step, what, stood, place = word
    how = "does not answer; it was" if silent else "has been"
    return f"rank {rank} {how} at step {step}, {what}, for {stood:.0f} s ({place})"


def _place(thread: int) -> str:
    """Where a thread stands: the innermost line of Python, and a collective's, if it is in one."""
    frame: Any = sys._current_frames().get(thread)
    if frame is None:
        return "gone"
    inner, outer = frame, frame
    while outer is not None:
        if outer.f_code.co_filename.endswith(COLLECTIVES):
            return f"{COLLECTIVES}, {outer.f_code.co_name}"
        outer = outer.f_back
    return f"{os.path.basename(inner.f_code.co_filename)}, line {inner.f_lineno}"
