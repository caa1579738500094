"""What a run shows of itself: the loop tells one observer, which keeps `progress.jsonl`, sample grids, validations and
tracking.

Every rank has one. Rank 0's writes; all take their share in drawing grids and in validating.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from anchorface.models.checkpoint import Description
from anchorface.pipelines.stages.metrics import Metrics
from anchorface.records.addresses import redacted
from anchorface.records.lines import Lines
from anchorface.records.patience import Patience
from anchorface.records.storage import join
from anchorface.training import keep, trust
from anchorface.training.best import Best
from anchorface.training.job import PROGRESS, Job
from anchorface.training.networks import Networks
from anchorface.training.preview import Pictures, fixed_batch, grid, restore
from anchorface.training.record import Measures
from anchorface.training.system_metrics import SystemMetrics
from anchorface.training.throughput import Operations, Throughput, device_rate, tokens_per_sample
from anchorface.training.tracking import Tracker
from anchorface.training.validation import Validation


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a rank knows of a step without asking others. references: of each sample. rate: the learning rate. norm: of
    the gradient, infinite for a step that was left out. Seconds: waited for the feed; took, the step without that;
    alone, of these, in which this rank waited for no other.
    """

    references: int
    rate: float
    norm: float
    waited: float
    took: float
    alone: float


class Observer:
    """Told of every step and every checkpoint of a run.

    Args:
        job: the run. networks: for the sample grids. clock: positions seen when this process began.
        patience: for how long what is written may wait for the run folder. tell: takes a line for the user.
    """

    def __init__(self, job: Job, networks: Networks, device: torch.device, clock: int, patience: Patience,
                 tell: Callable[[str], None]) -> None:
        self.job, self.networks, self.device = job, networks, device
        recipe, writes = job.recipe, dist.get_rank() == 0
        node, tells = int(os.environ.get("NODE_RANK", "0")), job.tracking is not None
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        self.tracker = Tracker(job.run_folder, patience=patience) if writes and tells else None
        self.system = SystemMetrics(node, job.run_folder, device) if first and tells else None
        self.node_tracker = self.tracker or (
            Tracker(job.run_folder, node, patience) if first and tells and node else None)
        self.progress = Progress(join(job.run_folder, PROGRESS), recipe.positions, patience) if writes else None
        self.pictures = Pictures(patience, tell)
        self.shown = fixed_batch(recipe, job.dataset, device) if recipe.grid_every else None
        self.validation = Validation(recipe, networks, job.dataset, device) if recipe.validation.every else None
        self.best = Best.of(recipe.validation)
        self.operations = Operations(recipe)
        self.throughput = Throughput(lambda n: tokens_per_sample(recipe, n), self.operations,
                                     device_rate(device, recipe.precision))
        self.gauges = Metrics("training", run=redacted(job.run_folder)) if writes and job.execution.workers else None
        self.steps: list[Step] = []

    def begin(self, clock: int, extra: dict[str, Any]) -> None:
        """The run goes on at a clock, with what the checkpoint's description had in `extra`."""
        self.steps = []
        self.best = Best.of(self.job.recipe.validation, extra.get("best"))
        if self.progress is not None:
            self.progress.begin(clock, dist.get_world_size())

    @property
    def exhausted(self) -> bool:
        """Whether the run shall end early: validation has not become better for too long."""
        return self.best.exhausted(self.job.recipe.validation.patience)

    def noted(self, step: Step) -> None:
        """A step is done."""
        self.steps.append(step)
        self.throughput.waited(step.waited)
        self.throughput.stepped(self.job.recipe.feed.batch, step.took, references=step.references, alone=step.alone)

    def paused(self, what: str, seconds: float) -> None:
        """Training stood still for something."""
        self.throughput.paused(what, seconds)

    def logged(self, clock: int, measures: list[Measures]) -> None:
        """All ranks' values of the steps since the last call, which ended at a clock."""
        self._write_pictures()
        steps, self.steps = self.steps, []
        own = torch.tensor(self.throughput.own(self.device), dtype=torch.float64, device=self.device)
        ranks = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(ranks, own)
        if self.system and self.node_tracker:
            self.node_tracker.metrics(self.system.sample(), clock)
        if self.progress is None:
            self.throughput.begin()
        elif steps:
            told = self.throughput.line([rank.tolist() for rank in ranks])
            self._metrics(self.progress.write(clock, steps, measures, told), clock)

    def shows(self, clock: int) -> bool:
        """Whether something is due that needs the averaged network."""
        return self._draws(clock) or (self.validation is not None and self.validation.due(clock))

    def show(self, clock: int, network: Any) -> dict[str, Any]:
        """Draw and validate what is due, with the network as the engine holds it, averages in it; every rank calls
        this.

        Returns:
            What the checkpoint of this clock shall say: the validation's values, the best so far, and at the run's end
            how much of a degraded face is kept, and how far references are believed.
        """
        begun, told = time.monotonic(), {}
        if self.validation is not None and self.validation.due(clock):
            values = self.validation.measure(network, dist.get_rank(), dist.get_world_size())
            self.best = self.best.taken(values, clock)
            if self.best.clock is not None:
                values["validation/best"] = float(self.best.clock)
            told = {"validation": values, "best": self.best.to_json()} | self._at_end(self.validation, clock, network)
            if self.progress is not None:
                self.progress.tell(clock, values)
            self._metrics(values, clock)
        if self._draws(clock):
            self._draw(clock, network)
        self.paused("validation", time.monotonic() - begun)
        return told

    def _at_end(self, validation: Validation, clock: int, network: Any) -> dict[str, Any]:
        """At the run's end: how much of a degraded face restorations keep, and how far they believe references."""
        recipe, place = self.job.recipe, (dist.get_rank(), dist.get_world_size())
        if clock < recipe.steps * recipe.feed.batch and not self.exhausted:
            return {}
        found = {"keep": keep.measured(validation, network, *place), "trust": trust.measured(validation, *place)}
        return {name: measured.to_dict() for name, measured in found.items() if measured}

    def _draws(self, clock: int) -> bool:
        return self.shown is not None and self.job.recipe.due(clock, self.job.recipe.grid_every)

    def _draw(self, clock: int, network: Any) -> None:
        assert self.shown is not None
        restored, judged = restore(self.job.recipe, self.networks, network, self.shown, self.device, dist.get_rank(),
                                   dist.get_world_size())
        if self.progress is not None:
            path = join(self.job.run_folder, "samples", f"step-{clock // self.job.recipe.feed.batch:08d}.png")
            self.pictures.add(path, grid(self.shown, restored))
            self._write_pictures()
            self._metrics(judged, clock)

    def _write_pictures(self, *, last: bool = False) -> None:
        for path in self.pictures.write(last=last):
            if self.tracker:
                self.tracker.picture(path)

    def flush(self) -> None:
        """Return when every line stands on the disk; any thread may call it.

        Raises:
            StorageError: one cannot be written now; it waits.
        """
        for lines in self._lines():
            lines.flush()

    def saved(self, folder: str, description: Description) -> None:
        """A checkpoint is complete in this folder."""
        if self.tracker:
            self.tracker.checkpoint(folder, description.to_json())

    def close(self) -> None:
        """The run is over: what waits is written while patience lasts.

        Raises:
            StorageError: lines could not be written for too long.
        """
        self.operations.close()
        for lines in self._lines():
            lines.close()
        self._write_pictures(last=True)
        self.flush()

    def _lines(self) -> list[Lines]:
        return [owner.lines for owner in (self.node_tracker, self.progress) if owner is not None]

    def _metrics(self, values: dict[str, float], clock: int) -> None:
        if self.tracker:
            self.tracker.metrics(values, clock)
        if self.gauges:
            self.gauges.set({**values, "clock": clock, "positions": self.job.recipe.positions})


