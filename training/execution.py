"""How a run is carried out: what may differ between two runs of one recipe, and between a run and its resumption."""

from dataclasses import asdict, dataclass
from typing import Any

from anchorface.records import ConfigurationError

STAGES = (0, 1, 2, 3)
FEEDS = ("ray", "inline")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Machines, memory and speed of a run; the recipe says what is learned.

    workers: Ray Train workers; 0 runs in this process, without Ray, for looking into things.
    gpus: of each worker: 1 (NCCL), or 0 for the CPU (gloo). cpus: what Ray books for a worker; half a CPU leaves room
    for the feed on two CPUs. threads: torch's per worker; 0 divides this machine's cores among the workers.
    zero_stage: DeepSpeed's, 0 replicates everything, 1 shards the moments, 2 the gradients too, 3 the parameters too.
    micro_batch: samples per worker and backward pass, 0 for a worker's whole share of the batch at once.
    compile: torch.compile for the network's blocks: minutes at the start, then 1.1 to 1.4 times as fast (the tiny twin
    on one CPU core; no GPU was measured). Not with stage 3, which puts weights in place block by block.
    checkpointing: blocks are computed again in the backward pass instead of being kept.
    offload: moments and master weights stand in the CPU's memory, and the optimiser steps there. From stage 1 on.
    feed: `ray` or `inline` (in the worker; always so without workers). feed_workers: Ray workers of each rank's feed.
    failures: how often dead workers are replaced.
    """

    workers: int = 2
    gpus: int = 0
    cpus: float = 0.5
    threads: int = 0
    zero_stage: int = 2
    micro_batch: int = 0
    compile: bool = False
    checkpointing: bool = False
    offload: bool = False
    feed: str = "ray"
    feed_workers: int = 1
    failures: int = 3

    def __post_init__(self) -> None:
        self._require(self.workers >= 0, f"workers {self.workers}: none or more")
        self._require(self.gpus in (0, 1), f"gpus {self.gpus}: a worker has one GPU or none")
        self._require(self.zero_stage in STAGES, f"zero_stage {self.zero_stage}: it is 0, 1, 2 or 3")
        self._require(self.micro_batch >= 0, f"micro_batch {self.micro_batch}: none or more")
        self._require(not (self.compile and self.zero_stage == 3), "compile does not go with zero_stage 3; take 2")
        self._require(not self.offload or self.zero_stage > 0, "offload needs zero_stage 1, 2 or 3")
        self._require(self.feed in FEEDS, f"feed {self.feed!r}: it is 'ray' or 'inline'")
        self._require(self.cpus > 0 and self.feed_workers > 0 and self.failures >= 0,
                      "cpus and feed_workers must be positive, failures none or more")

    @property
    def world(self) -> int:
        """Processes that train."""
        return max(self.workers, 1)

    def share(self, batch: int) -> int:
        """A worker's samples of a global batch.

        Raises:
            ConfigurationError: they cannot be divided.
        """
        share, rest = divmod(batch, self.world)
        self._require(not rest, f"feed.batch {batch} over {self.world} workers: their number must divide it")
        self._require(not self.micro_batch or not share % self.micro_batch,
                      f"micro_batch {self.micro_batch} must divide {share}, a worker's share of feed.batch {batch} "
                      f"over {self.world} workers")
        return share

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @staticmethod
    def _require(condition: bool, text: str) -> None:
        if not condition:
            raise ConfigurationError(f"execution: {text}")
