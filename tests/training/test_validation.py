"""Validation: numbers that depend on the weights alone, not on ranks, stages or the time of day."""

import hashlib
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from scipy.special import logit

from anchorface.faces.embed import embedder
from anchorface.faces.likeness import judge_crop
from anchorface.models.anchor import anchor
from anchorface.models.encode import identity_embedding
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.models.trust import LEAST_AUC, OWN
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.records import ConfigurationError, WeightsError
from anchorface.training import keep, trust
from anchorface.training.engine import Autocast
from anchorface.training.execution import STAGES
from anchorface.training.follow import line
from anchorface.training.keep import damaged
from anchorface.training.networks import Networks, load_networks
from anchorface.training.objectives.prediction import crop_matrices
from anchorface.training.preview import fixed_batch, restore, restored
from anchorface.training.recipes import Recipe
from anchorface.training.shares import dealt, gathered
from anchorface.training.validation import Validation
from anchorface.training.validation_settings import ValidationSettings
from tests.forked import Forked, finished
from tests.training.measuring_rank import measure, moved

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SETTINGS = ValidationSettings(every=8, samples=7, sigmas=(0.2, 0.8), pictures=3, steps=2, kept=3, trusted=9)


@pytest.fixture(scope="module")
def recipe(micro_recipe: Recipe) -> Recipe:
    return replace(micro_recipe, validation=SETTINGS, grid_images=3)


@pytest.fixture(scope="module")
def networks(recipe: Recipe) -> Networks:
    found = load_networks(recipe, CPU)
    moved(found.network)
    return found


@pytest.fixture(scope="module")
def validation(recipe: Recipe, networks: Networks, tiny_dataset: str) -> Validation:
    return Validation(recipe, networks, tiny_dataset, CPU)


@pytest.fixture(scope="module")
def values(validation: Validation, networks: Networks) -> dict[str, float]:
    return validation.measure(Autocast(networks.network, enabled=False))


def without_time(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name != "validation/seconds"}


@pytest.mark.line
def test_two_ranks_at_every_stage_give_the_bits_of_one_plain_process(
    recipe: Recipe, networks: Networks, validation: Validation, values: dict[str, float], tiny_dataset: str,
    tmp_path: Path
) -> None:
    meeting = f"file://{tmp_path / 'meeting'}"
    finished([Forked(tmp_path / f"log{rank}", measure, recipe, tiny_dataset, rank, 2, meeting, tmp_path / f"out{rank}")
              for rank in range(2)], 300)
    batch = fixed_batch(recipe, tiny_dataset, CPU)
    pictures, judged = restore(recipe, networks, Autocast(networks.network, enabled=False), batch, CPU)
    at_end = keep.measured(validation, Autocast(networks.network, enabled=False)), trust.measured(validation)
    for rank in range(2):
        at_stages = pickle.loads((tmp_path / f"out{rank}").read_bytes())
        assert set(at_stages) == set(STAGES)
        for stage, (found, told, drawn, numbers) in at_stages.items():
            assert without_time(found) == without_time(values), stage
            assert told == at_end and None not in told, stage
            assert numbers == judged, stage
            np.testing.assert_array_equal(drawn, pictures)


def test_it_tells_flow_at_each_level_likeness_and_copying(values: dict[str, float]) -> None:
    assert values.keys() == {
        "validation/flow", "validation/flow/sigma_0.2", "validation/flow/sigma_0.8", "validation/likeness",
        "validation/copy_rate", "validation/surplus", "validation/reward", "validation/reward_by_judge",
        "validation/held_out", "validation/seconds"}
    assert values["validation/flow"] == pytest.approx(
        (values["validation/flow/sigma_0.2"] + values["validation/flow/sigma_0.8"]) / 2)
    assert -1 <= values["validation/likeness"] <= 1 and 0 <= values["validation/copy_rate"] <= 1
    assert values["validation/held_out"] == 1


