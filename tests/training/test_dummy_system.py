"""A system is a folder, an objective a file: one of each, outside the rooms, goes through the ordinary verbs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anchorface.evaluation import CONDITIONS, evaluate
from anchorface.faces.detect import Detection
from anchorface.models.checkpoint import load_model, read_description
from anchorface.models.weights import load
from anchorface.records import CheckpointError
from anchorface.restoration import Restorer, SamplerSettings, make_reference, restore_photo
from anchorface.synthetic import album, render, seed_of
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe, recipe
from tests.golden.measure import DATASET
from tests.training.dummy import Distance, Dummy, DummySettings

pytestmark = pytest.mark.line
STEPS, BATCH = 10, 2


def dummy_recipe() -> Recipe:
    plain = recipe("iconface_tiny", **{
        "positions": STEPS * BATCH, "feed.batch": BATCH, "checkpoint_every": STEPS // 2 * BATCH, "log_every": BATCH,
        "grid_every": STEPS * BATCH, "grid_images": 1, "grid_steps": 1, "learning_rate": 0.01, "warmup": 0,
        "cooldown": 0, "precision": "fp32", "validation.samples": 2, "validation.pictures": 1, "validation.steps": 1})
    return replace(plain, model=replace(plain.model, system=DummySettings(strength=2.0)), losses=(Distance(),))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dummy") / "run"
    train(dummy_recipe(), DATASET, folder, Execution(workers=0), track=False)
    return folder


def test_it_trains_and_its_objective_is_logged_by_its_own_name(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "progress.jsonl").read_text().splitlines()]
    told = [line for line in lines if "loss" in line]
    assert len(told) == STEPS and all(line["distance"] == line["loss"] > 0 for line in told)
    assert not any("flow" in line or "identity" in line for line in told)
    assert (run / "samples" / "step-00000010.png").exists()
    shift = load(run / "checkpoints" / "step-00000010" / "adapter.safetensors")[0]
    assert shift.keys() == {"shift"} and shift["shift"].abs().max() > 0.02


def test_it_resumes_to_the_same_bits(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoints" / "step-00000005", tmp_path / "run" / "checkpoints" / "step-00000005")
    lines: list[str] = []
    last = Path(train(dummy_recipe(), DATASET, tmp_path / "run", Execution(workers=0), track=False,
                      report=lines.append))
    assert "goes on at 10" in lines[0]
    for file in ("adapter.safetensors", "ema.safetensors"):
        expected, found = (load(folder / file)[0] for folder in (run / "checkpoints" / last.name, last))
        assert torch.equal(expected["shift"], found["shift"])
    assert read_description(last).digest == read_description(run / "checkpoints" / last.name).digest


def test_it_is_read_evaluated_and_restores_by_what_the_checkpoint_says(run: Path, tmp_path: Path) -> None:
    last = str(run / "checkpoints" / "step-00000010")
    restorer = Restorer(last)
    assert isinstance(restorer.network, Dummy) and restorer.network.settings.strength == 2.0
    quick = SamplerSettings(steps=1, mean_draws=1)
    shown = tuple(c for c in CONDITIONS if c.slug in ("degraded", "without", "one"))
    table = evaluate(last, DATASET, str(tmp_path / "judged"), restorer=restorer, split="val", count=2, settings=quick,
                     conditions=shown)
    assert [condition["slug"] for condition in table["conditions"]] == [c.slug for c in shown]
    one, other = (render(each.head, each.state, 200) for each in album(seed_of(3, 1), 2))
    detection = Detection(box=tuple(map(float, one.box)), landmarks=one.landmarks.astype(float), score=1.0)
    reference = make_reference(restorer, other.image, other.landmarks)
    restored = restore_photo(restorer, one.image, [reference], detections=[detection], settings=quick)
    assert np.abs(restored.image.astype(int) - one.image).max() > 1 and restored.faces[0].references == 1


def test_a_run_of_another_system_in_its_folder_is_refused_and_both_are_named(run: Path) -> None:
    other = replace(dummy_recipe(), model=recipe("iconface_tiny").model)
    with pytest.raises(CheckpointError, match=r"system\.kind is dummy there and iconface here"):
        train(other, DATASET, run, Execution(workers=0), track=False)


def test_a_reader_that_does_not_know_the_system_names_it_and_those_it_knows(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoints" / "step-00000010", tmp_path / "foreign")
    text = (tmp_path / "foreign" / "checkpoint.json").read_text()
    (tmp_path / "foreign" / "checkpoint.json").write_text(text.replace('"kind": "dummy"', '"kind": "restorenet"'))
    with pytest.raises(CheckpointError, match=r"unknown system 'restorenet'; known are dummy, iconface"):
        load_model(tmp_path / "foreign", str)
