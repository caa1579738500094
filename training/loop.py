"""The training loop. One integer, the positions seen so far, is its clock: order, noise, learning rate, checkpoints
and what is logged are functions of it, so a resumed run goes on as if nothing had happened.

In: a Job; torch.distributed is initialised. Out: checkpoints, `progress.jsonl`, grids and MLflow metrics in the run
folder. Every rank runs this; each takes its share of every global batch.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from anchorface.models.checkpoint import DESCRIPTION_FILE, Description
from anchorface.pipelines.feed.batches import batches
from anchorface.records import TrainingError
from anchorface.training import checkpoint
from anchorface.training.ema import MovingAverage
from anchorface.training.engine import Autocast, configuration, start, trainable
from anchorface.training.networks import base_weights, load_networks, norm_calibration
from anchorface.training.objective import PARTS, objective
from anchorface.training.preview import fixed_batch, grid, restore, write_png
from anchorface.training.recipes import Recipe
from anchorface.training.tracking import Tracker, Tracking

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every worker is told: the recipe, one dataset version, the shared run folder, and how to run here.

    feed_engine: `ray` or `inline`. feed_workers: Ray workers of each rank's feed. threads: torch's, per worker.
    """

    recipe: Recipe
    dataset: str
    manifest_id: str
    run_folder: Path
    feed_engine: str = "ray"
    feed_workers: int = 1
    threads: int = 1
    tracking: Tracking | None = None
    git: dict[str, Any] = field(default_factory=dict)


def train(job: Job, device: torch.device) -> None:
    """Run a job to its end, from its newest checkpoint if it has one.

    Raises:
        TrainingError: a loss that is not finite; names the positions.
        CheckpointError: the run folder holds checkpoints of another configuration.
    """
    recipe, rank, world = job.recipe, dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(job.threads)
    networks = load_networks(recipe, device)
    share = recipe.feed.batch // world
    micro = recipe.micro_batch or share
    network = Autocast(networks.iconface, enabled=recipe.precision == "bf16")
    optimiser = torch.optim.AdamW(networks.iconface.trainable_parameters(), lr=recipe.learning_rate,
                                  betas=recipe.betas, weight_decay=recipe.weight_decay)
    engine = start(network, optimiser, configuration(
        stage=recipe.zero_stage, micro_batch=micro, accumulation=share // micro, world=world,
        clip=recipe.gradient_clip,
    ))
    with trainable(engine) as parameters:
        average = MovingAverage(parameters, recipe.ema_half_life)
    description = fresh_description(job, world)
    newest = checkpoint.latest(job.run_folder)
    if newest is not None:
        description = checkpoint.resume(newest, engine=engine, average=average, expected=description)
    clock, chain = description.clock, description.digest
    tracker = Tracker(job.tracking) if rank == 0 and job.tracking is not None else None
    notes = Notes(job, clock) if rank == 0 else None
    shown = fixed_batch(recipe, job.dataset) if recipe.grid_every else None

    first = clock // recipe.feed.batch
    for step, batch in enumerate(_feed(job, first, rank, world), start=first):
        rate = recipe.learning_rate_at(clock)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        parts = []
        for piece in _pieces(batch, micro):
            losses, logged = objective(recipe, networks, engine, piece, device)
            engine.backward(losses.mean())
            engine.step()
            parts.append(logged)
        positions = np.arange(clock, clock + recipe.feed.batch)
        values, digests = _gather(torch.cat(parts), batch["digest"], device)
        _require_finite(values, positions)
        clock += recipe.feed.batch
        chain = checkpoint.extend_chain(chain, positions, digests)
        with trainable(engine) as parameters:
            average.update(parameters, clock=clock, positions=recipe.feed.batch)

        last = step + 1 == recipe.steps
        if shown is not None and (last or _crosses(clock, recipe.feed.batch, recipe.grid_every)):
            restored, judged = restore(recipe, networks, engine.module, shown, device)
            if rank == 0:
                path = job.run_folder / "samples" / f"step-{step + 1:08d}.png"
                write_png(path, grid(shown, restored))
                if tracker:
                    tracker.picture(path)
                    tracker.metrics(judged, clock)
        if notes:
            notes.add(values, rate=rate, norm=engine.get_global_grad_norm(), references=batch["references"].shape[1])
            if last or _crosses(clock, recipe.feed.batch, recipe.log_every):
                line = notes.write(clock)
                if tracker:
                    tracker.metrics(line, clock)
        if last or _crosses(clock, recipe.feed.batch, recipe.checkpoint_every):
            description = replace(description, clock=clock, digest=chain)
            if tracker:
                tracker.flush()
            saved = checkpoint.save(job.run_folder, step=step + 1, engine=engine, average=average,
                                    description=description, kept=recipe.checkpoints_kept)
            if tracker:
                tracker.checkpoint(saved, saved / DESCRIPTION_FILE)
    if tracker:
        tracker.flush()


