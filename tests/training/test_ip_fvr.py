"""IP-FVR through the ordinary verbs: trained on clips, resumed, begun with an IConFace, by one rank and by two."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anchorface.models.checkpoint import read_description
from anchorface.models.weights import load
from anchorface.records import CheckpointError, ConfigurationError
from anchorface.records.attributes import ATTRIBUTE_NAMES, attribute_row
from anchorface.training.checkpoints.layout import latest
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.networks import load_networks
from anchorface.training.objective import told
from anchorface.training.recipes import Recipe, recipe
from anchorface.training.validation_settings import ValidationSettings
from tests.training.ranks import job_of, only_checkpoint, run_ranks, same_bits, weights

pytestmark = pytest.mark.usefixtures("one_thread")

HERE = Execution(workers=0, threads=1)
STEPS, HALF = 4, 2


@pytest.fixture(scope="module")
def shown(film_recipe: Recipe) -> Recipe:
    """With a grid and a validation at the end."""
    return replace(film_recipe, grid_every=8, grid_images=1, grid_steps=2,
                   validation=ValidationSettings(every=8, samples=2, sigmas=(0.5,), pictures=1, steps=2))


@pytest.fixture(scope="module")
def run(shown: Recipe, tiny_films: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ip-fvr") / "run"
    train(shown, tiny_films, folder, HERE, track=False)
    return folder


def losses(run: Path) -> list[float]:
    """Of each step that a run logged."""
    lines = map(json.loads, (run / "progress.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.line
def test_it_trains_on_clips_and_says_what_it_was_rewarded_for(run: Path, film_recipe: Recipe) -> None:
    lines = [*map(json.loads, (run / "progress.jsonl").read_text().splitlines())]
    steps = [line for line in lines if "loss" in line]
    assert len(steps) == STEPS and {"flow", "sigma"} <= steps[0].keys()
    assert any("reward" in line for line in steps) and not all("reward" in line for line in steps)
    validated = next(line for line in lines if "validation/flow" in line)
    assert {"validation/likeness", "validation/drift"} <= validated.keys() and validated["validation/held_out"] == 1
    adapters = load(run / "checkpoints" / f"step-{STEPS:08d}" / "adapter.safetensors")[0]
    fresh = load_networks(film_recipe, torch.device("cpu")).network.adapter_state()
    moved = {name.partition(".")[0] for name, tensor in adapters.items() if not torch.equal(tensor, fresh[name])}
    assert {"temporal", "decoupled", "residual", "identity_anchor"} <= moved
    image = cv2.imread(str(run / "samples" / f"step-{STEPS:08d}.png"))
    assert image is not None and image.shape[0] == 3 * 36, "the first, the middle and the last frame of one clip"


@pytest.mark.line
def test_it_resumes_to_the_same_bits(run: Path, shown: Recipe, tiny_films: str, tmp_path: Path) -> None:
    folder = only_checkpoint(run, HALF, tmp_path / "run")
    again, whole = train(shown, tiny_films, folder, HERE, track=False), latest(str(run))
    assert whole is not None and same_bits(whole, again)
    assert read_description(again).digest == read_description(whole).digest


@pytest.mark.line
def test_two_ranks_see_the_same_clips_and_resume_to_the_same_bits_at_stage_3(
    run: Path, film_recipe: Recipe, tiny_films: str, tmp_path: Path
) -> None:
    """At stage 3 ranks must ask the network together, with feedback and without, and a step without references gives
    some parameters no gradient."""
    run_ranks([job_of(film_recipe, tiny_films, tmp_path / f"stage-{stage}", 2, zero_stage=stage) for stage in (2, 3)],
              2, tmp_path / "whole")
    resumed = only_checkpoint(tmp_path / "stage-3", HALF, tmp_path / "resumed")
    run_ranks([job_of(film_recipe, tiny_films, resumed, 2, zero_stage=3)], 2, tmp_path / "half")
    alone, *together = (latest(str(folder)) for folder in (run, tmp_path / "stage-2", tmp_path / "stage-3", resumed))
    assert alone is not None
    for found in together:
        assert found is not None and read_description(found).digest == read_description(alone).digest
    assert same_bits(together[1], together[2])
    # Identity's gradient rounds by a ten-thousandth where a batch is cut otherwise, and Adam makes whole steps of it.
    expected = losses(run)
    assert len(expected) == STEPS
    for stage in (2, 3):
        assert losses(tmp_path / f"stage-{stage}") == pytest.approx(expected, rel=0.005)


@pytest.mark.line
def test_it_begins_with_an_iconface_and_refuses_what_it_does_not_contain(
    film_recipe: Recipe, micro_recipe: Recipe, tiny_dataset: str, tiny_films: str, tmp_path: Path
) -> None:
    short = replace(micro_recipe, positions=8, checkpoint_every=8, log_every=8)
    image = train(short, tiny_dataset, tmp_path / "image", HERE, track=False)
    opened = replace(film_recipe.model, system=replace(film_recipe.model.system, opening="output",
                                                              shared_noise=0.5))
    still = replace(film_recipe, positions=2, learning_rate=1e-12, model=opened)
    film = train(still, tiny_films, tmp_path / "film", HERE, start=image, track=False)
    expected, found = weights(image)["ema"], weights(film)["ema"]
    fresh = load_networks(still, torch.device("cpu")).network.adapter_state()
    assert expected.keys() < found.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected.get(name, fresh[name]), rtol=0, atol=1e-9)
    assert read_description(film).extra["start"] == image

    def begun(recipe: Recipe, start: str, said: str) -> None:
        with pytest.raises(CheckpointError, match=said):
            train(recipe, tiny_films, tmp_path / "refused", HERE, start=start, track=False)

    other = replace(opened, system=replace(opened.system, cross_rank=2))
    begun(replace(still, model=other), image, "system.cross_rank is 4 there and 2 here")
    begun(short, film, "system.kind is ip_fvr there and iconface here")


def test_a_share_of_the_samples_is_told_that_its_target_is_degraded() -> None:
    made = recipe("ip_fvr_tiny", degraded_targets=0.25, attribute_dropout=0.5)
    known = np.repeat(attribute_row({"age": 30, "smile": 0.5})[None], 400, axis=0)
    said, degraded = told(made, np.arange(400), known)
    age, smile, beard, quality, artefacts = (
        said[:, ATTRIBUTE_NAMES.index(name)] for name in ("age", "smile", "beard", "quality", "artefacts"))
    assert 70 < int(degraded.sum()) < 130
    assert age[~age.isnan()].unique().tolist() == [pytest.approx(0.3)] and 150 < int(age.isnan().sum()) < 250
    assert int((smile.isnan() != age.isnan()).sum()) > 100, "each attribute is left unsaid by itself"
    assert beard.isnan().all()
    for values, bad in ((quality, 0.0), (artefacts, 1.0)):
        assert {*values[degraded & ~values.isnan()].tolist()} == {bad}
        assert {*values[~degraded & ~values.isnan()].tolist()} == {1.0 - bad}
    assert not (quality[degraded].isnan() & artefacts[degraded].isnan()).any()
    again, _ = told(made, np.arange(100, 200), known[100:200])
    assert torch.equal(again.nan_to_num(-1), said[100:200].nan_to_num(-1))
    assert np.isfinite(known[:, ATTRIBUTE_NAMES.index("age")]).all(), "the batch's own numbers stay"


@pytest.mark.parametrize(("name", "changes", "said"), [
    ("iconface_tiny", {"degraded_targets": 0.1}, "hears no attributes"),
    ("ip_fvr_tiny", {"latents": "dataset"}, "clips have none"),
])
def test_what_does_not_fit_a_system_or_clips_is_refused(name: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        recipe(name, **changes)
