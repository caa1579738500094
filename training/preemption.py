"""Ray's word that a node of the run will be taken away: then a checkpoint is written at once, and training goes on.

Asking Ray is a barrier of all ranks, so they ask together: rank 0 says when, in the message that ends each step.
"""

import time
from typing import Any

import torch.distributed as dist


class Preemption:
    """One rank's ear.

    Args:
        on_ray: whether Ray Train started this rank; otherwise nobody says anything. every: seconds between questions.
    """

    def __init__(self, *, on_ray: bool, every: float = 2.0) -> None:
        self.asker = on_ray and dist.get_rank() == 0
        self.every, self._last = every, time.monotonic()
        self._known: Any = None

    def due(self) -> bool:
        """Whether this rank wishes that all ask Ray now."""
        return self.asker and time.monotonic() - self._last > self.every

    def noticed(self) -> bool:
        """Ask Ray; every rank does, as often as any. Whether a notice came that was not known."""
        import ray.train

        self._last = time.monotonic()
        found = ray.train.get_preemption_info()
        new = found is not None and (self._known is None or found.preempted_ranks != self._known.preempted_ranks)
        self._known = found
        return new