class Notes:
    """Rank 0's record since the last line, and `progress.jsonl`, which the launcher shows as it grows."""

    def __init__(self, job: Job, clock: int) -> None:
        self.path, self.positions = job.run_folder / "progress.jsonl", job.recipe.positions
        self.begin(clock)
        self._append({"clock": clock, "positions": self.positions, "pid": os.getpid()})

    def begin(self, clock: int) -> None:
        """Forget what was noted."""
        self.clock, self.time = clock, time.monotonic()
        self.values: list[NDArray[np.float64]] = []
        self.last: dict[str, float] = {}
        self.by_count: dict[int, list[float]] = {}

    def add(self, values: NDArray[np.float64], *, rate: float, norm: Any, references: int) -> None:
        """Note one step: values [batch, len(PARTS)]."""
        self.values.append(values)
        self.by_count.setdefault(references, []).append(float(values[:, PARTS.index("flow")].mean()))
        self.last = {"learning_rate": rate, "gradient_norm": float(norm) if norm is not None else math.nan}

    def write(self, clock: int) -> dict[str, float]:
        """Append a line with the means since the last one; returns the metrics in it."""
        values = np.concatenate(self.values)
        speed = (clock - self.clock) / max(time.monotonic() - self.time, 1e-9)
        line = {name: float(np.nanmean(column)) for name, column in zip(PARTS, values.T, strict=True)
                if not np.isnan(column).all()}
        line |= {f"flow/references_{count}": float(np.mean(flows)) for count, flows in sorted(self.by_count.items())}
        line |= {key: value for key, value in self.last.items() if math.isfinite(value)}
        line["samples_per_second"] = speed
        left = (self.positions - clock) / speed
        self._append({"clock": clock, "positions": self.positions, "seconds_left": left, **line})
        self.begin(clock)
        return line

    def _append(self, values: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")


def _feed(job: Job, first: int, rank: int, world: int) -> Iterator[Batch]:
    recipe = job.recipe
    if first >= recipe.steps:
        return iter(())
    return batches(job.dataset, recipe.feed, first, recipe.steps, rank=rank, world=world, engine=job.feed_engine,
                   concurrency=job.feed_workers)


def _pieces(batch: Batch, micro: int) -> Iterator[Batch]:
    """The batch in micro-batches."""
    for begin in range(0, len(batch["position"]), micro):
        yield {name: array[begin : begin + micro] for name, array in batch.items()}


def _gather(parts: torch.Tensor, digests: NDArray[np.str_],
            device: torch.device) -> tuple[NDArray[np.float64], list[bytes]]:
    """All ranks' logged values [batch, K] and sample digests, in order of position."""
    world = dist.get_world_size()
    raw = np.frombuffer(b"".join(bytes.fromhex(digest) for digest in digests.tolist()), np.uint8).copy()
    own = (parts.contiguous(), torch.from_numpy(raw).to(device))
    every = [[torch.empty_like(tensor) for _ in range(world)] for tensor in own]
    for tensor, places in zip(own, every, strict=True):
        dist.all_gather(places, tensor)
    values, flat = (torch.cat(places).cpu().numpy() for places in every)
    return values, [row.tobytes() for row in flat.reshape(len(values), -1)]


def _require_finite(values: NDArray[np.float64], positions: NDArray[np.int64]) -> None:
    bad = positions[~np.isfinite(values[:, PARTS.index("loss")])].tolist()
    if bad:
        raise TrainingError(
            f"the loss is not finite at positions {bad[:16]}{' ...' if len(bad) > 16 else ''}. No checkpoint was "
            "written after them. Look at these samples with the feed, lower learning_rate, or set precision=fp32."
        )


def _crosses(clock: int, batch: int, every: int) -> bool:
    """Whether a multiple of `every` was reached within the last batch."""
    return every > 0 and clock // every > (clock - batch) // every


def fresh_description(job: Job, world: int) -> Description:
    """What a checkpoint of this job would say before its first step."""
    recipe, calibration = job.recipe, norm_calibration(job.recipe)
    return Description(
        model=recipe.model, weights=base_weights(recipe), embedder=recipe.embedder, recipe=recipe.to_dict(),
        manifest_id=job.manifest_id, digest=checkpoint.start_of_chain(recipe, job.manifest_id), git=job.git,
        extra={"shaping": recipe.shaping(), "workers": world,
               "norm_calibration": calibration.to_json() if calibration else None,
               "mlflow": {"uri": job.tracking.uri, "run_id": job.tracking.run_id} if job.tracking else {}},
    )
