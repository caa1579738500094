"""The training loop. One integer, the positions seen so far, is its clock: order, noise, learning rate, checkpoints
and what is logged are functions of it, so a resumed run goes on as if nothing had happened.

In: a Job; torch.distributed is initialised. Out: checkpoints, and what training.observer shows. Every rank runs this;
each takes its share of every global batch.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from anchorface.models.checkpoint import Description
from anchorface.pipelines.feed.batches import batches
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import TrainingError
from anchorface.training import checkpoint
from anchorface.training.ema import MovingAverage
from anchorface.training.engine import Autocast, configuration, start, trainable
from anchorface.training.job import Job
from anchorface.training.latents import fill_latents
from anchorface.training.networks import Networks, base_weights, load_networks, norm_calibration
from anchorface.training.objective import objective
from anchorface.training.observer import Measures, Observer


def train(job: Job, device: torch.device) -> None:
    """Run a job to its end, from its newest checkpoint if it has one.

    Raises:
        TrainingError: a loss that is not finite; names the positions.
        CheckpointError: the run folder holds checkpoints of another configuration.
    """
    recipe, execution, rank, world = job.recipe, job.execution, dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(execution.threads or max(1, (os.cpu_count() or 1) // world))
    networks = load_networks(recipe, device, execution)
    engine = _engine(job, networks, world)
    with trainable(engine) as parameters:
        average = MovingAverage(parameters, recipe.ema_half_life)
    description = fresh_description(job, world)
    newest = checkpoint.latest(job.run_folder)
    if newest is not None:
        description = checkpoint.resume(newest, engine=engine, average=average, expected=description)
    clock, chain, size = description.clock, description.digest, recipe.feed.batch
    observer = Observer(job, networks, device, clock)

    latents = _latents(job, networks, device, rank, world)
    for batch in _feed(job, clock // size, rank, world, latents):
        rate = recipe.learning_rate_at(clock)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        parts = []
        for piece in _pieces(batch, execution.micro_batch or size // world):
            losses, logged = objective(recipe, networks, engine, piece, device)
            engine.backward(losses.mean())
            engine.step()
            parts.append(logged)
        positions = np.arange(clock, clock + size)
        measures, digests = _gather(parts, batch["digest"], device)
        _require_finite(measures["loss"], positions)
        clock += size
        chain = checkpoint.extend_chain(chain, positions, digests)
        with trainable(engine) as parameters:
            average.update(parameters, clock=clock, positions=size)
        observer.stepped(clock, measures, references=batch["references"].shape[1], rate=rate,
                         norm=engine.get_global_grad_norm(), network=engine.module)
        if recipe.due(clock, recipe.checkpoint_every):
            description = replace(description, clock=clock, digest=chain)
            observer.saving()
            observer.saved(checkpoint.save(job.run_folder, step=clock // size, engine=engine, average=average,
                                           description=description, kept=recipe.checkpoints_kept))
    observer.close()


def fresh_description(job: Job, world: int) -> Description:
    """What a checkpoint of this job would say before its first step."""
    recipe, calibration = job.recipe, norm_calibration(job.recipe)
    return Description(
        model=recipe.model, weights=base_weights(recipe), embedder=recipe.embedder, anchor=recipe.anchor,
        base_precision=recipe.base_precision, recipe=recipe.to_dict(), manifest_id=job.manifest_id,
        digest=checkpoint.start_of_chain(recipe, job.manifest_id), git=job.git,
        extra={"shaping": recipe.shaping(), "execution": job.execution.to_dict() | {"workers": world},
               "norm_calibration": calibration.to_json() if calibration else None,
               "mlflow": {"uri": job.tracking.uri, "run_id": job.tracking.run_id} if job.tracking else {}},
    )


def _engine(job: Job, networks: Networks, world: int) -> Any:
    recipe, adapters = job.recipe, networks.network.trainable_parameters()
    optimiser = torch.optim.AdamW(adapters, lr=recipe.learning_rate, betas=recipe.betas,
                                  weight_decay=recipe.weight_decay)
    network = Autocast(networks.network, enabled=recipe.precision == "bf16")
    return start(network, optimiser, configuration(job.execution, batch=recipe.feed.batch, world=world,
                                                   clip=recipe.gradient_clip))


def _latents(job: Job, networks: Networks, device: torch.device, rank: int, world: int) -> str:
    """The folder of the recipe's cached latents, filled by all ranks together; empty for none."""
    if not job.recipe.latents:
        return ""
    folder = fill_latents(job.recipe, open_dataset(job.dataset), networks.encoders.autoencoder, device, rank=rank,
                          world=world)
    dist.barrier()
    return folder


def _feed(job: Job, first: int, rank: int, world: int, latents: str) -> Iterator[Batch]:
    recipe, execution = job.recipe, job.execution
    if first >= recipe.steps:
        return iter(())
    return batches(job.dataset, recipe.fed, first, recipe.steps, rank=rank, world=world,
                   engine=execution.feed if execution.workers else "inline", concurrency=execution.feed_workers,
                   latents=latents)


def _pieces(batch: Batch, micro: int) -> Iterator[Batch]:
    """The batch in micro-batches."""
    for begin in range(0, len(batch["position"]), micro):
        yield {name: array[begin : begin + micro] for name, array in batch.items()}


def _gather(parts: list[dict[str, torch.Tensor]], digests: NDArray[np.str_],
            device: torch.device) -> tuple[Measures, list[bytes]]:
    """All ranks' logged values, name -> [batch], and sample digests, in order of position."""
    names = list(parts[0])
    stacked = torch.cat([torch.stack([part[name] for name in names], dim=1).double() for part in parts])
    raw = np.frombuffer(b"".join(bytes.fromhex(digest) for digest in digests.tolist()), np.uint8).copy()
    own = (stacked.contiguous(), torch.from_numpy(raw).to(device))
    every = [[torch.empty_like(tensor) for _ in range(dist.get_world_size())] for tensor in own]
    for tensor, places in zip(own, every, strict=True):
        dist.all_gather(places, tensor)
    values, flat = (torch.cat(places).cpu().numpy() for places in every)
    return dict(zip(names, values.T, strict=True)), [row.tobytes() for row in flat.reshape(len(values), -1)]


def _require_finite(losses: NDArray[np.float64], positions: NDArray[np.int64]) -> None:
    bad = positions[~np.isfinite(losses)].tolist()
    if bad:
        raise TrainingError(
            f"the loss is not finite at positions {bad[:16]}{' ...' if len(bad) > 16 else ''}. No checkpoint was "
            "written after them. Look at these samples with the feed, lower learning_rate, or set precision=fp32."
        )