def test_rewards_are_the_mean_cosine_to_the_references_by_each_network(
    validation: Validation, recipe: Recipe, networks: Networks, values: dict[str, float]
) -> None:
    judge, own = embedder(SETTINGS.judge), networks.encoders.embedder
    by_loss, by_judge = [], []
    for position in (0, 2, 4):
        sample = validation.sample(position)
        if not sample.references:
            continue
        drawn = restored(recipe, networks, Autocast(networks.network, enabled=False), validation._batch(position), CPU,
                         steps=SETTINGS.steps, seeds=[position])
        pictures = torch.cat([drawn, levels_to_tensor(np.stack(sample.references), CPU)])
        landmarks = np.stack([sample.target_landmarks, *sample.reference_landmarks])
        with torch.no_grad():
            units = identity_embedding(own, pictures, crop_matrices(landmarks))
        by_loss.append(float((units[1:] @ units[0]).mean()))
        crops = np.stack([judge_crop(*pair) for pair in zip(tensor_to_levels(pictures), landmarks, strict=True)])
        units = torch.from_numpy(judge.embed(crops)[0])
        by_judge.append(float((units[1:] @ units[0]).mean()))
    assert by_loss
    assert values["validation/reward"] == pytest.approx(np.mean(by_loss), abs=1e-5)
    assert values["validation/reward_by_judge"] == pytest.approx(np.mean(by_judge), abs=1e-5)


def test_other_weights_give_other_numbers_and_the_same_ones_the_same(
    validation: Validation, networks: Networks, values: dict[str, float]
) -> None:
    network = Autocast(networks.network, enabled=False)
    assert without_time(validation.measure(network)) == without_time(values)
    parameter = networks.network.trainable_parameters()[0]
    with torch.no_grad():
        parameter.add_(1.0)
    other = validation.measure(network)
    with torch.no_grad():
        parameter.sub_(1.0)
    assert other["validation/flow"] != values["validation/flow"]


def test_a_network_that_knows_the_answer_has_no_error(
    validation: Validation, recipe: Recipe, networks: Networks
) -> None:
    """An oracle of the velocity: held-out error 0, and the restored faces look like the autoencoder's own."""
    from anchorface.training.objective import encode, noise_of

    clean = {}
    for position in range(SETTINGS.samples):
        batch = validation._batch(position)
        target, given = encode(recipe, networks, batch, CPU)
        noise = noise_of(recipe, batch["position"], tuple(target.shape[1:]), "validation noise")
        clean[given.degraded.numpy().tobytes()] = target, noise

    def oracle(z: torch.Tensor, sigma: torch.Tensor, given: Any) -> torch.Tensor:
        target, _ = clean[given.degraded.numpy().tobytes()]
        return (z - target) / sigma[:, None, None]

    found = validation.measure(oracle)
    assert found["validation/flow"] == pytest.approx(0, abs=1e-10)


def test_an_untrained_network_keeps_what_was_good(
    validation: Validation, recipe: Recipe, networks: Networks
) -> None:
    """Its pictures are worse than any input: all of the better faces is kept, and likeness is the better for it."""
    ramp = keep.measured(validation, Autocast(networks.network, enabled=False))
    assert ramp is not None and ramp.pictures == 3 * 5 and ramp.judge == recipe.validation.judge
    assert ramp.low < ramp.high and ramp.kept > ramp.restored
    sample = validation.sample(0)
    clean, resized, *_, own = damaged(sample.target, recipe, 0)
    assert clean is sample.target and resized.shape == own.shape == clean.shape
    again = damaged(sample.target, recipe, 0)
    assert all(np.array_equal(one, other) for one, other in zip(again, (clean, resized, *_, own), strict=True))
    assert not np.array_equal(damaged(sample.target, recipe, 1)[1], resized)


def test_own_references_are_believed_more_than_any_and_strangers_less(validation: Validation, recipe: Recipe) -> None:
    """By the anchor's network on degraded faces of people whom the run never saw."""
    found = trust.measured(validation)
    assert found is not None and found.pictures == 9 and found.auc >= LEAST_AUC
    own, strangers = [], []
    samples = [validation.sample(position) for position in range(recipe.validation.samples)]
    shown = [sample for sample in samples if len(sample.references)]
    network = validation.networks.encoders
    for sample in shown:
        face = identity_embedding(network.embedder, levels_to_tensor(sample.degraded[None], CPU),
                                  crop_matrices(sample.degraded_landmarks[None]))[0].double()
        for other in shown:
            cosine = float(face @ anchor(torch.from_numpy(other.reference_embeddings)[None].double())[0])
            (own if other.pair.identity == sample.pair.identity else strangers).append(cosine)
    odds = [float(logit(found.share(cosines)).mean()) for cosines in (own, strangers)]
    assert odds[0] > logit(OWN) > odds[1], "what is seen moves what was held before"
    nothing = Validation(replace(recipe, validation=replace(SETTINGS, trusted=0)), validation.networks,
                         validation.dataset_uri, CPU)
    assert trust.measured(nothing) is None


