"""How a run is carried out: what may differ between two runs of one recipe, and between a run and its resumption."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from anchorface.records import ConfigurationError
from anchorface.records.bounds import AMOUNT, COUNT_OR_NONE, Bounds, check
from anchorface.records.erasures import ANSWERS

STAGES = (0, 1, 2, 3)
FEEDS = ("ray", "inline")
SECONDS = Bounds(0, 1e9, above=True)
POLICIES = ("stop", "skip", "back")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Machines, memory and speed of a run; the recipe says what is learned.

    workers: Ray Train workers; 0 runs in this process, without Ray, for looking into things. least_workers: with so
    many a run goes on where machines are missing, and it grows again when they come back; 0: only with all.
    resize_seconds: how often Ray looks whether they have; steps since the last checkpoint are then made again.
    gpus: of each worker: 1 (NCCL), or 0 for the CPU (gloo). cpus: what Ray books for a worker; half a CPU leaves room
    for the feed on two CPUs. threads: torch's per worker; 0 divides this machine's cores among the workers.
    zero_stage: DeepSpeed's, 0 replicates everything, 1 shards the moments, 2 the gradients too, 3 the parameters too.
    micro_batch: samples per worker and backward pass, 0 for a worker's whole share of the batch at once.
    compile: torch.compile for the network's blocks: minutes at the start, then 1.1 to 1.4 times as fast (the tiny twin
    on one CPU core; no GPU was measured). Not with stage 3, which puts weights in place block by block.
    checkpointing: blocks are computed again in the backward pass instead of being kept.
    offload: moments and master weights stand in the CPU's memory, and the optimiser steps there. From stage 1 on.
    feed: `ray` or `inline` (in the worker; always so without workers). feed_workers: Ray workers of each rank's feed.
    feed_cpus: what Ray books for each of them; `booked` says with whom.
    failures: how often dead workers are replaced before a new checkpoint has been written; with every one that is, the
    count begins anew, so that a run of a month outlives more of them than one that cannot begin.
    not_finite: what happens when a loss or a gradient is not finite: `stop`; `skip` leaves the step out; `back` goes
    back to the newest checkpoint and on with other samples. In all three the weights never see the step.
    erased: what is said of a checkpoint that saw people who were erased since, before a run goes on from it: `warn` or
    `refuse`.
    patience: seconds for which what cannot be written (a full disk, a store that is away) is tried again: a line or a
    grid while training goes on, a checkpoint while the next one waits.
    hang: seconds after which a rank that does nothing ends the attempt, named; 0 never.
    """

    workers: Annotated[int, Bounds(0, 10**6)] = 2
    least_workers: Annotated[int, Bounds(0, 10**6)] = 0
    resize_seconds: Annotated[float, SECONDS] = 300.0
    gpus: Annotated[int, Bounds(0, 1)] = 0
    cpus: Annotated[float, Bounds(0, 1024, above=True)] = 0.5
    threads: Annotated[int, Bounds(0, 4096)] = 0
    zero_stage: Annotated[int, Bounds(0, 3)] = 2
    micro_batch: Annotated[int, Bounds(0, 10**6)] = 0
    compile: bool = False
    checkpointing: bool = False
    offload: bool = False
    feed: str = "ray"
    feed_workers: Annotated[int, Bounds(1, 4096)] = 1
    feed_cpus: Annotated[float, Bounds(0, 1024, above=True)] = 0.5
    failures: Annotated[int, COUNT_OR_NONE] = 3
    not_finite: str = "stop"
    erased: str = "warn"
    patience: Annotated[float, AMOUNT] = 600.0
    hang: Annotated[float, AMOUNT] = 1800.0

    def __post_init__(self) -> None:
        check(self, "execution: ")
        self._require(not (self.compile and self.zero_stage == 3), "compile does not go with zero_stage 3; take 2")
        self._require(not self.offload or self.zero_stage > 0, "offload needs zero_stage 1, 2 or 3")
        self._require(self.feed in FEEDS, f"feed {self.feed!r}: it is 'ray' or 'inline'")
        self._require(self.not_finite in POLICIES,
                      f"not_finite {self.not_finite!r}: it is one of {', '.join(POLICIES)}")
        self._require(self.erased in ANSWERS, f"erased {self.erased!r}: it is one of {', '.join(ANSWERS)}")
        self._require(0 <= self.least_workers <= self.workers,
                      f"least_workers {self.least_workers}: none, or at most workers {self.workers}")

    @property
    def world(self) -> int:
        """Processes that train."""
        return max(self.workers, 1)

    @property
    def elastic(self) -> bool:
        """Whether a run goes on with fewer workers than it has places for at best."""
        return 0 < self.least_workers < self.workers

    @property
    def booked(self) -> tuple[float, float]:
        """CPUs that Ray books for a worker, and for each worker of its feed.

        Ray counts an elastic run's workers by the CPUs that they book, so each books its feed's as well, and the feed,
        which then books none, stands on its node. Otherwise the feed books its own, on any node.
        """
        if self.elastic and self.feed == "ray":
            return round(self.cpus + self.feed_workers * self.feed_cpus, 4), 0.0  # Ray counts ten-thousandths
        return self.cpus, self.feed_cpus

    def require_batch(self, batch: int) -> None:
        """Refuse more workers than a global batch has samples.

        Raises:
            ConfigurationError: says so.
        """
        self._require(self.world <= batch, f"{self.world} workers: feed.batch {batch} has not a sample for each; use "
                      f"at most {batch} workers, or a larger batch")

    def pieces(self, batch: int, world: int) -> int:
        """Backward passes of every worker in an optimiser step: as many as the largest share needs."""
        largest = -(-batch // world)
        return -(-largest // (self.micro_batch or largest))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @staticmethod
    def _require(condition: bool, text: str) -> None:
        if not condition:
            raise ConfigurationError(f"execution: {text}")
