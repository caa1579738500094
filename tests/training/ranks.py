"""Jobs of several processes that meet through a file, without Ray: what the tests of stages and resumes share."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from anchorface.models.weights import load
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.training.checkpoints.layout import folder_of, name_of
from anchorface.training.execution import Execution
from anchorface.training.job import Job
from anchorface.training.recipes import Recipe


def job_of(recipe: Recipe, dataset_uri: str, folder: Path, world: int, **execution: object) -> Job:
    """A job whose ranks feed themselves."""
    dataset = open_dataset(dataset_uri)
    carried_out = Execution(**{"workers": world, "threads": 1, "feed": "inline", **execution})  # type: ignore[arg-type]
    return Job(recipe=recipe, dataset=dataset.uri, manifest_id=dataset.manifest_id, execution=carried_out,
               run_folder=str(folder))


def start_ranks(jobs: list[Job], world: int, folder: Path, meeting: str = "") -> list["subprocess.Popen[str]"]:
    """Processes that run jobs one after another; they meet at an address, or through a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    script, root = Path(__file__).with_name("one_rank.py"), Path(__file__).resolve().parents[2]
    (folder / "meeting").unlink(missing_ok=True)
    return [
        subprocess.Popen([sys.executable, str(script), str(folder / "jobs"), str(rank), str(world),
                          meeting or str(folder / "meeting")], cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(world)
    ]


def run_ranks(jobs: list[Job], world: int, folder: Path) -> None:
    """Run jobs one after another in `world` processes."""
    started = start_ranks(jobs, world, folder)
    outputs = [process.communicate(timeout=400)[0] for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(outputs)[-6000:]


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


def apart(one: str | Path, other: str | Path) -> dict[str, float]:
    """The largest distance of a number in adapters and averages of two checkpoints."""
    left, right = weights(one), weights(other)
    return {kind: max(float((tensor - right[kind][name]).abs().max()) for name, tensor in tensors.items())
            for kind, tensors in left.items()}
