"""RG-IPFR through the ordinary verbs: trained, resumed, restored with several references, judged, handed on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from anchorface.cli.app import app
from anchorface.faces import weights
from anchorface.models.checkpoint import load_model, read_description
from anchorface.models.export import read_adapter_file, write_adapter_file, write_lora
from anchorface.models.rg_ipfr.network import RGIPFR
from anchorface.models.weights import load
from anchorface.records import CheckpointError, ConfigurationError
from anchorface.records.hashes import sha256
from anchorface.restoration import Reference, Restorer, SamplerSettings
from anchorface.synthetic import album, render, seed_of
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.recipes import Recipe, recipe
from anchorface.training.small_networks.people import wide_crop
from tests.golden.measure import DATASET

pytestmark = pytest.mark.line
STEPS, BATCH = 6, 2


def short() -> Recipe:
    return recipe("rg_ipfr_tiny", **{
        "positions": STEPS * BATCH, "feed.batch": BATCH, "checkpoint_every": STEPS // 2 * BATCH, "log_every": BATCH,
        "grid_every": STEPS * BATCH, "grid_images": 1, "grid_steps": 1, "learning_rate": 0.01, "warmup": 0,
        "cooldown": 0, "ema_half_life": 2, "precision": "fp32", "validation.samples": 2, "validation.pictures": 1,
        "validation.steps": 1,
        "input_dropout": 0.2, "context_dropout": 0.2, "losses.hard_example.ramp": STEPS * BATCH})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rg-ipfr") / "run"
    train(short(), DATASET, folder, Execution(workers=0), track=False)
    return folder


@pytest.fixture(scope="module")
def last(run: Path) -> str:
    return str(run / "checkpoints" / f"step-{STEPS:08d}")


@pytest.fixture(scope="module")
def restorer(last: str) -> Restorer:
    return Restorer(last)


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    """Five aligned 128 px pictures of one person."""
    shots = [render(each.head, each.state, 200) for each in album(seed_of(3, 1), 5)]
    return [wide_crop(shot.image, shot.landmarks)[0][24:152, 24:152] for shot in shots]


def test_it_trains_and_its_loss_is_logged_by_its_own_name(run: Path, last: str) -> None:
    told = [line for line in map(json.loads, (run / "progress.jsonl").read_text().splitlines()) if "loss" in line]
    assert len(told) == STEPS and any("hard_example" in line for line in told)
    adapters = load(f"{last}/adapter.safetensors")[0]
    gates = {name: tensor for name, tensor in adapters.items() if name.endswith("gamma")}
    assert len(gates) == 6 and all(tensor.abs() > 0 for tensor in gates.values()), "an attention after every block"
    described = read_description(last)
    assert described.weights["face_encoder"].sha256 == sha256(weights.find("face_encoder_small"))
    assert described.model.system.kind == "rg_ipfr"


def test_it_resumes_to_the_same_bits(run: Path, last: str, tmp_path: Path) -> None:
    middle = f"step-{STEPS // 2:08d}"
    shutil.copytree(run / "checkpoints" / middle, tmp_path / "run" / "checkpoints" / middle)
    again = train(short(), DATASET, tmp_path / "run", Execution(workers=0), track=False)
    for file in ("adapter.safetensors", "ema.safetensors"):
        expected, found = (load(f"{folder}/{file}")[0] for folder in (last, again))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected), file
    assert read_description(again).digest == read_description(last).digest


def test_it_restores_with_any_number_of_references(restorer: Restorer, faces: list[np.ndarray]) -> None:
    assert isinstance(restorer.network, RGIPFR)

    def restored(count: int, **settings: object) -> np.ndarray:
        shown = [[Reference(image=image) for image in faces[1 : 1 + count]]]
        asked = SamplerSettings(**{"steps": 2, "mean_draws": 1, "keep": 0.0, **settings})  # type: ignore[arg-type]
        return restorer.restore_aligned(faces[0][None], shown, seeds=[5], settings=asked)[0].astype(int)

    def apart(one: np.ndarray, other: np.ndarray) -> int:
        return int(np.abs(one - other).max())

    four = restored(4)
    assert apart(four, restored(4, input_guidance=1.2, context_guidance=1.2)) == 0, "the system's own scales"
    assert apart(four, restored(1)) > 0 and apart(restored(1), restored(0)) > 0
    assert apart(four, restored(4, context_guidance=4.0)) > 1
    assert apart(four, restored(4, input_guidance=4.0)) > 1
    assert apart(restored(2, fidelity=1.0), restored(0, fidelity=1.0)) > 0
    small = restorer.batch
    try:
        restorer.batch = 2  # five calls in three pieces
        assert apart(four, restored(4)) <= 1
    finally:
        restorer.batch = small
    with pytest.raises(ConfigurationError, match="set context_guidance"):
        restored(1, reference_guidance=2.0)


def test_the_command_judges_it_with_the_scales_that_are_asked_for(last: str, tmp_path: Path) -> None:
    words = ["evaluate", last, DATASET, str(tmp_path), "--split", "val", "--count", "1", "--steps", "1",
             "--input-guidance", "1.1", "--context-guidance", "2"]
    answer = CliRunner().invoke(app, words, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert answer.exit_code == 0, answer.output
    table = json.loads((tmp_path / "table.json").read_text())
    assert (table["settings"]["input_guidance"], table["settings"]["context_guidance"]) == (1.1, 2.0)
    assert "input guidance 1.1, context guidance 2," in (tmp_path / "report.html").read_text()


def test_it_is_handed_on(last: str, tmp_path: Path) -> None:
    write_adapter_file(last, tmp_path / "one.safetensors")
    description = read_adapter_file(tmp_path / "one.safetensors", tmp_path / "back")
    assert description.model == read_description(last).model
    expected, found = (load(f"{folder}/ema.safetensors")[0] for folder in (last, tmp_path / "back"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert Restorer(str(tmp_path / "back")).encoders.face_encoder is not None
    assert write_lora(last, tmp_path / "lora.safetensors") == ["context", "double_context", "single_context"]


def test_another_face_encoder_than_the_one_it_was_trained_with_is_refused(last: str, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(weights.find("judge_small").read_bytes())

    def finder(name: str) -> str:
        return str(other if name == "face_encoder_small" else weights.find(name))

    with pytest.raises(CheckpointError, match="was trained on face_encoder_small"):
        load_model(last, finder)


def test_iconfaces_pathways_are_switched_on_beside_the_context(tmp_path: Path) -> None:
    made = short()
    system = replace(made.model.system, identity_anchor=True, residual=True, memory="two", concatenation=True)
    both = replace(made, model=replace(made.model, system=system), positions=BATCH, grid_every=0,
                   validation=replace(made.validation, every=0))
    adapters = load(train(both, DATASET, tmp_path / "run", Execution(workers=0), track=False) + "/adapter.safetensors")
    assert {name.partition(".")[0] for name in adapters[0]} == {
        "backbone", "context", "double_attention", "double_context", "identity_anchor", "memory", "residual",
        "single_attention", "single_context"}


def test_the_command_plans_it() -> None:
    answer = CliRunner().invoke(app, ["plan", "--recipe", "rg_ipfr_tiny", "--gpus", "1", "--references", "1"])
    assert answer.exit_code == 0, answer.output
    assert "M trained" in answer.output
