"""A rank that does nothing ends the attempt, and is named with what it was doing.

Every rank notes what it does (`doing`). A thread of each rank tells the others through the store by
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
ANSWER = 5.0
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
        self._tick = min(1.0, seconds / 4)
        self._main = threading.get_ident()
        self._over = threading.Event()
        if seconds and self.world > 1:
            self._store = dist.PrefixStore("watch", dist.distributed_c10d._get_default_store())
            for work in (self._speak, self._look):
                threading.Thread(target=work, name="watch", daemon=True).start()

    def doing(self, step: int, what: str, allowed: float = 0.0) -> None:
        """This rank begins something.

        Args:
            step: the optimiser step. what: in words. allowed: seconds that it may take, if more than usual.
        """
        self._now = (step, what, time.monotonic(), max(self.seconds, allowed))

    def close(self) -> None:
        """The run is over."""
        self._over.set()

    def _speak(self) -> None:
        """Tell the others what this rank does; where the store hangs, only this thread hangs with it."""
        count = 0
        while not self._over.wait(self._tick):
            step, what, since, _ = self._now
            count += 1
            word: Word = (count, step, what, time.monotonic() - since, _place(self._main))
            self._store.set(str(self.rank), json.dumps(word))

    def _look(self) -> None:
        while not self._over.wait(self._tick):
            step, what, since, allowed = self._now
            stood = time.monotonic() - since
            if stood > allowed:
                heard: list[str] = []
                ask = threading.Thread(target=lambda: heard.append(self._heard(stood)), daemon=True)  # noqa: B023
                ask.start()
                ask.join(ANSWER + 3 * self._tick)
                self.tell(heard[0] if heard else nobody_answers(step, what, stood, self.seconds, self.rank))
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
                os._exit(EXIT_STATUS)

    def _heard(self, stood: float) -> str:
        before = self._words()
        time.sleep(3 * self._tick)
        return report(before, self._words(), stood, self.seconds)

    def _words(self) -> dict[int, Word]:
        ranks = [rank for rank in range(self.world) if self._store.check([str(rank)])]
        return {rank: tuple(json.loads(self._store.get(str(rank)))) for rank in ranks}  # type: ignore[misc]


def report(before: dict[int, Word], after: dict[int, Word], stood: float, seconds: float) -> str:
    """Who hangs, of two looks at all ranks' words."""
    silent = [rank for rank, word in after.items() if word[0] == before.get(rank, word)[0]]
    outside = [rank for rank, word in after.items() if COLLECTIVES not in word[4]]
    told = "; ".join(_told(rank, after[rank], rank in silent) for rank in silent or outside or after)
    return _warning(stood, seconds, told)


def nobody_answers(step: int, what: str, stood: float, seconds: float, rank: int) -> str:
    """What is told where the words of the ranks cannot be had: rank 0 keeps them, so it is the one that hangs."""
    return _warning(stood, seconds, f"rank 0, which keeps the ranks' words, does not answer; rank {rank} has been at "
                                    f"step {step}, {what}, for {stood:.0f} s")


def _warning(stood: float, seconds: float, told: str) -> str:
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
