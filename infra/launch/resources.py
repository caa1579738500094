"""What work needs of machines, in the same words for every launcher."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from anchorface.records import ConfigurationError
from anchorface.records.bounds import Bounds, check

GRACE = 120
"""Seconds from the word that work must end (SIGTERM) to its end by force (our choice): training writes a checkpoint in
them."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Machines, memory and time of one piece of work.

    nodes: machines that carry the work. local: 1. slurm: `--nodes`, one Ray over all. ray: the cluster must have so
    many. kubernetes: so many workers, beside a head that carries nothing.
    cpus, gpus: of each node. cpus 0: slurm gives the whole node (`--exclusive`), the others ask for nothing. local: so
    many must be here. slurm: `--cpus-per-task`, `--gpus-per-node`. ray: the cluster must have such nodes. kubernetes:
    requests and limits; CPUs are needed.
    memory_gib: of each node; 0: what the launcher gives. local, ray: so much must be there. slurm: `--mem`. kubernetes:
    request and limit, needed.
    feed_nodes, feed_cpus: machines without GPUs beside them, for the feed, and the CPUs of each, 0 as above. slurm: the
    second part of a heterogeneous job. kubernetes: a worker group of its own, whose CPUs are needed. local and ray:
    none.
    queue: slurm's partition, kubernetes' Kueue queue; local and ray have none.
    minutes: after so long the work ends in good order, and the same command goes on; 0: no limit. slurm: `--time`,
    SIGTERM GRACE seconds before, and it is begun again where it stopped. local: SIGTERM. ray, kubernetes: SIGTERM
    GRACE seconds before, counted from the first process of the work.
    preemptible: the work may be put on machines that are taken away. slurm: no effect, the queue decides, and work that
    was ended is always begun again. kubernetes: tolerations of spot nodes, and work that failed is begun again,
    twice. local and ray: no effect.
    image: of a container. slurm: a file `NAME.sif` is run by Apptainer, all else by Pyxis. kubernetes: of all pods, and
    needed. local and ray: none.
    account: slurm's; the others have none.
    """

    nodes: Annotated[int, Bounds(1, 100_000)] = 1
    cpus: Annotated[int, Bounds(0, 4096)] = 0
    gpus: Annotated[int, Bounds(0, 64)] = 0
    memory_gib: Annotated[int, Bounds(0, 10**6)] = 0
    feed_nodes: Annotated[int, Bounds(0, 100_000)] = 0
    feed_cpus: Annotated[int, Bounds(0, 4096)] = 0
    queue: str = ""
    minutes: Annotated[int, Bounds(0, 10**6)] = 0
    preemptible: bool = False
    image: str = ""
    account: str = ""

    def __post_init__(self) -> None:
        check(self, "resources: ")
        for name in ("queue", "image", "account"):
            text = getattr(self, name)
            self.require(not text.startswith("-") and text.isprintable() and " " not in text,
                         f"{name} {text!r}: a name without spaces that does not begin with - is needed")
        self.require(self.minutes == 0 or self.minutes * 60 > GRACE,
                     f"minutes {self.minutes}: the last {GRACE} seconds are for ending in good order; give more")

    def none_of(self, launcher: str, *names: str) -> None:
        """Refuse what a launcher does not have.

        Raises:
            ConfigurationError: names the fields.
        """
        asked = [name for name in names if getattr(self, name)]
        self.require(not asked, f"{launcher} knows no {' and no '.join(asked)}: leave it out, or take another launcher")

    @staticmethod
    def require(condition: bool, text: str) -> None:
        """Raises ConfigurationError with this text unless the condition holds."""
        if not condition:
            raise ConfigurationError(f"resources: {text}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)
