"""Jobs of several processes that train together without Ray: what the tests of stages and resumes share."""

import os
import shutil
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from anchorface.models.weights import load
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.records.storage import make_folder
from anchorface.training.checkpoints.layout import folder_of, name_of
from anchorface.training.execution import Execution
from anchorface.training.job import Job
from anchorface.training.launch import run
from anchorface.training.recipes import Recipe
from tests.forked import Forked, finished


def job_of(recipe: Recipe, dataset_uri: str, folder: Path, world: int, **execution: object) -> Job:
    """A job whose ranks feed themselves."""
    dataset = open_dataset(dataset_uri)
    carried_out = Execution(**{"workers": world, "threads": 1, "feed": "inline", **execution})  # type: ignore[arg-type]
    return Job(recipe=recipe, dataset=dataset.uri, manifest_id=dataset.manifest_id, execution=carried_out,
               run_folder=str(folder))


def start_ranks(jobs: list[Job], world: int, folder: Path, meeting: str = "") -> list[Forked]:
    """Processes that run jobs one after another; they meet at an address (`tcp://...`, where rank 0 keeps the store),
    or through a file."""
    (folder / "meeting").unlink(missing_ok=True)
    return [Forked(folder / f"rank-{rank}.log", _rank, jobs, rank, world, meeting or f"file://{folder / 'meeting'}")
            for rank in range(world)]


def _rank(jobs: list[Job], rank: int, world: int, meeting: str) -> None:
    begin(rank, world, meeting)
    for job in jobs:
        make_folder(job.run_folder)
        run(job, world)
    dist.destroy_process_group()


def begin(rank: int, world: int, meeting: str) -> None:
    """This process is a rank."""
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "DS_ACCELERATOR": "cpu"})
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)


def run_ranks(jobs: list[Job], world: int, folder: Path) -> None:
    """Run jobs one after another in `world` processes."""
    finished(start_ranks(jobs, world, folder), 400)


def only_checkpoint(run: Path, step: int, to: Path) -> Path:
    """Another run folder, with one checkpoint of a run: what a kill after it would have left."""
    source = Path(folder_of(str(run), step))
    shutil.copytree(source, to / "checkpoints" / name_of(str(source)))
    return to


def weights(checkpoint: str | Path) -> dict[str, dict[str, Tensor]]:
    """Adapters and averages of a checkpoint."""
    return {name: load(Path(checkpoint) / f"{name}.safetensors")[0] for name in ("adapter", "ema")}


def same_bits(one: str | Path, other: str | Path) -> bool:
    """Whether adapters and averages of two checkpoints are equal."""
    left, right = weights(one), weights(other)
    return all(torch.equal(tensor, right[kind][name])
               for kind, tensors in left.items() for name, tensor in tensors.items())
