"""A loss or a gradient that is not finite never reaches the weights, whatever the stage."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anchorface.models.checkpoint import read_description
from anchorface.pipelines.feed.batches import batches
from anchorface.records import TrainingError
from anchorface.training.checkpoints.layout import complete, latest, name_of
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe
from tests.training.poison import Poisoned
from tests.training.ranks import weights

pytestmark = pytest.mark.line


def poisoned(recipe: Recipe, **bad: object) -> Recipe:
    return replace(recipe, losses=(Poisoned(**bad),), checkpoint_every=8, log_every=4)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.parametrize("loss", [False, True], ids=["gradient", "loss"])
def test_a_step_is_left_out_and_recorded(micro_recipe: Recipe, tiny_dataset: str, run_folder: Path, stage: int,
                                         loss: bool) -> None:
    lines: list[str] = []
    last = train(poisoned(micro_recipe, positions=(13,), loss=loss), tiny_dataset, run_folder,
                 Execution(workers=0, zero_stage=stage, not_finite="skip"), track=False, report=lines.append)
    said = read_description(last)
    assert said.clock == micro_recipe.positions
    assert said.extra["skipped"] == [[12, 16]]
    assert said.extra["state"]["steps"] == micro_recipe.steps - 1
    assert all(bool(torch.isfinite(tensor).all()) for tensors in weights(last).values() for tensor in tensors.values())
    assert any(("the step was left out" in line and "13" in line) or "[12 ... 15]" in line for line in lines), lines


@pytest.mark.parametrize("stage", [0, 2])
def test_the_run_stops_and_names_the_positions(micro_recipe: Recipe, tiny_dataset: str, run_folder: Path,
                                               stage: int) -> None:
    with pytest.raises(TrainingError, match=r"not finite at positions \[12 \.\.\. 15\]"):
        train(poisoned(micro_recipe, positions=(13,)), tiny_dataset, run_folder,
              Execution(workers=0, zero_stage=stage), track=False)
    assert [name_of(folder) for folder in complete(str(run_folder))] == ["step-00000002"]
    newest = latest(str(run_folder))
    assert newest is not None
    assert read_description(newest).clock == 8


def test_it_goes_back_and_on_with_other_samples(micro_recipe: Recipe, tiny_dataset: str, run_folder: Path) -> None:
    clean = list(batches(tiny_dataset, micro_recipe.fed, 0, micro_recipe.steps, engine="inline"))
    bad = str(clean[3]["digest"][1])
    last = train(poisoned(micro_recipe, digests=(bad,)), tiny_dataset, run_folder,
                 Execution(workers=0, not_finite="back"), track=False)
    said = read_description(last)
    assert said.clock == micro_recipe.positions
    assert said.extra["order"] == 1
    assert said.extra["state"]["steps"] == micro_recipe.steps


def test_it_does_not_go_back_for_ever(micro_recipe: Recipe, tiny_dataset: str, run_folder: Path) -> None:
    with pytest.raises(TrainingError, match="3 times"):
        train(poisoned(micro_recipe, positions=(13,)), tiny_dataset, run_folder,
              Execution(workers=0, not_finite="back"), track=False)
