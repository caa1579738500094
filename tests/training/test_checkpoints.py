"""Checkpoints: complete or absent, whole or refused, kept by rule; one run in a folder at a time."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anchorface.models.checkpoint import (
    LOSS_EMBEDDER,
    Description,
    load_adapters,
    read_description,
    write_description,
)
from anchorface.models.weights import load
from anchorface.records import CheckpointError, ConfigurationError, StorageError
from anchorface.records.lock import locked
from anchorface.training.checkpoints.layout import Retention, clean, complete, folder_of, latest, name_of, retain
from anchorface.training.checkpoints.resume import continued
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.objectives.flow import Flow
from anchorface.training.recipes import Recipe
from anchorface.training.record import extend_chain, start_of_chain
from tests.training.ranks import only_checkpoint, same_bits

HERE = Execution(workers=0, threads=1)


def described(recipe: Recipe, **changes: object) -> Description:
    extra = {"shaping": recipe.shaping(), "execution": Execution(workers=2).to_dict()}
    return replace(Description(model=recipe.model, weights={}, embedder="e", manifest_id="m", extra=extra), **changes)


def test_a_checkpoint_is_complete_with_its_description(micro_recipe: Recipe, tmp_path: Path) -> None:
    run = str(tmp_path)
    assert latest(run) is None
    for step in (4, 12, 8):
        write_description(folder_of(run, step), described(micro_recipe))
    (Path(folder_of(run, 16)) / "state").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".step-00000020.tmp").mkdir()
    assert [name_of(path) for path in complete(run)] == ["step-00000004", "step-00000008", "step-00000012"]
    assert latest(run) == folder_of(run, 12)
    clean(run)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [name_of(p) for p in complete(run)]


def test_the_newest_the_best_and_every_so_often_stay(micro_recipe: Recipe, tmp_path: Path) -> None:
    run, flows = str(tmp_path), {1: 0.5, 2: 0.2, 3: 0.4, 4: 0.3, 5: 0.6, 6: 0.7}
    for step, flow in flows.items():
        said = described(micro_recipe, clock=4 * step)
        write_description(folder_of(run, step), replace(said, extra=said.extra | {"validation": {"validation/flow":
        flow}}))
    retain(run, Retention(newest=1, best=2, every=12))
    assert [int(name_of(path)[5:]) for path in complete(run)] == [2, 3, 4, 6]


@pytest.mark.parametrize(("change", "said"), [
    ({"sigma_sampler": "uniform"}, "sigma_sampler is 'logit-normal' there and 'uniform' here"),
    ({"losses": (Flow(),)}, r"losses.identity.weight is 0.3 there and None here"),
])
def test_another_recipe_is_refused_by_the_name_of_the_difference(micro_recipe: Recipe, change: dict[str, object],
                                                                 said: str) -> None:
    other = replace(micro_recipe, **change)
    with pytest.raises(CheckpointError, match=said):
        continued(described(micro_recipe), described(other), "run", other.defaults())
    with pytest.raises(CheckpointError):
        continued(described(other), described(micro_recipe), "run", micro_recipe.defaults())


def test_another_dataset_or_base_is_refused(micro_recipe: Recipe) -> None:
    here = described(micro_recipe)
    with pytest.raises(CheckpointError, match="dataset is 'other' there and 'm' here"):
        continued(described(micro_recipe, manifest_id="other"), here, "run", {})
    found = continued(described(micro_recipe, manifest_id="other"), here, "run", {}, lambda old: old == "other")
    assert found.extra["branches"] == [{"clock": 0, "changed": {"dataset": ["other", "m"]}}]


def test_what_may_change_on_the_way_is_recorded(micro_recipe: Recipe) -> None:
    there = described(micro_recipe, clock=8, digest="d")
    here = described(replace(micro_recipe, learning_rate=0.5, positions=64))
    other = replace(here, extra=here.extra | {"execution": Execution(workers=4, zero_stage=3).to_dict()})
    found = continued(there, other, "run", micro_recipe.defaults())
    assert (found.clock, found.digest) == (8, "d")
    assert found.extra["branches"] == [{"clock": 8, "changed": {
        "learning_rate": [0.01, 0.5], "positions": [32, 64], "workers": [2, 4], "zero_stage": [2, 3]}}]


def test_a_checkpoint_older_than_a_setting_had_its_default(micro_recipe: Recipe) -> None:
    there = described(micro_recipe)
    for key in ("prompt_dropout", "feed.policy.decay", "losses.identity.floor"):
        there.extra["shaping"].pop(key, None)
    assert continued(there, described(micro_recipe), "run", micro_recipe.defaults()).extra["branches"] == []
    with pytest.raises(CheckpointError, match=r"prompt_dropout is 0.0 there and 0.5 here"):
        continued(there, described(replace(micro_recipe, prompt_dropout=0.5)), "run", micro_recipe.defaults())


def test_the_chain_depends_on_order_positions_and_bytes(micro_recipe: Recipe) -> None:
    start = start_of_chain(micro_recipe, "m")
    one, two = b"\x01" * 32, b"\x02" * 32
    chain = extend_chain(start, np.array([0, 1]), [one, two])
    assert chain == extend_chain(start, np.array([0, 1]), [one, two])
    assert chain != extend_chain(start, np.array([0, 1]), [two, one])
    assert chain != extend_chain(start, np.array([1, 0]), [one, two])
    assert start != start_of_chain(micro_recipe, "other")


@pytest.fixture(scope="module")
def finished(micro_recipe: Recipe, tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps with checkpoints after four and eight."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(micro_recipe, tiny_dataset, folder, HERE, track=False, report=lambda line: None)
    return folder


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


@pytest.mark.line
@pytest.mark.parametrize(("damage", "said"), [
    (cut_short, "cut short"), (flip_a_bit, "it was damaged"), (Path.unlink, "cannot be read")])
def test_a_damaged_state_is_refused_and_nothing_is_spoiled(
    micro_recipe: Recipe, tiny_dataset: str, finished: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    run = only_checkpoint(finished, 4, tmp_path / "run")
    checkpoint = Path(folder_of(str(run), 4))
    damage(checkpoint / "state" / "rank-00000.safetensors")
    before = {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=said) as caught:
        train(micro_recipe, tiny_dataset, run, HERE, track=False)
    assert "rank-00000.safetensors" in str(caught.value)
    assert {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()} == before


@pytest.mark.line
@pytest.mark.parametrize("damage", [cut_short, flip_a_bit])
def test_damaged_adapters_are_refused_where_they_are_used(finished: Path, tmp_path: Path,
                                                          damage: Callable[[Path], None]) -> None:
    checkpoint = Path(folder_of(str(only_checkpoint(finished, 8, tmp_path / "run")), 8))
    damage(checkpoint / "ema.safetensors")
    said = read_description(checkpoint)
    with pytest.raises(CheckpointError, match=r"ema\.safetensors: .* were written"):
        load_adapters(f"{checkpoint}/ema.safetensors", said)


@pytest.mark.line
def test_the_description_names_every_file_with_its_hash(finished: Path) -> None:
    newest = latest(str(finished))
    assert newest is not None
    state = read_description(newest).extra["state"]
    assert state["steps"] == 8
    assert set(state["files"]) == {"state/rank-00000.safetensors", "adapter.safetensors", "ema.safetensors"}


@pytest.mark.line
def test_a_longer_run_goes_on_from_the_end_of_a_shorter_one(micro_recipe: Recipe, tiny_dataset: str, finished: Path,
                                                            tmp_path: Path) -> None:
    run, lines = only_checkpoint(finished, 8, tmp_path / "run"), []
    last = train(replace(micro_recipe, positions=48), tiny_dataset, run, HERE, track=False, report=lines.append)
    said = read_description(last)
    assert (said.clock, said.extra["branches"]) == (48, [{"clock": 32, "changed": {"positions": [32, 48]}}])
    assert any("positions 32 -> 48 (recorded)" in line for line in lines)


@pytest.mark.line
def test_a_warm_start_begins_with_another_runs_averages(micro_recipe: Recipe, tiny_dataset: str, finished: Path,
                                                        tmp_path: Path) -> None:
    start = latest(str(finished))
    assert start is not None
    still = replace(micro_recipe, learning_rate=1e-30, positions=4, sigma_sampler="uniform")
    last = train(still, tiny_dataset, tmp_path / "run", HERE, start=start, track=False)
    expected, found = load(f"{start}/ema.safetensors")[0], load(f"{last}/adapter.safetensors")[0]
    assert all(torch.allclose(expected[name], found[name], atol=1e-12) for name in expected)
    assert read_description(last).extra["start"] == start


def test_a_warm_start_from_another_base_is_refused(micro_recipe: Recipe, tiny_dataset: str, finished: Path,
                                                   tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(str(latest(str(finished))), start)
    said = read_description(start)
    another = replace(said.weights["embedder"], sha256="0" * 64)
    write_description(start, replace(said, weights=said.weights | {LOSS_EMBEDDER: another}))
    short = replace(micro_recipe, positions=4)
    assert train(short, tiny_dataset, tmp_path / "run", HERE, start=str(start), track=False)
    write_description(start, replace(said, weights=said.weights | {"embedder": another}))
    with pytest.raises(CheckpointError, match="other frozen weights: the embedder is"):
        train(micro_recipe, tiny_dataset, tmp_path / "refused", HERE, start=str(start), track=False)


@pytest.mark.line
def test_a_storage_that_is_away_for_a_while_costs_nothing(micro_recipe: Recipe, tiny_dataset: str, finished: Path,
                                                          tmp_path: Path) -> None:
    run, lines = tmp_path / "run", []
    run.mkdir()
    blocked = run / "checkpoints"
    blocked.write_text("not a folder")

    def reported(line: str) -> None:
        lines.append(line)
        if "cannot be written since" in line:
            blocked.unlink(missing_ok=True)

    last = train(micro_recipe, tiny_dataset, run, HERE, track=False, report=reported)
    assert sum(f"{run} cannot be written since" in line for line in lines) == 1, lines
    assert sum(f"{run} can be written again" in line for line in lines) == 1, lines
    assert [name_of(folder) for folder in complete(str(run))] == ["step-00000004", "step-00000008"]
    assert same_bits(last, latest(str(finished)) or "")


@pytest.mark.line
def test_a_run_folder_may_be_a_bucket(micro_recipe: Recipe, tiny_dataset: str, finished: Path) -> None:
    """fsspec's store in memory stands for one: no appending, no folders, and here no renaming."""
    run = "memory://bucket/runs/first"
    half = replace(micro_recipe, positions=16)
    assert train(half, tiny_dataset, run, HERE, track=False) == folder_of(run, 4)
    lines: list[str] = []
    last = train(micro_recipe, tiny_dataset, run, HERE, track=False, report=lines.append)
    assert any("goes on at 16 of 32" in line for line in lines), lines
    assert [name_of(folder) for folder in complete(run)] == ["step-00000004", "step-00000008"]
    expected, found = load(f"{finished}/checkpoints/step-00000008/ema.safetensors"), load(f"{last}/ema.safetensors")
    assert expected[1] == found[1]
    assert all(torch.equal(tensor, found[0][name]) for name, tensor in expected[0].items())