class Progress:
    """`progress.jsonl`, which the launcher shows as it grows.

    Args:
        uri: the file. positions: of the whole run. patience: for how long lines may wait.
    """

    def __init__(self, uri: str, positions: int, patience: Patience) -> None:
        self.lines, self.positions = Lines(uri, patience=patience), positions
        self.clock, self.time = 0, time.monotonic()

    def begin(self, clock: int, workers: int) -> None:
        """The run goes on at a clock, with so many workers."""
        self.clock, self.time = clock, time.monotonic()
        self.lines.append({"clock": clock, "positions": self.positions, "pid": os.getpid(), "workers": workers})

    def tell(self, clock: int, values: dict[str, float]) -> None:
        """Append a line of other values than a step's."""
        self.lines.append({"clock": clock, "positions": self.positions, **values})

    def write(self, clock: int, steps: list[Step], measures: list[Measures],
              told: dict[str, float]) -> dict[str, float]:
        """Append a line with the means of some steps, and what is `told` besides; returns the metrics in it."""
        columns = {name: np.concatenate([step[name] for step in measures]) for name in measures[0]}
        line = {name: float(np.nanmean(column)) for name, column in columns.items() if not np.isnan(column).all()}
        by_count: dict[int, list[float]] = {}
        for step, values in zip(steps, measures, strict=True):
            if "flow" in values:
                by_count.setdefault(step.references, []).append(float(values["flow"].mean()))
        line |= {f"flow/references_{count}": float(np.mean(flows)) for count, flows in sorted(by_count.items())}
        line |= {"learning_rate": steps[-1].rate, "gradient_norm": steps[-1].norm}
        line["steps_left_out"] = float(sum(math.isinf(step.norm) for step in steps))
        seconds = max(time.monotonic() - self.time, 1e-9)
        line |= {"samples_per_second": (clock - self.clock) / seconds, **told}
        finite = {key: value for key, value in line.items() if math.isfinite(value)}
        left = (self.positions - clock) / max(line["samples_per_second"], 1e-9)
        self.lines.append({"clock": clock, "positions": self.positions, "seconds_left": left, **finite})
        self.clock, self.time = clock, time.monotonic()
        return finite
