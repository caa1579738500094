"""Recipes are frozen values with known keys."""

import dataclasses

import pytest

from anchorface.degradation.ranges import Whole
from anchorface.records import ConfigurationError
from anchorface.training.execution import Execution
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.identity import Identity
from anchorface.training.recipes import RECIPES, Recipe, recipe


@pytest.mark.parametrize("name", [function.__name__ for function in RECIPES])
def test_every_recipe_is_named_as_its_function_and_fits_together(name: str) -> None:
    made = recipe(name)
    assert made.name == name
    assert (made.fed.size, made.fed.embedder) == (made.model.image_size, made.embedder)
    assert made.steps >= 1


def test_the_papers_numbers_stand_in_iconface() -> None:
    made = recipe("iconface")
    assert (made.feed.batch, made.learning_rate) == (4, 1e-5)
    assert made.feed.reference_count_probabilities == (0.3, 0.3, 0.2, 0.2)
    assert made.losses == (Flow(weight=0.75), Identity(weight=0.30, hard=0.25, floor=0.25, fraction=1.0))
    assert made.anchor.temperature == 1.0
    assert made.model.image_size == 512


def test_an_unknown_recipe_names_its_neighbours() -> None:
    with pytest.raises(ConfigurationError, match="iconface_tiny"):
        recipe("iconface_tini")


@pytest.mark.parametrize(
    ("key", "near"), [("learning_rte", "learning_rate"), ("losses.identity_fraction", "losses.identity.fraction"),
                      ("feed.bach", "feed.batch"), ("batch", "feed.batch")]
)
def test_an_unknown_key_names_its_neighbours(key: str, near: str) -> None:
    with pytest.raises(ConfigurationError, match=near):
        recipe("iconface_tiny", **{key: 1})


def test_overrides_reach_nested_keys_and_read_a_command_lines_text() -> None:
    made = recipe("iconface_tiny", **{"feed.batch": "8", "positions": 64, "losses.identity.fraction": 1})
    assert (made.feed.batch, made.positions, made.losses[1]) == (8, 64, Identity(fraction=1.0))
    assert recipe("iconface_tiny", **{"feed.reference_count_probabilities": "[0.5, 0.5]"}) != made


def test_the_order_of_overrides_says_nothing() -> None:
    overrides = {"positions": 8, "feed.batch": 4, "model.image_size": 64, "losses.flow.weight": 1,
                 "losses.identity.weight": 0}
    made = recipe("iconface_tiny", **overrides)
    assert made == recipe("iconface_tiny", **dict(reversed(overrides.items())))
    assert (made.positions, made.feed.batch, made.fed.size) == (8, 4, 64)
    assert made.losses == (Flow(weight=1.0), Identity(weight=0.0))


def test_degradation_is_set_from_a_command_line() -> None:
    made = recipe("iconface_tiny", **{
        "feed.degradation_overrides": '{"noise.level": [0, 5], "jpeg.quality": [70, 90]}',
        "feed.severity": "[[15, 22, 0.5], [22, 28.5, 0.5]]"})
    assert made.feed.degradation_overrides == (("jpeg.quality", (70, 90)), ("noise.level", (0, 5)))
    assert made.feed.severity == ((15, 22, 0.5), (22, 28.5, 0.5))
    assert made.feed.degradations().ranges["jpeg.quality"] == Whole(70, 90)
    assert hash(made.feed) == hash(dataclasses.replace(made.feed)) and made.digest != recipe("iconface_tiny").digest
    other_order = '{"jpeg.quality": [70, 90], "noise.level": [0, 5]}'
    assert recipe("iconface_tiny", **{"feed.degradation_overrides": other_order}).feed.degradation_overrides == (
        made.feed.degradation_overrides)
    with pytest.raises(ConfigurationError, match=r"jpeg\.qualty.*jpeg\.quality"):
        recipe("iconface_tiny", **{"feed.degradation_overrides": '{"jpeg.qualty": [70, 90]}'})


@pytest.mark.parametrize(
    ("key", "value"),
    [("positions", "many"), ("precision", "fp8"), ("feed.size", 64), ("feed.profile", "rain"),
     ("sigma_sampler", "gauss"), ("losses.identity.fraction", 0.0), ("losses.flow.weight", "much"),
     ("anchor.norm_weights", "loudness"), ("feed", 3),
     ("feed.degradation_overrides", "7"), ("feed.degradation_overrides", "[1, 2]"), ("feed.severity", "[1, 2]"),
     ("feed.severity", "[[10, 20, 0.5]]")],
)
def test_values_that_do_not_fit_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError):
        recipe("iconface_tiny", **{key: value})


def test_a_feed_of_another_embedder_or_size_than_the_networks_is_refused_and_both_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"feed\.embedder 'judge_small'.*embedder 'adaface_small'"):
        recipe("iconface_tiny", **{"feed.embedder": "judge_small"})
    with pytest.raises(ConfigurationError, match=r"feed\.size 64 is not model\.image_size 128"):
        recipe("iconface_tiny", **{"feed.size": 64})


@pytest.mark.parametrize("losses", [(), (Flow(), Flow()), (Flow(weight=0.0), Identity(weight=0.0))])
def test_a_recipe_without_anything_to_learn_is_refused(losses: tuple) -> None:
    with pytest.raises(ConfigurationError, match="losses"):
        dataclasses.replace(recipe("iconface_tiny"), losses=losses)


@pytest.mark.parametrize("wrong", [
    {"zero_stage": 4}, {"workers": -1}, {"gpus": 8}, {"compile": True, "zero_stage": 3}, {"feed": "spark"},
    {"offload": True, "zero_stage": 0}, {"cpus": 0.0},
])
def test_an_execution_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ConfigurationError, match="execution"):
        Execution(**wrong)


def test_workers_and_micro_batches_must_divide_the_batch() -> None:
    assert Execution(workers=4, micro_batch=2).share(16) == 4 and Execution(workers=0).share(16) == 16
    with pytest.raises(ConfigurationError, match="16 over 3 workers"):
        Execution(workers=3).share(16)
    with pytest.raises(ConfigurationError, match="micro_batch 3 must divide 8"):
        Execution(workers=2, micro_batch=3).share(16)


def test_the_digest_ignores_housekeeping_and_sees_what_shapes_the_weights() -> None:
    plain = recipe("iconface_tiny")
    assert recipe("iconface_tiny", log_every=7, **{"feed.dataset": "elsewhere"}).digest == plain.digest
    assert recipe("iconface_tiny", **{"feed.seed": 1}).digest != plain.digest


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe("iconface_tiny").positions = 3  # type: ignore[misc]


def test_the_learning_rate_is_a_function_of_the_clock(micro_recipe: Recipe) -> None:
    made = dataclasses.replace(micro_recipe, positions=100, warmup=20, cooldown=40, final_rate=0.1, learning_rate=1.0)
    assert made.learning_rate_at(0) == pytest.approx(4 / 20)
    assert made.learning_rate_at(40) == pytest.approx(1.0)
    assert made.learning_rate_at(80) == pytest.approx(0.1 + 0.9 * 0.5)
    assert made.learning_rate_at(100) == pytest.approx(0.1)
