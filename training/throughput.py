"""How fast a run is and what holds it up, in numbers that add up.

In: what the loop measured of its own steps, in seconds. Out: a dictionary for progress, MLflow and Ray's metrics, from
rank 0, each time a line is written:

    throughput/seconds             since the last line, on this rank
    throughput/images_per_second   restored pictures (samples) of all ranks; .../tokens_per_second with their context
    throughput/data_wait           share of the time that the worst-fed rank waited for its batch, and all with it
    throughput/paused/...          share of the time in something else than steps: checkpoint, validation, grid
    throughput/utilisation         the model's operations over what all ranks' devices could have done
    throughput/memory_gib          the fullest rank's peak: the GPU's allocations, or the process's memory on a CPU
    throughput/skew_seconds        the slowest rank's time alone in a step, less the median rank's

Nothing here talks to other ranks: the loop gathers every rank's `own()` when a line is due, and rank 0 asks for `line`.
"""

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch

from anchorface.training.plan import count
from anchorface.training.recipes import Recipe

GIB = 2**30
COUNTED_AFTER = 60.0
"""Seconds of training after which operations are counted (seconds of rank 0's time): no shorter run is worth it."""
RATES = {"H200": 989e12, "H100 NVL": 835e12, "H100 PCIE": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12,
         "L40": 181e12, "L4": 121e12, "A10G": 70e12}
"""Dense bfloat16 operations per second by a part of the GPU's name, as its maker states them; the first that fits."""


class Throughput:
    """Counters since the last line.

    Args:
        tokens_per_sample, operations_per_sample: of a sample with so many references (the functions below), asked on
            the rank that writes lines; None where operations are not known yet.
        rate: operations per second of this rank's device (`device_rate`), 0 where unknown: then no utilisation.
        counted_after: seconds of training before operations are counted.
    """

    def __init__(self, tokens_per_sample: Callable[[int], int], operations_per_sample: Callable[[int], float | None],
                 rate: float, counted_after: float = COUNTED_AFTER) -> None:
        self.tokens_per_sample, self.operations_per_sample = tokens_per_sample, operations_per_sample
        self.rate, self.counted_after = rate, counted_after
        self.trained = 0.0
        self.begin()

    def begin(self) -> None:
        """Forget what was counted since the last line."""
        self._waited = self._stepped = self._alone = 0.0
        self._steps = 0
        self._paused: dict[str, float] = {}
        self._samples: Counter[int] = Counter()

    def waited(self, seconds: float) -> None:
        """The loop waited for its batch."""
        self._waited += seconds

    def stepped(self, samples: int, seconds: float, *, references: int, alone: float | None = None) -> None:
        """A step is done.

        Args:
            samples: of all ranks, with so many references each. seconds: what it took, the wait for its batch left out.
            alone: of these, the seconds in which this rank waited for no other (the forward pass, at stages 0 to 2), by
                which ranks are compared; None: all of them.
        """
        self._steps += 1
        self._stepped += seconds
        self._alone += seconds if alone is None else alone
        self._samples[references] += samples

    def paused(self, what: str, seconds: float) -> None:
        """Training stood still for a `checkpoint`, a `validation`, a `grid`."""
        self._paused[what] = self._paused.get(what, 0.0) + seconds

    def own(self, device: torch.device) -> tuple[float, float, float, float]:
        """This rank's part of a line, to be gathered: seconds alone per step, seconds of waiting, peak memory in bytes,
        and its device's rate."""
        return self._alone / max(self._steps, 1), self._waited, float(peak_memory(device)), self.rate

    def line(self, ranks: Sequence[Sequence[float]]) -> dict[str, float]:
        """The numbers since the last line, as the module lists them; the counters begin anew.

        Args:
            ranks: `own()` of every rank, [world, 4].
        """
        seconds = self._waited + self._stepped + sum(self._paused.values())
        if seconds <= 0 or not self._steps:
            self.begin()
            return {}
        self.trained += seconds
        alone, waited, memory, rates = (list(column) for column in zip(*ranks, strict=True))
        found = {
            "throughput/seconds": seconds,
            "throughput/images_per_second": self._samples.total() / seconds,
            "throughput/data_wait": min(max(waited) / seconds, 1.0),
            "throughput/memory_gib": max(memory) / GIB,
            "throughput/skew_seconds": max(alone) - statistics.median(alone),
            **{f"throughput/paused/{what}": took / seconds for what, took in self._paused.items()},
        }
        found["throughput/tokens_per_second"] = self._whole(self.tokens_per_sample) / seconds
        if self.trained >= self.counted_after and min(rates) > 0:
            asked = ((references, self.operations_per_sample(references)) for references in self._samples)
            known = {references: operations for references, operations in asked if operations is not None}
            if len(known) == len(self._samples):
                found["throughput/utilisation"] = self._whole(known.__getitem__) / (seconds * sum(rates))
        self.begin()
        return found

    def _whole(self, of_sample: Callable[[int], float]) -> float:
        return sum(samples * of_sample(references) for references, samples in self._samples.items())


