"""DeepSpeed's four stages with two ranks, and what a run refuses."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anchorface.models.checkpoint import read_description
from anchorface.models.weights import load
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.records import TrainingError
from anchorface.training.checkpoint import latest
from anchorface.training.execution import Execution
from anchorface.training.job import Job
from anchorface.training.launch import train
from anchorface.training.networks import load_networks
from anchorface.training.recipes import Recipe

pytestmark = pytest.mark.line
WAYS = {"0": {"zero_stage": 0}, "1": {"zero_stage": 1}, "2": {"zero_stage": 2}, "3": {"zero_stage": 3},
        "2, offloaded": {"zero_stage": 2, "offload": True}}


def run_ranks(jobs: list[Job], world: int, folder: Path) -> None:
    """Run jobs in `world` processes."""
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    script = Path(__file__).with_name("one_rank.py")
    root = Path(__file__).resolve().parents[2]
    started = [
        subprocess.Popen([sys.executable, str(script), str(folder / "jobs"), str(rank), str(world),
                          str(folder / "meeting")], cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=400)[0] for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(outputs)[-4000:]


@pytest.fixture(scope="module")
def staged(micro_recipe: Recipe, tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The last checkpoint of the same eight steps at each stage."""
    folder = tmp_path_factory.mktemp("stages")
    dataset = open_dataset(tiny_dataset)
    jobs = [
        Job(recipe=micro_recipe, dataset=dataset.uri, manifest_id=dataset.manifest_id,
            execution=Execution(workers=2, threads=1, micro_batch=1, feed="inline", **way), run_folder=folder / name)
        for name, way in WAYS.items()
    ]
    run_ranks(jobs, 2, folder)
    found = {name: latest(folder / name) for name in WAYS}
    assert all(found.values())
    return {name: path for name, path in found.items() if path}


@pytest.mark.parametrize("file", ["adapter.safetensors", "ema.safetensors"])
@pytest.mark.parametrize("way", list(WAYS)[1:])
def test_every_stage_gives_the_weights_and_averages_of_stage_0(
    staged: dict[str, Path], micro_recipe: Recipe, way: str, file: str
) -> None:
    """Another order of summation is all that differs. Where a gradient is nearly zero, Adam makes steps out of its last
    bits, so tensors are compared by their distance beside the way that training moved them: .6 % at most was seen. A
    bias of keys changes no softmax: it has no gradient but rounding, and hardly moves."""
    expected, found = (load(staged[name] / file)[0] for name in ("0", way))
    start = load_networks(micro_recipe, torch.device("cpu")).network.adapter_state()
    assert expected.keys() == found.keys() == start.keys()
    for name, tensor in expected.items():
        moved, apart = (tensor - start[name]).norm(), (tensor - found[name]).norm()
        assert apart < 0.03 * moved or (name.endswith("to_key.bias") and moved < 1e-3), (name, apart, moved)


def test_training_moves_the_adapters_and_the_average_lags_behind(staged: dict[str, Path]) -> None:
    adapter, average = (load(staged["2"] / file)[0] for file in ("adapter.safetensors", "ema.safetensors"))
    gates = [name for name in adapter if name.endswith("gamma")]
    assert gates
    assert all(adapter[name].abs().max() > 0 for name in gates)
    assert any(not torch.equal(adapter[name], average[name]) for name in adapter)


def test_every_stage_saw_the_same_positions(staged: dict[str, Path], micro_recipe: Recipe) -> None:
    clocks = {read_description(path).clock for path in staged.values()}
    assert clocks == {micro_recipe.positions}


def test_a_loss_that_is_not_finite_names_its_positions_and_leaves_no_checkpoint(
    micro_recipe: Recipe, tiny_dataset: str, run_folder: Path
) -> None:
    recipe = replace(micro_recipe, learning_rate=1e30, gradient_clip=0.0, warmup=0)
    with pytest.raises(TrainingError, match=r"not finite at positions \[4"):
        train(recipe, tiny_dataset, run_folder, Execution(workers=0), track=False)
    assert latest(run_folder) is None
