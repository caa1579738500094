"""Recipes are frozen values with known keys."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest

from anchorface.degradation.ranges import Whole
from anchorface.records import ConfigurationError
from anchorface.records.bounds import declared
from anchorface.training.execution import Execution
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.identity import Identity
from anchorface.training.overrides import keys
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
    assert (made.feed.batch, made.positions, made.losses[1]) == (8, 64, Identity(weight=2.0, fraction=1.0))
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


def test_an_appearance_and_cached_latents_are_refused_together() -> None:
    pipeline = '{"__version__": "2.0.8", "transform": {"__class_fullname__": "RandomGamma", "p": 1.0}}'
    made = recipe("iconface_tiny", **{"feed.appearance": pipeline})
    assert made.digest != recipe("iconface_tiny").digest and "RandomGamma" in made.to_dict()["feed"]["appearance"]
    with pytest.raises(ConfigurationError, match=r"latents 'dataset': .*feed\.appearance changes these; leave one"):
        recipe("iconface_tiny", **{"feed.appearance": pipeline, "latents": "dataset"})


def settings(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every frozen value inside a recipe, with the dotted place of its fields."""
    yield prefix, value
    for entry in dataclasses.fields(value):
        inner = getattr(value, entry.name)
        parts = inner if isinstance(inner, tuple) else (inner,)
        for part in (part for part in parts if dataclasses.is_dataclass(part)):
            yield from settings(part, f"{prefix}{entry.name}.{getattr(part, 'kind', '') if part is not inner else ''}"
                                .rstrip(".") + ".")


def plain(kind: Any) -> Any:
    """An annotation without its bounds."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def is_numeric(kind: Any) -> bool:
    """Whether whole or real numbers may stand anywhere in a field."""
    kind = plain(kind)
    return kind in (int, float) or any(map(is_numeric, get_args(kind)))


def filled(kind: Any, number: Any) -> Any:
    """A value of an annotation's form with this number in every place."""
    kind, parts = plain(kind), get_args(plain(kind))
    if get_origin(kind) is tuple:
        return tuple(filled(part, number) for part in parts if part is not Ellipsis)
    if parts:
        return filled(parts[0], number)
    return "yaw" if kind is str else number


HELD = ("iconface_tiny", "rg_ipfr_tiny", "ip_fvr_tiny")
"""Recipes that hold every kind of number; of a key that several have, the first is asked."""


def holder(key: str) -> str:
    """The recipe that is asked about a key."""
    return next(name for name in HELD if key in keys(recipe(name)))


def numeric_fields() -> dict[str, tuple[type, str, Any]]:
    """Dotted key -> (class, field, annotation) of every number that a recipe holds."""
    return {
        f"{prefix}{entry.name}": (type(value), entry.name, entry.type)
        for name in reversed(HELD) for prefix, value in settings(recipe(name))
        for entry in dataclasses.fields(value) if is_numeric(entry.type)
    }


@pytest.mark.parametrize("key", numeric_fields())
def test_every_number_of_a_recipe_has_ends_and_refuses_what_is_none_by_its_dotted_name(key: str) -> None:
    owner, name, kind = numeric_fields()[key]
    bounds, asked = declared(owner)[name], holder(key)
    assert math.isfinite(bounds.least) and math.isfinite(bounds.most)
    for absurd in (math.nan, math.inf, -math.inf, 1e300, -1e300, 10**400, bounds.least - 1, bounds.most * 2 + 1):
        with pytest.raises(ConfigurationError, match=rf"(^|[^.\w]){key}\b"):
            recipe(asked, **{key: filled(kind, absurd)})
    for text in ("NaN", "Infinity", "-1e999"):
        if get_origin(plain(kind)) is not tuple:
            with pytest.raises(ConfigurationError, match=key):
                recipe(asked, **{key: text})


