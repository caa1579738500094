"""What training reads: the batches of a run's steps, made in this process or ahead of it by Ray.

In: a dataset version's URI, frozen FeedSettings, steps, rank and world. Out: batches as pipelines.feed.sample describes
them, in order. Ray workers map the dataset's table from their node's files; a worker returns finished batches. Ray
decides where a batch is made, never which one comes next.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator

from anchorface.pipelines.feed.consent import require_allowed
from anchorface.pipelines.feed.cpus import PATIENCE
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.order import share
from anchorface.pipelines.feed.ray_feed import stream
from anchorface.pipelines.feed.sample import Batch
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records.errors import ConfigurationError, DataError


def batches(
    dataset_uri: str, settings: FeedSettings, start_step: int, stop_step: int, *, rank: int = 0, world: int = 1,
    engine: str = "ray", concurrency: int = 1, num_cpus: float = 0.5, steps_per_task: int = 2,
    latents: str = "", patience: float = PATIENCE, report: Callable[[str], None] | None = None,
) -> Iterator[Batch]:
    """This rank's batches of steps [start_step, stop_step), in order.

    Args:
        dataset_uri: the dataset version; empty for settings.dataset.
        settings: what decides a sample.
        start_step, stop_step: global batches; step s holds positions s * batch ... (s + 1) * batch - 1.
        rank, world: this process and how many there are, at most one a sample; each takes its contiguous share of
            every global batch (`pipelines.feed.order.share`).
        engine: `ray` (Ray Data, ahead of the reader) or `inline` (in this process).
        concurrency: Ray workers of this rank. num_cpus: CPUs that Ray books for each. All ranks' workers and the
            training processes must fit into the cluster's CPUs together, or a rank waits for ever
            (`pipelines.feed.cpus.require_cpus`): on two CPUs two ranks of half a CPU leave one worker of half a CPU to
            each. 0: they stand on this process's node, which has booked CPUs for them.
        steps_per_task: steps that one Ray task makes, best about a second of work.
        latents: folder of cached tokens of clean pictures; empty for pictures (pipelines.feed.latents).
        patience: seconds that a batch is waited for before `report` is told what Ray has and what is booked, and again
            after as many more. report: takes a line; None for a RuntimeWarning.

    Yields:
        Dictionaries of arrays as pipelines.feed.sample describes them. The bytes depend on nothing but settings,
        dataset version, step, rank and world.

    Raises:
        ConfigurationError: more ranks than samples in a batch, or an unknown engine.
        DataError: no dataset there, or a damaged shard. ConsentError: faces that `settings.requires` does not allow.
    """
    share(settings.batch, rank, world)
    if engine not in ("ray", "inline"):
        raise ConfigurationError(f"feed engine {engine!r}: it is 'ray' or 'inline'")
    dataset = open_dataset(dataset_uri or settings.dataset)
    require_allowed(dataset.uri, settings, also=())
    feed = Feed(dataset, settings, latents)
    if engine == "inline":
        return (feed.batch(step, rank, world) for step in range(start_step, stop_step))
    return stream(
        dataset, settings, start_step, stop_step, rank=rank, world=world, concurrency=concurrency, num_cpus=num_cpus,
        steps_per_task=steps_per_task, latents=latents, patience=patience, report=report,
    )


def global_digest(made: Iterable[Batch]) -> str:
    """One hash for a set of batches of any ranks in any order: of (position, digest), sorted by position.

    Raises:
        DataError: a position that came twice.
    """
    digests: dict[int, str] = {}
    for batch in made:
        for position, digest in zip(batch["position"].tolist(), batch["digest"].tolist(), strict=True):
            if position in digests:
                raise DataError(f"position {position} came twice")
            digests[position] = digest
    lines = "".join(f"{position} {digests[position]}\n" for position in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()
