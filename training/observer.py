"""What a run shows of itself: the loop tells one observer, which keeps `progress.jsonl`, sample grids and tracking.

Every rank has one. Rank 0's writes; all take part in drawing grids, since at ZeRO stage 3 the parameters are in pieces.
"""

import math
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from anchorface.models.checkpoint import DESCRIPTION_FILE
from anchorface.records.lines import Lines
from anchorface.records.storage import join
from anchorface.training.job import PROGRESS, Job
from anchorface.training.networks import Networks
from anchorface.training.preview import fixed_batch, grid, restore, write_png
from anchorface.training.record import Measures
from anchorface.training.system_metrics import SystemMetrics
from anchorface.training.tracking import Tracker


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a rank knows of a step without asking others. references: of each sample. rate: the learning rate. norm: of
    the gradient, infinite for a step that was left out. waited: seconds for the feed."""

    references: int
    rate: float
    norm: float
    waited: float


class Observer:
    """Told of every step and every checkpoint of a run.

    Args:
        job: the run. networks: for the sample grids. clock: positions seen when this process began.
    """

    def __init__(self, job: Job, networks: Networks, device: torch.device, clock: int) -> None:
        self.job, self.networks, self.device = job, networks, device
        recipe, writes = job.recipe, dist.get_rank() == 0
        node, tells = int(os.environ.get("NODE_RANK", "0")), job.tracking is not None
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        self.tracker = Tracker(job.run_folder) if writes and tells else None
        self.system = SystemMetrics(node, job.run_folder, device) if first and tells else None
        self.node_tracker = self.tracker or (Tracker(job.run_folder, node) if first and tells and node else None)
        self.progress = Progress(join(job.run_folder, PROGRESS), recipe.positions) if writes else None
        self.shown = fixed_batch(recipe, job.dataset) if recipe.grid_every else None
        self.steps: list[Step] = []
        self.exhausted = False

    def begin(self, clock: int, extra: dict[str, Any]) -> None:
        """The run goes on at a clock, with what the checkpoint's description had in `extra`."""
        self.steps = []
        if self.progress is not None:
            self.progress.begin(clock)

    def noted(self, step: Step) -> None:
        """A step is done."""
        self.steps.append(step)

    def logged(self, clock: int, measures: list[Measures]) -> None:
        """All ranks' values of the steps since the last call, which ended at a clock."""
        steps, self.steps = self.steps, []
        if self.system and self.node_tracker:
            self.node_tracker.metrics(self.system.sample(), clock)
        if self.progress is not None:
            self._metrics(self.progress.write(clock, steps, measures), clock)

    def shows(self, clock: int) -> bool:
        """Whether something is due that needs the averaged network."""
        return self.shown is not None and self.job.recipe.due(clock, self.job.recipe.grid_every)

    def show(self, clock: int, network: Any) -> dict[str, Any]:
        """Draw what is due, with the network as the engine holds it; what a checkpoint's description shall keep."""
        assert self.shown is not None
        restored, judged = restore(self.job.recipe, self.networks, network, self.shown, self.device)
        if self.progress is not None:
            path = join(self.job.run_folder, "samples", f"step-{clock // self.job.recipe.feed.batch:08d}.png")
            write_png(path, grid(self.shown, restored))
            if self.tracker:
                self.tracker.picture(path)
            self._metrics(judged, clock)
        return {}

    def saving(self) -> None:
        """A checkpoint is about to be written: what a resumed run will not see again must stand on the disk."""
        if self.node_tracker:
            self.node_tracker.flush()
        if self.progress is not None:
            self.progress.lines.flush()

    def saved(self, folder: str) -> None:
        """A checkpoint is complete in this folder."""
        if self.tracker:
            self.tracker.checkpoint(folder, join(folder, DESCRIPTION_FILE))

    def close(self, paused: float) -> None:
        """The run is over; checkpoints made it wait for so many seconds."""
        self.saving()

    def _metrics(self, values: dict[str, float], clock: int) -> None:
        if self.tracker:
            self.tracker.metrics(values, clock)


class Progress:
    """`progress.jsonl`, which the launcher shows as it grows.

    Args:
        uri: the file. positions: of the whole run.
    """

    def __init__(self, uri: str, positions: int) -> None:
        self.lines, self.positions = Lines(uri), positions
        self.clock, self.time = 0, time.monotonic()

    def begin(self, clock: int) -> None:
        """The run goes on at a clock."""
        self.clock, self.time = clock, time.monotonic()
        self.lines.append({"clock": clock, "positions": self.positions, "pid": os.getpid()})

    def write(self, clock: int, steps: list[Step], measures: list[Measures]) -> dict[str, float]:
        """Append a line with the means of some steps; returns the metrics in it."""
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
        line |= {"samples_per_second": (clock - self.clock) / seconds,
                 "data_wait": sum(step.waited for step in steps) / seconds}
        finite = {key: value for key, value in line.items() if math.isfinite(value)}
        left = (self.positions - clock) / max(line["samples_per_second"], 1e-9)
        self.lines.append({"clock": clock, "positions": self.positions, "seconds_left": left, **finite})
        self.clock, self.time = clock, time.monotonic()
        return finite