class Operations:
    """Operations of a recipe's samples, counted in a process of its own: training does not wait, and none of torch's
    settings in this process, which counting changes for a while, are touched.

    The process starts when the first number is asked for; until it has answered, numbers are None. It ends by itself.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._process: BaseProcess | None = None
        self._known: list[float] = []

    def __call__(self, references: int) -> float | None:
        """Of a sample with so many references; None until it is known."""
        if self._process is None:
            spawned = multiprocessing.get_context("spawn")
            self._answer, told = spawned.Pipe(duplex=False)
            self._process = spawned.Process(target=_count, args=(self.recipe, told), daemon=True)
            self._process.start()
            told.close()
        elif not self._known and self._answer.poll():
            with suppress(EOFError):  # it died: the lines go on without
                self._known = self._answer.recv()
        return self._known[references] if self._known else None

    def close(self) -> None:
        """Nobody asks any more."""
        if self._process is not None:
            self._process.kill()
            self._process.join()


def _count(recipe: Recipe, told: Connection) -> None:
    os.nice(10)
    torch.set_num_threads(1)
    counts = range(len(recipe.feed.reference_count_probabilities))
    told.send([operations_per_sample(recipe, references) for references in counts])


def tokens_per_sample(recipe: Recipe, references: int) -> int:
    """Tokens of one sample in the network's sequence: prompt, scene, degraded picture, and references if it shows them;
    of a clip those of all frames.
    """
    shown = references if recipe.model.system.concatenates else 0
    each = recipe.model.tokens_per_side**2 * (2 + shown) + recipe.model.backbone.text_tokens
    return recipe.feed.frames * each


def operations_per_sample(recipe: Recipe, references: int) -> float:
    """Operations of one sample in training. Counting takes seconds (9 s at 4 B on one core). What checkpointing repeats
    is no work of the model's and is left out."""
    return float(count(recipe, references).training)


def device_rate(device: torch.device, precision: str) -> float:
    """Operations per second of products of matrices on a device in a recipe's precision: of a GPU in bfloat16 what its
    maker states, where its name is known; else measured here, in a fifth of a second, with this process's threads.
    """
    if device.type == "cuda" and precision == "bf16":
        name = torch.cuda.get_device_name(device).upper()
        known = next((rate for part, rate in RATES.items() if part in name), None)
        if known is not None:
            return known
    dtype, side = torch.bfloat16 if precision == "bf16" else torch.float32, 8192 if device.type == "cuda" else 1024
    one = torch.ones(side, side, dtype=dtype, device=device)
    one @ one
    fastest, begun = float("inf"), time.monotonic()
    while fastest == float("inf") or time.monotonic() - begun < 0.2:
        _wait(device)
        started = time.perf_counter()
        one @ one
        _wait(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2.0 * side**3 / fastest


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that torch had allocated on a GPU, or that this process held on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def summary(lines: Sequence[Mapping[str, float]]) -> str:
    """A run's throughput in plain words, from its lines of progress; empty where none holds any."""
    told = [line for line in lines if line.get("throughput/seconds", 0) > 0]
    if not told:
        return ""
    whole = sum(line["throughput/seconds"] for line in told)

    def mean(key: str, among: Sequence[Mapping[str, float]] = told) -> float:
        """By time; a key that a line lacks was 0 then."""
        seconds = sum(line["throughput/seconds"] for line in among)
        return sum(line.get(key, 0.0) * line["throughput/seconds"] for line in among) / seconds

    parts = [f"{_short(mean('throughput/images_per_second'))} samples/s",
             f"{_percent(mean('throughput/data_wait'))} of the time waited for data"]
    counted = [line for line in told if "throughput/utilisation" in line]
    if counted:
        parts.append(f"{_percent(mean('throughput/utilisation', counted))} of the machine's rate")
    parts.append(f"{max(line['throughput/memory_gib'] for line in told):.1f} GiB at most on a rank")
    pauses = sorted({key for line in told for key in line if key.startswith("throughput/paused/")})
    parts += [f"{key.rpartition('/')[2]} {_percent(mean(key))} of the time" for key in pauses]
    skew = mean("throughput/skew_seconds")
    if skew >= 0.001:
        parts.append(f"the slowest rank was {skew * 1000:.0f} ms a step behind the median")
    return f"{_hours(whole)} of training: " + "; ".join(parts)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _hours(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
