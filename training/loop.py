"""The training loop. One integer, the positions seen so far, is its clock: order, noise, learning rate, checkpoints
and what is logged are functions of it, so a resumed run goes on as if nothing had happened, with any number of workers.

In: a Job; torch.distributed is initialised. Out: checkpoints, and what training.observer shows. Every rank runs this;
each takes its share of every global batch. At the end of a step's backward pass the ranks agree, in one small message,
whether its losses are finite, whether somebody wishes to stop, and whether all stand at the same position.
"""

import math
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from anchorface.models.checkpoint import EMA_FILE, Description, load_adapters, read_description, require_part_of
from anchorface.pipelines.feed.batches import batches
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import Interrupted, StorageError, TrainingError, derive
from anchorface.records.patience import Patience
from anchorface.records.storage import join
from anchorface.training.checkpoints import layout, resume
from anchorface.training.checkpoints.writer import Place, Writer
from anchorface.training.description import fresh
from anchorface.training.engine import (
    Autocast,
    GuardedAdamW,
    configuration,
    forget_gradients,
    gradient_norm,
    start,
)
from anchorface.training.job import Job
from anchorface.training.latents import fill_latents
from anchorface.training.networks import Networks, load_networks
from anchorface.training.notes import Notes, Wishes
from anchorface.training.objective import objective
from anchorface.training.observer import Observer, Step
from anchorface.training.preemption import Preemption
from anchorface.training.prefetch import Prefetch
from anchorface.training.record import Record
from anchorface.training.state import State
from anchorface.training.watch import Watch

MOST_RETURNS = 3
"""Returns to one checkpoint before a run that meets values that are not finite gives up (our choice)."""
STARTING = 3600.0
"""Seconds that loading the networks or writing a checkpoint may take before the watch speaks."""


LEAVING = 60.0
"""Seconds that a run which ends with an error leaves to the checkpoint that is being written."""


class NotFinite(Exception):
    """A step that was left out: its loss or gradient was not finite. words: which, and where."""


def train(job: Job, device: torch.device, *, on_ray: bool = False) -> None:
    """Run a job to its end, from its newest checkpoint if it has one.

    Args:
        on_ray: Ray Train started this rank, and says when a node will be taken away.

    Raises:
        TrainingError: values that are not finite, where the execution says stop; names the positions.
        CheckpointError: the run folder holds checkpoints of another configuration.
        StorageError: checkpoints cannot be written.
        Interrupted: somebody wished it to stop; a checkpoint stands.
    """
    notes = Notes(job.run_folder, dist.get_rank())
    watch = Watch(job.execution.hang, notes.tell)
    wishes = Wishes(notes)
    try:
        run = Run(job, device, notes, watch, wishes, Preemption(on_ray=on_ray))
        try:
            while True:
                try:
                    run.to_the_end(run.take_up())
                    return
                except NotFinite as problem:
                    run.go_back(str(problem))
        finally:
            run.leave()
    finally:
        wishes.close()
        watch.close()