@pytest.mark.line
def test_a_storage_that_stays_away_ends_the_run_with_its_name(micro_recipe: Recipe, tiny_dataset: str,
                                                             tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("not a folder")
    with pytest.raises(StorageError, match=r"step-0000000.: cannot be written .* start the same command"):
        train(micro_recipe, tiny_dataset, tmp_path / "run", replace(HERE, patience=0.0), track=False)


@pytest.mark.line
def test_a_second_launch_into_a_folder_is_refused_and_told_who_is_there(micro_recipe: Recipe, tiny_dataset: str,
                                                                       finished: Path) -> None:
    with locked(str(finished), "train"), pytest.raises(ConfigurationError, match=r"in use: train on .*, process \d+"):
        train(replace(micro_recipe, positions=64), tiny_dataset, finished, HERE, track=False)


def test_a_lock_in_a_bucket_is_a_lease_that_goes_stale() -> None:
    place = "memory://bucket/run"
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(place, "train"):
            held.set()
            go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    with pytest.raises(ConfigurationError, match="in use: train"), locked(place, "erase"):
        pass
    go.set()
    thread.join()
    with locked(place, "erase"):
        pass


def test_a_lease_that_was_not_renewed_is_taken_over() -> None:
    from anchorface.records.storage import write_atomic

    stale = {"verb": "train", "host": "gone", "process": 1, "since": 0, "renewed": time.time() - 1000, "word": "x"}
    write_atomic("memory://bucket/stale/lock.json", json.dumps(stale).encode())
    with locked("memory://bucket/stale", "train"):
        pass


def test_more_workers_than_samples_are_refused(micro_recipe: Recipe, tiny_dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"5 workers: feed\.batch 4"):
        train(micro_recipe, tiny_dataset, tmp_path / "run", Execution(workers=5), track=False)
