"""What a run shows of itself: the loop tells one observer, which keeps `progress.jsonl`, sample grids and MLflow.

Every rank has one. Rank 0's writes; all take part in drawing grids, since at ZeRO stage 3 the parameters are in pieces.
"""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from anchorface.models.checkpoint import DESCRIPTION_FILE
from anchorface.training.job import PROGRESS, Job
from anchorface.training.networks import Networks
from anchorface.training.preview import fixed_batch, grid, restore, write_png
from anchorface.training.system_metrics import SystemMetrics
from anchorface.training.tracking import Tracker

Measures = dict[str, NDArray[np.float64]]


class Observer:
    """Told of every step and every checkpoint of a run.

    Args:
        job: the run. networks: for the sample grids. clock: positions seen when this process began.
    """

    def __init__(self, job: Job, networks: Networks, device: torch.device, clock: int) -> None:
        self.job, self.networks, self.device = job, networks, device
        recipe, writes = job.recipe, dist.get_rank() == 0
        node, tells = int(os.environ.get("NODE_RANK", "0")), job.tracking is not None
        self.tracker = Tracker(job.run_folder) if writes and tells else None
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        self.system = SystemMetrics(node, str(job.run_folder), device) if first and tells else None
        self.node_tracker = self.tracker or (Tracker(job.run_folder, node) if first and tells and node else None)
        self.notes = Notes(job.run_folder / PROGRESS, recipe.positions, clock) if writes else None
        self.shown = fixed_batch(recipe, job.dataset) if recipe.grid_every else None

    def stepped(self, clock: int, measures: Measures, *, references: int, rate: float, norm: Any, network: Any) -> None:
        """A step is done; what is due is written.

        Args:
            clock: positions seen including this step. measures: name -> values of all ranks' samples, [batch] each.
            references: of each sample. rate: the learning rate. norm: of the gradient, None where it is not known.
            network: the system as the engine holds it.
        """
        recipe = self.job.recipe
        if self.shown is not None and recipe.due(clock, recipe.grid_every):
            self._draw(clock, network)
        if self.system and self.node_tracker and recipe.due(clock, recipe.log_every):
            self.node_tracker.metrics(self.system.sample(), clock)
        if self.notes is not None:
            self.notes.add(measures, rate=rate, norm=norm, references=references)
            if recipe.due(clock, recipe.log_every):
                self._metrics(self.notes.write(clock), clock)

    def saving(self) -> None:
        """A checkpoint is about to be written: what a resumed run will not see again must stand on the disk."""
        if self.node_tracker:
            self.node_tracker.flush()

    def saved(self, folder: Path) -> None:
        """A checkpoint stands in this folder."""
        if self.tracker:
            self.tracker.checkpoint(folder, folder / DESCRIPTION_FILE)

    def close(self) -> None:
        """The run is over."""
        self.saving()

    def _draw(self, clock: int, network: Any) -> None:
        assert self.shown is not None
        restored, judged = restore(self.job.recipe, self.networks, network, self.shown, self.device)
        if self.notes is not None:
            path = self.job.run_folder / "samples" / f"step-{clock // self.job.recipe.feed.batch:08d}.png"
            write_png(path, grid(self.shown, restored))
            if self.tracker:
                self.tracker.picture(path)
            self._metrics(judged, clock)

    def _metrics(self, values: dict[str, float], clock: int) -> None:
        if self.tracker:
            self.tracker.metrics(values, clock)


class Notes:
    """The record since the last line, and `progress.jsonl`, which the launcher shows as it grows."""

    def __init__(self, path: Path, positions: int, clock: int) -> None:
        self.path, self.positions = path, positions
        self.begin(clock)
        self._append({"clock": clock, "positions": positions, "pid": os.getpid()})

    def begin(self, clock: int) -> None:
        """Forget what was noted."""
        self.clock, self.time = clock, time.monotonic()
        self.measures: list[Measures] = []
        self.last: dict[str, float] = {}
        self.by_count: dict[int, list[float]] = {}

    def add(self, measures: Measures, *, rate: float, norm: Any, references: int) -> None:
        """Note one step: name -> values [batch]."""
        self.measures.append(measures)
        if "flow" in measures:
            self.by_count.setdefault(references, []).append(float(measures["flow"].mean()))
        self.last = {"learning_rate": rate, "gradient_norm": float(norm) if norm is not None else math.nan}

    def write(self, clock: int) -> dict[str, float]:
        """Append a line with the means since the last one; returns the metrics in it."""
        columns = {name: np.concatenate([step[name] for step in self.measures]) for name in self.measures[0]}
        speed = (clock - self.clock) / max(time.monotonic() - self.time, 1e-9)
        line = {name: float(np.nanmean(column)) for name, column in columns.items() if not np.isnan(column).all()}
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