class Run:
    """One start of a job on this rank: its networks, engine and writer."""

    def __init__(self, job: Job, device: torch.device, notes: Notes, watch: Watch, wishes: Wishes,
                 preemption: Preemption) -> None:
        self.job, self.device, self.notes, self.watch, self.wishes = job, device, notes, watch, wishes
        self.preemption = preemption
        recipe, execution = job.recipe, job.execution
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        watch.doing(0, "loading the networks", STARTING)
        self.networks = load_networks(recipe, device, execution)
        if job.start:
            adapters, began = join(job.start, EMA_FILE), read_description(job.start)
            self.networks.network.load_adapter_state(load_adapters(adapters, began), adapters,
                                                     partly=require_part_of(began, recipe.model, job.start))
        self.patience = Patience(execution.patience, job.run_folder, notes.tell)
        self.latents = self._latents() if recipe.latents else ""
        self.pieces = execution.pieces(recipe.feed.batch, self.world)
        self.engine, self.optimiser = _engine(job, self.networks, self.pieces, self.world)
        self.state = State(self.engine)
        self.writer = Writer(_place(job, self.rank, self.world), self.patience, notes.tell)
        self.observer: Observer | None = None
        self.returns = (-1, 0)
        self.alone = 0.0

    def take_up(self) -> Description:
        """The description to go on from: rank 0 says which checkpoint, all read it."""
        job, folder = self.job, self.job.run_folder
        self.watch.doing(0, "reading the newest checkpoint", STARTING)
        if self.rank == 0:
            for problem in layout.clean(folder):
                self.notes.tell(f"warning: {problem}")
        newest = resume.agreed(layout.latest(folder) if self.rank == 0 else None)
        description = fresh(job, self.world)
        if newest is not None:
            found = read_description(newest)
            description = resume.continued(found, description, newest, job.recipe.defaults(),
                                           lambda old: old == found.manifest_id)  # the launcher has asked
            if self.returns[0] == found.clock:
                description.extra["order"] = found.extra.get("order", 0) + self.returns[1]
            resume.restore(newest, found, self.state)
        return description

    def to_the_end(self, description: Description) -> None:
        """All steps from a description's clock on, and what is left to do after them."""
        clock, extra = description.clock, description.extra
        self.observer = self.observer or Observer(self.job, self.networks, self.device, clock, self.patience,
                                                  self.notes.tell)
        self.observer.begin(clock, extra)
        with closing(self._feed(clock // self.job.recipe.feed.batch, extra.get("order", 0))) as feed:
            clock = self._steps(feed, description, self.observer)
        self._finish(clock)

    def _steps(self, feed: Iterator[Batch], description: Description, observer: Observer) -> int:
        """A step for each batch; the clock at which they end."""
        recipe, size, state = self.job.recipe, self.job.recipe.feed.batch, self.state
        clock, record = description.clock, Record(description.digest, size, self.device)
        extra = dict(description.extra)
        waiting = time.monotonic()
        for batch in feed:
            waited, step = time.monotonic() - waiting, clock // size
            rate = recipe.learning_rate_at(clock)
            for group in self.engine.optimizer.param_groups:
                group["lr"] = rate
            logged = self._backward(batch, step)
            problem, stop, moves = self._agree(clock, logged, batch)
            norm = self._step(step, refused=bool(problem))
            if not problem and not math.isfinite(norm):
                problem = f"the gradient is not finite at positions [{clock} ... {clock + size - 1}]"
            record.add(clock, batch["position"], batch["digest"], logged)
            clock += size
            if problem:
                extra["skipped"] = [*extra.get("skipped", ()), [clock - size, clock]]
                self._not_finite(problem)
            else:
                state.average(clock=clock, positions=size, half_life=recipe.ema_half_life)
            observer.noted(Step(references=batch["references"].shape[1], rate=rate, norm=norm, waited=waited,
                                took=time.monotonic() - waiting - waited, alone=self.alone))
            shown: dict[str, Any] = {}
            if observer.shows(clock):
                self.watch.doing(step, "validating", STARTING)
                with state.averaged():
                    shown = observer.show(clock, self.engine.module)
            extra = {key: value for key, value in extra.items() if key not in ("validation", "keep")} | shown
            ends = stop or observer.exhausted
            due = ends or moves or recipe.due(clock, recipe.checkpoint_every)
            if due or recipe.due(clock, recipe.log_every):
                self.watch.doing(step, "gathering what was logged")
                observer.logged(clock, record.gather())
            if due:
                self._save(replace(description, clock=clock, digest=record.chain, extra=extra), step + 1)
            self._tell_finished()
            if ends:
                break
            self.watch.doing(step + 1, "waiting for the feed")
            waiting = time.monotonic()
        return clock

    def go_back(self, problem: str) -> None:
        """To the newest checkpoint, and on from there with other samples: its record then says a higher `order`.

        Raises:
            TrainingError: there is none, or the same one was gone back to too often.
        """
        self.writer.wait()
        newest = resume.agreed(layout.latest(self.job.run_folder) if self.rank == 0 else None)
        clock = read_description(newest).clock if newest else -1
        self.returns = (clock, self.returns[1] + 1 if self.returns[0] == clock else 1)
        if newest is None or self.returns[1] > MOST_RETURNS:
            raise TrainingError(f"{problem}. There is no checkpoint to go back to" if newest is None else
                                f"{problem}. The run went back to {newest} {MOST_RETURNS} times, and met it again")
        self.notes.tell(f"warning: {problem}: back to {newest}, and on with other samples")

    def _feed(self, first: int, order: int) -> Prefetch:
        recipe, execution = self.job.recipe, self.job.execution
        fed = recipe.fed if not order else replace(recipe.fed, seed=derive(recipe.seed, "order", order))
        made: Iterator[Batch] = iter(()) if first >= recipe.steps else batches(
            self.job.dataset, fed, first, recipe.steps, rank=self.rank, world=self.world,
            engine=execution.feed if execution.workers else "inline", concurrency=execution.feed_workers,
            num_cpus=execution.booked[1], latents=self.latents, report=self.notes.tell)
        return Prefetch(made, self.device)

    def _latents(self) -> str:
        """The folder of cached tokens, filled by all ranks."""
        self.watch.doing(0, "encoding latents", math.inf)
        folder = fill_latents(self.job.recipe, open_dataset(self.job.dataset), self.networks.encoders.autoencoder,
                              self.device, rank=self.rank, world=self.world, report=self.notes.tell,
                              patience=Patience(self.job.execution.patience, self.job.recipe.latents, self.notes.tell))
        dist.barrier()
        return folder

    def _backward(self, batch: Batch, step: int) -> list[dict[str, torch.Tensor]]:
        """Losses and gradients of this rank's samples; what was logged, a dictionary of values [n] for each piece.

        The engine divides by pieces and ranks, so a piece counts by its share of the global batch.
        """
        recipe, logged, share = self.job.recipe, [], len(batch["position"])
        self.alone = 0.0
        for number in range(self.pieces):
            rows = slice(share * number // self.pieces, share * (number + 1) // self.pieces)
            self.watch.doing(step, f"forward and backward, {number + 1} of {self.pieces}")
            empty = rows.start == rows.stop  # every rank takes part in every backward pass; this one counts nothing
            piece = {name: array[:1] if empty else array[rows] for name, array in batch.items()}
            begun = time.monotonic()
            losses, said = objective(recipe, self.networks, self.engine, piece, self.device)
            self.alone += time.monotonic() - begun
            counted = 0 if empty else len(losses)
            self.engine.backward(losses.mean() * (counted * self.world * self.pieces / recipe.feed.batch))
            if number + 1 < self.pieces:
                self.engine.step()
            if not empty:
                logged.append(said)
        return logged

    def _agree(self, clock: int, logged: list[dict[str, torch.Tensor]], batch: Batch) -> tuple[str, bool, bool]:
        """What all ranks say at the end of a backward pass: which losses are not finite, whether to stop here, and
        whether a node will be taken away.

        Raises:
            TrainingError: ranks at different positions. StorageError: a rank cannot write its checkpoint.
        """
        self.watch.doing(clock // self.job.recipe.feed.batch, "waiting for the other ranks")
        losses = torch.cat([part["loss"] for part in logged])
        bad = bool((~torch.isfinite(losses)).any())
        said = [clock, -clock, bad, bool(self.wishes.stop), self.writer.problem is not None, self.preemption.due()]
        told = torch.tensor([int(each) for each in said], device=self.device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        ahead, behind, bad_somewhere, stop, unwritten, ask = told.tolist()
        if ahead != -behind:
            raise TrainingError(f"ranks stand at positions {-behind} and {ahead}: they did not take up "
                                "the same checkpoint")
        if unwritten:
            raise StorageError(self.writer.problem or "another rank cannot write its checkpoint; earlier ones stand")
        moves = bool(ask) and self.preemption.noticed()
        if moves and self.rank == 0:
            self.notes.tell("Ray takes a node away soon: a checkpoint is written, and training goes on until it does")
        if not bad_somewhere:
            return "", bool(stop), moves
        found: list[list[int]] = [[] for _ in range(self.world)]
        mine = batch["position"][~np.isfinite(losses.double().cpu().numpy())].tolist()
        dist.all_gather_object(found, mine)
        positions = sorted(position for some in found for position in some)
        more = " ..." if len(positions) > 16 else ""
        ranks = [rank for rank, some in enumerate(found) if some]
        return (f"the loss is not finite at positions {positions[:16]}{more} (rank "
                f"{', '.join(str(rank) for rank in ranks)})"), bool(stop), moves

    def _step(self, step: int, *, refused: bool) -> float:
        """The optimiser's step, or none if it is refused or its gradient is not finite; the gradient's norm."""
        norm = gradient_norm(self.engine) if self.state.stage == 0 else None
        self.optimiser.refused = refused or (norm is not None and not math.isfinite(norm))
        self.engine.step()
        if norm is None:
            norm = gradient_norm(self.engine)
            if not self.engine.was_step_applied():
                norm = math.inf
        forget_gradients(self.engine)
        return math.nan if norm is None else norm

    def _not_finite(self, problem: str) -> None:
        policy = self.job.execution.not_finite
        if policy == "back":
            raise NotFinite(problem)
        if policy == "stop":
            raise TrainingError(f"{problem}. The step was left out and no checkpoint was written after it. Look at "
                                "these samples with the feed, lower learning_rate, set precision=fp32, or go on with "
                                "--not-finite skip or back")
        if self.rank == 0:
            self.notes.tell(f"warning: {problem}: the step was left out")

    def _save(self, description: Description, step: int) -> None:
        self.watch.doing(step, "copying a checkpoint", STARTING + self.job.execution.patience)
        assert self.observer is not None
        before = self.writer.paused
        self.writer.save(self.state, description, step, self.observer.flush)
        self.observer.paused("checkpoint", self.writer.paused - before)

    def _finish(self, clock: int) -> None:
        self.watch.doing(clock // self.job.recipe.feed.batch, "writing the last checkpoint",
                         STARTING + self.job.execution.patience)
        self.writer.wait()
        if self.writer.problem is not None:
            raise StorageError(self.writer.problem)
        self._tell_finished()
        assert self.observer is not None
        self.observer.close()
        done = self.job.recipe.steps * self.job.recipe.feed.batch
        why = resume.heard(self.wishes.stop)
        if why is not None and clock < done:
            raise Interrupted(f"{why}: the run ended in good order at {clock:,} of {done:,} samples; its newest "
                              f"checkpoint is {layout.latest(self.job.run_folder)}, the same command goes "
                              "on from there")

    def _tell_finished(self) -> None:
        assert self.observer is not None
        for folder, description in self.writer.finished():
            self.observer.saved(folder, description)

    def leave(self) -> None:
        """However the run ends: the checkpoint that is being written, and lines that wait, have some time."""
        self.writer.wait(LEAVING)
        if self.observer is not None:
            with suppress(StorageError):  # the run ends with its own error
                self.observer.flush()


def _engine(job: Job, networks: Networks, pieces: int, world: int) -> tuple[Any, GuardedAdamW]:
    recipe, adapters = job.recipe, networks.network.trainable_parameters()
    optimiser = GuardedAdamW(adapters, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay)
    network = Autocast(networks.network, enabled=recipe.precision == "bf16")
    settings = configuration(job.execution, pieces=pieces, world=world, clip=recipe.gradient_clip,
                             trained=sum(parameter.numel() for parameter in adapters))
    return start(network, optimiser, settings), optimiser


def _place(job: Job, rank: int, world: int) -> Place:
    attempt = resume.agreed(uuid.uuid4().hex if rank == 0 else None)
    assert attempt is not None
    return Place(run_folder=job.run_folder, attempt=attempt, rank=rank, world=world, retention=job.recipe.retention)
