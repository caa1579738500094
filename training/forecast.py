"""What a run will take, on paper: seconds of a step by ZeRO stage, the best stage, checkpoints, feed, failures.

In: what training.plan counted, and Assumptions. Out: a Forecast for each number of GPUs and stage. Every function is
pure; what is an assumption and what was measured stands beside each number.

Bytes that one GPU sends in a step, f = (GPUs - 1) / GPUs, A = bytes of the float32 adapters, W = bytes of all weights
(a ring; DeepSpeed 0.19 with `overlap_comm` off, so nothing is hidden behind computing):

    stage   reduced                      gathered
    0       2 f A                        -
    1       2 f A                        f A            weights after the optimiser's step
    2       2 f A for each micro-batch   f A
    3       f A for each micro-batch     2 f W for each micro-batch: forward, and backward (blocks that are computed
                                         again there take the same weights)

Stages 1 and 2 reduce by all-reduce: `use_multi_rank_bucket_allreduce` is on by default. At stage 3 the weights used
last in the forward pass are not gathered twice (training.buckets.LIVE); that is not counted.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from anchorface.records.bounds import Bounds, check
from anchorface.training.execution import STAGES
from anchorface.training.plan import Counted, memory, share_of
from anchorface.training.recipes import Recipe

NODE = 8
"""GPUs that NVLink joins: an HGX board's."""
NVLINK, INFINIBAND = 450e9, 50e9
"""Bytes per second and GPU in one direction: NVLink 4 of an H100 or H200; between nodes one 400 Gb/s port (NDR) per
GPU. Makers' figures, not reached in full by any run: an assumption."""
H200 = 989e12
"""Operations per second of an H200's (and an H100's) matrix units in bfloat16, dense: the maker's figure."""
EFFICIENCY = 0.26
"""Share of H200 that a run reaches: measured on one H200, recipe `iconface` with random weights, micro-batch 1, blocks
computed again, three references (`benchmarks/training.py --gpu`)."""
DEVICE = 141e9
"""Bytes of an H200."""
HOST_COPY = 4e9
"""Bytes per second: 256 MiB copied from memory to memory by one thread of two shared, busy CPUs (3.7 to 4.4). A GPU's
pinned copy was not measured."""
FEED_SECONDS, FEED_REFERENCE_SECONDS = 0.011, 0.0053
"""CPU seconds of a sample without references, and of each reference: recipe `iconface`, 512 px, crops of synthetic
photographs, 24 samples on two shared CPUs. Smaller pictures cost less; they are counted alike. A clip is counted as so
many pictures, its video codec's work left out."""
DEGRADE_SECONDS = 0.0037
"""Of these, what degrading took (48 plans, one of two shared CPUs); spared where `feed.degrade_on_device`."""
RESTART = 120.0
"""Seconds from a dead worker to the first step: an assumption."""


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What is not counted.

    rate: operations per second of one GPU's matrix units. efficiency: share of it that a run reaches. bandwidth: bytes
    per second that a GPU sends, 0 for NVLINK up to NODE GPUs and INFINIBAND above. device: bytes of one GPU.
    host_copy: bytes per second from the GPU to memory. feed_rate: samples per second of one feed CPU, 0 for what was
    measured. restart: seconds from a failure to the first step.
    """

    rate: Annotated[float, Bounds(1, 1e18)] = H200
    efficiency: Annotated[float, Bounds(0, 1, above=True)] = EFFICIENCY
    bandwidth: Annotated[float, Bounds(0, 1e15)] = 0.0
    device: Annotated[float, Bounds(1, 1e15)] = DEVICE
    host_copy: Annotated[float, Bounds(1, 1e15)] = HOST_COPY
    feed_rate: Annotated[float, Bounds(0, 1e9)] = 0.0
    restart: Annotated[float, Bounds(0, 1e9)] = RESTART

    def __post_init__(self) -> None:
        check(self, "plan: ")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A run on some GPUs at a stage. computing, communicating: seconds of an optimiser step. memory: bytes on one GPU.
    pause: seconds that a checkpoint halts training while its bytes are copied. feed_cpus: of each GPU. lost: seconds
    that a failure costs in the mean: half of what lies between two checkpoints, and the restart. fits: on the device.
    """

    gpus: int
    stage: int
    batch: int
    computing: float
    communicating: float
    memory: int
    pause: float
    feed_cpus: float
    lost: float
    fits: bool

    @property
    def step(self) -> float:
        """Seconds of an optimiser step."""
        return self.computing + self.communicating

    @property
    def samples_per_second(self) -> float:
        """Of all GPUs together."""
        return self.batch / self.step