def test_every_person_is_held_out(validation: Validation, tiny_dataset: str) -> None:
    columns = open_dataset(tiny_dataset).columns
    trained = set(columns["identity"][columns["split"] == "train"].tolist())
    people = {validation.sample(position).pair.identity for position in range(SETTINGS.samples)}
    assert people and not people & trained


def test_the_training_split_stands_in_where_nobody_is_held_out_and_that_is_said(
    recipe: Recipe, networks: Networks, tiny_dataset: str, tmp_path: Path
) -> None:
    source, alone = Path(open_dataset(tiny_dataset).uri), tmp_path / "version"
    shutil.copytree(source, alone)
    faces = parquet.read_table(alone / "faces.parquet")
    faces = faces.set_column(faces.column_names.index("split"), "split", pa.array(["train"] * len(faces)))
    before = hashlib.sha256((alone / "faces.parquet").read_bytes()).hexdigest()
    parquet.write_table(faces, alone / "faces.parquet")
    after = hashlib.sha256((alone / "faces.parquet").read_bytes()).hexdigest()
    manifest = alone / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before, after))
    small = replace(recipe, validation=replace(SETTINGS, samples=1, pictures=0))
    found = Validation(small, networks, str(alone), CPU).measure(Autocast(networks.network, enabled=False))
    assert found["validation/held_out"] == 0 and "validation/likeness" not in found
    assert "on persons of the training split" in line({"clock": 8, "positions": 32, **found})


def test_it_is_due_at_its_multiples_and_at_the_end(validation: Validation, recipe: Recipe) -> None:
    due = [clock for clock in range(4, recipe.positions + 4, 4) if validation.due(clock)]
    assert due == [8, 16, 24, 32]


def test_items_are_dealt_equally_in_rounds_of_one_kind() -> None:
    kinds = [3, 0, 3, 1, 0, 3, 3]
    for world in (1, 2, 3, 8):
        own = [dealt(kinds, rank, world) for rank in range(world)]
        assert len({len(items) for items in own}) == 1
        assert set().union(*own) == set(range(7))
        for together in zip(*own, strict=True):
            assert len({kinds[item] for item in together}) == 1
    assert gathered([2, 0, 1], torch.tensor([2.0, 0.0, 1.0]), 3, 1).tolist() == [0.0, 1.0, 2.0]


def test_validation_is_no_part_of_what_shapes_a_run(recipe: Recipe, micro_recipe: Recipe) -> None:
    assert recipe.digest == micro_recipe.digest and recipe != micro_recipe
    assert not any(key.startswith("validation") for key in recipe.shaping())


@pytest.mark.parametrize(("changes", "text"), [
    ({"sigmas": (0.5, 1.0)}, "sigmas"), ({"sigmas": ()}, "sigmas"), ({"sigmas": (0.5, float("nan"))}, "sigmas"),
    ({"samples": 0}, "samples"), ({"pictures": 17}, "pictures"), ({"every": -1}, "every"), ({"patience": 1}, "every"),
    ({"metric": "loss"}, "flow.*likeness"), ({"metric": "likeness", "pictures": 0}, "pictures"),
])
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        ValidationSettings(**changes)


def test_a_judge_that_is_unknown_or_took_part_in_training_is_refused(micro_recipe: Recipe) -> None:
    with pytest.raises(WeightsError, match="judge_smal"):
        ValidationSettings(judge="judge_smal")
    partial = ValidationSettings(every=8, judge=micro_recipe.embedder)
    with pytest.raises(ConfigurationError, match="judge with another"):
        replace(micro_recipe, validation=partial)


def test_a_line_of_progress_says_what_was_found(values: dict[str, float]) -> None:
    shown = line({"clock": 2048, "positions": 4096, **values, "validation/likeness": 0.415, "validation/flow": 0.25,
                  "validation/copy_rate": 0.5, "validation/best": 1024})
    assert shown == "validated at 2,048: flow 0.2500, likeness 0.41, copies 50%, best so far at 1,024"
