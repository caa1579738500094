"""What varies: words in, points out, and everything that is wrong with them said before anything starts."""

import math
from dataclasses import replace

import pytest

from anchorface.records import ConfigurationError
from anchorface.training.execution import Execution
from anchorface.training.recipes import Recipe
from anchorface.training.sweeps.settings import Sweep
from anchorface.training.sweeps.space import drawn, grid, suggested, variable


def swept(recipe: Recipe, *over: str, **more: object) -> Sweep:
    return Sweep(recipe=recipe, over=tuple(variable(text, recipe) for text in over), **more)  # type: ignore[arg-type]


def test_a_grid_has_every_combination_once_and_each_makes_its_recipe(swept_recipe: Recipe) -> None:
    made = swept(swept_recipe, "learning_rate=1e-3,1e-2", "betas=[[0.9,0.99],[0.8,0.9]]", "losses.identity.weight=0,1")
    assert made.count == len({str(point) for point in made.points}) == 8
    last = made.recipe_at(made.points[-1])
    assert (last.learning_rate, last.betas, last.losses[1].weight) == (1e-2, (0.8, 0.9), 1.0)
    assert replace(last, learning_rate=swept_recipe.learning_rate, betas=swept_recipe.betas,
                   losses=swept_recipe.losses) == swept_recipe
    with pytest.raises(ConfigurationError, match="values"):
        grid([variable("learning_rate=1e-3..1e-2", swept_recipe)])


def test_a_point_is_a_function_of_seed_and_number_inside_its_range(swept_recipe: Recipe) -> None:
    over = [variable(text, swept_recipe) for text in ("learning_rate=1e-5..1e-1:log", "warmup=2..4",
                                                      "precision=fp32,bf16")]
    points = [drawn(over, 3, number) for number in range(400)]
    assert points == [drawn(over, 3, number) for number in range(400)] != [drawn(over, 4, n) for n in range(400)]
    assert {point["warmup"] for point in points} == {2, 3, 4}
    rates = sorted(point["learning_rate"] for point in points)
    assert rates[0] >= 1e-5 and rates[-1] <= 1e-1
    assert 2e-4 < rates[200] < 5e-3, "evenly over the logarithm: half of them are below the geometric mean, 1e-3"
    assert {point["precision"] for point in points} == {"fp32", "bf16"}


def test_tpe_is_a_function_of_what_it_was_told_and_comes_nearer(swept_recipe: Recipe) -> None:
    over = [variable("learning_rate=1e-5..1e-1:log", swept_recipe), variable("warmup=2..4", swept_recipe),
            variable("precision=fp32,bf16", swept_recipe)]

    def far(point: dict[str, object]) -> float:
        return abs(math.log10(float(str(point["learning_rate"]))) + 3) + (point["precision"] == "bf16")

    told: list[tuple[dict[str, object], float]] = []
    for number in range(30):
        point = suggested(over, 7, number, told, "min")
        assert number % 10 or point == suggested(over, 7, number, told, "min")
        assert type(point["warmup"]) is int and 1e-5 <= float(str(point["learning_rate"])) <= 1e-1
        told.append((point, far(point)))
    first, last = ([value for _, value in part] for part in (told[:10], told[-10:]))
    assert sum(last) < 0.7 * sum(first)


@pytest.mark.parametrize(("text", "said"), [
    ("lerning_rate=1,2", "learning_rate"), ("learning_rate", "key=value"), ("learning_rate=1e-3,1e-3", "twice"),
    ("learning_rate=1e-2..1e-3", "low below high"), ("learning_rate=0..1e-3:log", "above 0"),
    ("warmup=0.5..3", "whole"), ("precision=bf16..fp32", "no number"), ("betas=[[0.9", "JSON"),
    ("feed.seed=1,2", "not comparable"), ("feed.profile=refldm-severe,refldm-train", "not comparable"),
    ("validation.every=8,16", "shapes no weights"), ("log_every=1,2", "shapes no weights"),
])
def test_words_that_are_no_variable_are_refused(swept_recipe: Recipe, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        variable(text, swept_recipe)


@pytest.mark.parametrize(("over", "more", "said"), [
    (["learning_rate=1e-3,2"], {}, "learning_rate=2: learning_rate is 2.0"),
    (["learning_rate=1e-3,hot"], {}, "learning_rate='hot'"),
    (["learning_rate=1e-3..5"], {"search": "tpe", "trials": 4}, "learning_rate is 5.0"),
    (["feed.batch=4,5", "positions=32,40"], {}, "feed.batch=5, positions=32: .*multiple"),
    (["feed.batch=4..32"], {"search": "random", "trials": 40}, "multiple"),
    (["learning_rate=1e-3,1e-2"], {"trials": 3}, "leave it out"),
    (["learning_rate=1e-3,1e-2"], {"search": "random"}, "--trials"),
    (["learning_rate=1e-3,1e-2"], {"search": "bayes"}, "grid, random, tpe"),
    (["learning_rate=1e-3,1e-2", "learning_rate=1e-4"], {}, "once"),
    ([], {}, "--over"),
    (["learning_rate=1e-3,1e-2"], {"asha": True, "first_rung": 32}, "below positions"),
    (["learning_rate=1e-3,1e-2"], {"reduction": 1.0}, "reduction"),
])
def test_a_sweep_that_cannot_be_is_refused_before_it_starts(
    swept_recipe: Recipe, over: list[str], more: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        swept(swept_recipe, *over, **more)


def test_a_sweep_without_validation_or_with_a_batch_too_small_for_its_workers_is_refused(swept_recipe: Recipe) -> None:
    silent = replace(swept_recipe, validation=replace(swept_recipe.validation, every=0))
    with pytest.raises(ConfigurationError, match=r"validation\.every"):
        swept(silent, "learning_rate=1e-3,1e-2")
    with pytest.raises(ConfigurationError, match="8 workers"):
        swept(swept_recipe, "feed.batch=4,8").require_batches(Execution(workers=8))