def refusal(recipe: Recipe, gpus: int) -> str:
    """Why a recipe cannot train on so many GPUs, and what to set; empty if it can."""
    batch = recipe.feed.batch
    if gpus <= batch:
        return ""
    positions = -(-recipe.positions // gpus) * gpus
    more = "" if positions == recipe.positions else f" --set positions={positions}"
    return f"{gpus} GPUs: refused, feed.batch {batch} has only {batch} samples; --set feed.batch={gpus}{more}"


def traffic(counted: Counted, gpus: int, stage: int) -> tuple[float, float]:
    """Bytes that one GPU sends in an optimiser step: for gradients (reduced), and for weights (gathered).

    Args:
        counted: from `plan.count`. gpus: ranks. stage: ZeRO's.
    """
    held = memory(counted, gpus=1, stage=0)
    ring, passes = (gpus - 1) / gpus, share_of(counted, gpus).passes
    adapters, weights = ring * held.adapters, ring * (held.adapters + held.backbone)
    reduced = {0: 2 * adapters, 1: 2 * adapters, 2: 2 * adapters * passes, 3: adapters * passes}
    gathered = {0: 0.0, 1: adapters, 2: adapters, 3: 2 * weights * passes}
    return reduced[stage], gathered[stage]


def forecast(counted: Counted, *, gpus: int = 1, stage: int, assumed: Assumptions | None = None) -> Forecast:
    """What a run takes on some GPUs at a stage.

    Args:
        counted: from `plan.count`. gpus: ranks. stage: ZeRO's. assumed: what is not counted.

    Raises:
        ConfigurationError: no such stage, or more GPUs than the batch has samples.
    """
    assumed, recipe = assumed or Assumptions(), counted.recipe
    needed, share = memory(counted, gpus=gpus, stage=stage), share_of(counted, gpus)
    computing = share.samples * counted.training / (assumed.rate * assumed.efficiency)
    communicating = sum(traffic(counted, gpus, stage)) / bandwidth(gpus, assumed)
    step, batch = computing + communicating, recipe.feed.batch
    feed_seconds = FEED_SECONDS * recipe.feed.frames + FEED_REFERENCE_SECONDS * counted.references
    feed_rate = assumed.feed_rate or 1 / (feed_seconds - DEGRADE_SECONDS * recipe.feed.degrade_on_device)
    return Forecast(
        gpus=gpus, stage=stage, batch=batch, computing=computing, communicating=communicating, memory=needed.total,
        pause=(needed.adapters + needed.moments + needed.average) / assumed.host_copy,
        feed_cpus=batch / step / gpus / feed_rate,
        lost=recipe.checkpoint_every / batch * step / 2 + assumed.restart, fits=needed.total <= assumed.device,
    )


def best(counted: Counted, *, gpus: int = 1, assumed: Assumptions | None = None) -> Forecast:
    """The stage that trains fastest among those that fit on the device; of equally fast ones that of least memory. If
    none fits, the one that needs least.

    Args:
        counted, gpus, assumed: as for `forecast`, which raises alike.
    """
    found = [forecast(counted, gpus=gpus, stage=stage, assumed=assumed) for stage in STAGES]
    if not any(each.fits for each in found):
        return min(found, key=lambda each: each.memory)
    return min((each for each in found if each.fits), key=lambda each: (each.step, each.memory))


def bandwidth(gpus: int, assumed: Assumptions) -> float:
    """Bytes per second that a GPU sends to the next one."""
    return assumed.bandwidth or (NVLINK if gpus <= NODE else INFINIBAND)


def told(found: Forecast, recipe: Recipe, assumed: Assumptions) -> str:
    """A forecast in plain words, a sentence for each thing."""
    one = found.gpus == 1
    hours = recipe.positions / found.samples_per_second / 3600
    between = recipe.checkpoint_every / found.samples_per_second
    rate = f"{bandwidth(found.gpus, assumed) / 1e9:.0f} GB/s"
    sends = "" if one else f", {found.communicating:.2f} communicating at {rate}"
    stage = f"stage {found.stage} is best" if found.fits else (
        f"nothing fits into {assumed.device / 2**30:.0f} GiB, stage {found.stage} needs least, "
        f"{found.memory / 2**30:.0f} GiB; --micro-batch 1 and --checkpointing need less")
    speed = found.samples_per_second
    device = " and leaves degrading to it, which is not counted" if recipe.feed.degrade_on_device else ""
    return (
        f"{found.gpus} GPU{'' if one else 's'}: {stage}. A step of {found.batch} samples takes {found.step:.2f} s "
        f"({found.computing:.2f} computing{sends}): {speed:.2f} samples a second, {hours:,.1f} h for "
        f"{recipe.positions:,} samples. The feed needs {_up(found.feed_cpus)} CPUs a GPU{device}. A checkpoint halts "
        f"training for {found.pause:.1f} s in every {_time(between)}. A failure costs {_time(found.lost)} in the mean."
    )


def _up(number: float) -> str:
    return f"{math.ceil(number * 10) / 10:.1f}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