def test_the_walk_over_numbers_finds_them_in_every_room() -> None:
    found = numeric_fields()
    assert {"learning_rate", "betas", "feed.batch", "feed.severity", "feed.policy.drawn", "feed.policy.yaw_bins",
            "anchor.temperature", "losses.identity.hard", "model.image_size", "model.backbone.eps",
            "model.autoencoder.decoder_block_out_channels", "model.system.lora_alpha",
            "model.system.context_scale", "losses.hard_example.share", "losses.feedback.window",
            "model.system.temporal_theta", "feed.frames"} <= found.keys()
    assert not {"name", "precision", "feed.flip", "feed.policy.other_day", "feed.identities"} & found.keys()


@pytest.mark.parametrize(("owner", "name", "kind"), numeric_fields().values(), ids=numeric_fields())
def test_a_number_is_refused_where_the_value_is_made_without_a_recipe_too(owner: type, name: str, kind: Any) -> None:
    whole = next(value for held in HELD for _, value in settings(recipe(held)) if type(value) is owner)
    with pytest.raises(ConfigurationError, match=name):
        dataclasses.replace(whole, **{name: filled(kind, math.nan)})


def test_positions_that_are_no_multiple_of_the_batch_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"positions 9,217 .* feed\.batch 16.* 9,216 or 9,232"):
        recipe("iconface_tiny", positions=9217)
    with pytest.raises(ConfigurationError, match=r"the nearest are 16$"):
        recipe("iconface_tiny", positions=3)


@pytest.mark.parametrize(("key", "name", "said"), [
    ("autoencoder", "autoencoder_tinny", "did you mean autoencoder_tiny"),
    ("backbone", "flux2_vae", "did you mean flux2_klein_base_4b"),
    ("text", "prompt", "flux2_klein_prompt"), ("embedder", "adaface_smal", "did you mean adaface_small"),
    ("embedder", "mobileface_mit_112", "no network that training knows"), ("embedder", "", "known are adaface_small"),
])
def test_names_of_networks_that_nobody_knows_are_refused_with_their_neighbours(key: str, name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{key} '{name}' .*{said}"):
        recipe("iconface_tiny", **{key: name})


def test_fresh_networks_have_no_name() -> None:
    assert recipe("iconface_tiny", autoencoder="", backbone="", text="").autoencoder == ""


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


def test_a_batch_is_divided_among_any_workers_that_it_has_samples_for() -> None:
    assert Execution(workers=4, micro_batch=2).pieces(16, 4) == 2
    assert Execution(workers=3).pieces(16, 3) == 1
    assert Execution(workers=3, micro_batch=2).pieces(16, 3) == 3
    Execution(workers=16).require_batch(16)
    with pytest.raises(ConfigurationError, match=r"17 workers: feed\.batch 16"):
        Execution(workers=17).require_batch(16)


def test_an_elastic_runs_workers_book_their_feeds_cpus() -> None:
    assert Execution(workers=2, cpus=2.0, feed_workers=3, feed_cpus=0.7).booked == (2.0, 0.7)
    elastic = Execution(workers=2, least_workers=1, cpus=2.0, feed_workers=3, feed_cpus=0.7)
    assert elastic.booked == (4.1, 0.0)
    assert dataclasses.replace(elastic, feed="inline").booked[0] == 2.0


@pytest.mark.parametrize(("name", "absurd"), [
    ("workers", -1), ("cpus", 0.0), ("cpus", math.inf), ("feed_workers", 0), ("failures", -1), ("hang", math.nan),
    ("patience", -1.0), ("zero_stage", 4), ("gpus", 2), ("resize_seconds", 0.0), ("micro_batch", -1)])
def test_an_executions_numbers_have_ends(name: str, absurd: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"execution: {name} is "):
        Execution(**{name: absurd})  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"not_finite": "ignore"}, {"erased": "forget"}, {"feed": "slow"},
                                   {"workers": 2, "least_workers": 3}, {"compile": True, "zero_stage": 3}])
def test_an_executions_words_are_known_and_fit_together(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="execution: "):
        Execution(**wrong)


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
