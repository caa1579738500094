"""Checkpoints: complete or absent, and refused where they do not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anchorface.models.checkpoint import Description, write_description
from anchorface.records import CheckpointError
from anchorface.training.checkpoint import complete, extend_chain, folder_of, latest, require_same_run, start_of_chain
from anchorface.training.execution import Execution
from anchorface.training.objectives.flow import Flow
from anchorface.training.recipes import Recipe


def described(recipe: Recipe, **changes: object) -> Description:
    extra = {"shaping": recipe.shaping(), "execution": Execution(workers=2).to_dict()}
    return replace(Description(model=recipe.model, weights={}, embedder="e", manifest_id="m", extra=extra), **changes)


def test_only_renamed_folders_count_and_the_newest_wins(micro_recipe: Recipe, tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    for step in (4, 12, 8):
        folder_of(tmp_path, step).mkdir(parents=True)
        write_description(folder_of(tmp_path, step), described(micro_recipe))
    half = folder_of(tmp_path, 16)
    half.with_name(f".{half.name}.tmp").mkdir()
    half.mkdir()
    assert [path.name for path in complete(tmp_path)] == ["step-00000004", "step-00000008", "step-00000012"]
    assert latest(tmp_path) == folder_of(tmp_path, 12)


def test_a_checkpoint_of_another_recipe_is_refused_by_name_of_the_difference(micro_recipe: Recipe) -> None:
    other = replace(micro_recipe, learning_rate=0.5, losses=(Flow(),))
    with pytest.raises(CheckpointError, match=r"learning_rate is 0\.01 there and 0\.5 here") as caught:
        require_same_run(described(micro_recipe), described(other), Path("run"))
    assert "losses.identity.weight is 0.3 there and None here" in str(caught.value)


def test_a_checkpoint_of_other_data_or_another_worker_count_is_refused(micro_recipe: Recipe) -> None:
    here = described(micro_recipe)
    with pytest.raises(CheckpointError, match="dataset"):
        require_same_run(described(micro_recipe, manifest_id="other"), here, Path("run"))
    other = replace(here, extra={**here.extra, "execution": Execution(workers=4, zero_stage=3).to_dict()})
    with pytest.raises(CheckpointError, match="workers is 4 there and 2 here; zero_stage is 3 there and 2 here"):
        require_same_run(other, here, Path("run"))


def test_what_the_engine_state_does_not_know_may_differ_at_a_resume(micro_recipe: Recipe) -> None:
    here = described(micro_recipe)
    other = Execution(workers=2, micro_batch=1, compile=True, checkpointing=True, threads=3, feed="inline")
    require_same_run(replace(here, extra={**here.extra, "execution": other.to_dict()}), here, Path("run"))


def test_housekeeping_may_change_between_attempts(micro_recipe: Recipe) -> None:
    other = replace(micro_recipe, log_every=1, checkpoint_every=4, checkpoints_kept=9)
    require_same_run(described(micro_recipe), described(other), Path("run"))


def test_the_chain_depends_on_order_positions_and_bytes(micro_recipe: Recipe) -> None:
    start = start_of_chain(micro_recipe, "m")
    one, two = b"\x01" * 32, b"\x02" * 32
    chain = extend_chain(start, np.array([0, 1]), [one, two])
    assert chain == extend_chain(start, np.array([0, 1]), [one, two])
    assert chain != extend_chain(start, np.array([0, 1]), [two, one])
    assert chain != extend_chain(start, np.array([1, 0]), [one, two])
    assert start != start_of_chain(micro_recipe, "other")
