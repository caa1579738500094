"""What a sweep is: a recipe, what varies, who chooses the points, and who is stopped early."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from anchorface.records import ConfigurationError
from anchorface.records.bounds import COUNT_OR_NONE, SEED, Bounds, check
from anchorface.training.execution import Execution
from anchorface.training.recipes import Recipe, flat, varied
from anchorface.training.sweeps.space import MOST_POINTS, Point, Variable, drawn, grid, suggested
from anchorface.training.validation_settings import METRICS

SEARCHES = ("grid", "random", "tpe")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep. What it looks for is the best validation of a trial, by the recipe's `validation.metric`.

    recipe: of all trials. over: what varies. search: `grid` tries each combination of values, `random` draws `trials`
    points, `tpe` (Optuna's) chooses them by what earlier ones came to. seed: of the points; all trials have the
    recipe's own seed, so that they see the same samples in the same order, and differ by what varies alone.
    asha: trials are stopped early (asynchronous successive halving): at rungs of `first_rung` (0: validation.every),
    first_rung x reduction, ... positions, a trial goes on if it is among the best 1 / reduction that came so far.
    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020; reduction 3 is our choice.
    """

    recipe: Recipe
    over: tuple[Variable, ...]
    search: str = "grid"
    trials: Annotated[int, Bounds(0, MOST_POINTS)] = 0
    seed: Annotated[int, SEED] = 0
    asha: bool = False
    first_rung: Annotated[int, COUNT_OR_NONE] = 0
    reduction: Annotated[float, Bounds(1, 1000, above=True)] = 3.0

    def __post_init__(self) -> None:
        check(self, "sweep: ")
        keys, asked = [one.key for one in self.over], self.recipe.validation
        _require(bool(keys) and len(set(keys)) == len(keys), f"over {', '.join(keys) or 'nothing'}: name each key that "
                 "varies, once: --over key=value,value")
        _require(self.search in SEARCHES, f"search {self.search!r}: it is one of {', '.join(SEARCHES)}")
        _require((self.search == "grid") == (not self.trials),
                 f"trials {self.trials}: a grid has as many as it has points, leave it out" if self.search == "grid"
                 else f"search {self.search} needs a number of trials: --trials")
        _require(asked.every > 0, "validation.every is 0, so nothing would say which trial is best: "
                 "--set validation.every=...")
        _require(not self.asha or self.rung < self.recipe.positions,
                 f"first_rung {self.rung}: below positions, {self.recipe.positions:,}, or nobody is stopped; also "
                 "--set validation.every=...")
        self._require_recipes()

    def _require_recipes(self) -> None:
        """Refuse points that make no recipe: all of a grid and of a random search, each value of a key by itself of the
        third."""
        points = self.points or [{one.key: end} for one in self.over for end in one.ends()]
        for point in points:
            try:
                self.recipe_at(point)
            except ConfigurationError as error:
                raise ConfigurationError(f"{', '.join(f'{key}={value}' for key, value in point.items())}: "
                                         f"{error}") from error

    @property
    def count(self) -> int:
        """How many trials it has."""
        return self.trials or len(grid(self.over))

    @property
    def metric(self) -> str:
        """Of the lines of progress, what is looked at."""
        return f"validation/{self.recipe.validation.metric}"

    @property
    def mode(self) -> str:
        """`min` or `max`: which end of the metric is best."""
        return "min" if METRICS[self.recipe.validation.metric] == "least" else "max"

    @property
    def rung(self) -> int:
        """Positions at which trials are first compared."""
        return self.first_rung or self.recipe.validation.every

    def recipe_at(self, point: Mapping[str, Any]) -> Recipe:
        """The recipe of a point.

        Raises:
            ConfigurationError: values that fit no recipe, or other keys than those that vary.
        """
        if unknown := point.keys() - {one.key for one in self.over}:
            raise ConfigurationError(f"{', '.join(sorted(unknown))}: this sweep does not vary it")
        return varied(self.recipe, point)

    @cached_property
    def points(self) -> list[Point]:
        """All points, in order; none where they are chosen by what others came to."""
        if self.search == "tpe":
            return []
        return grid(self.over) if self.search == "grid" else [
            drawn(self.over, self.seed, number) for number in range(self.trials)]

    def point(self, number: int, told: Sequence[tuple[Point, float]]) -> Point:
        """One point. told: points that came to something, and to what."""
        if self.search == "tpe":
            return suggested(self.over, self.seed, number, told, self.mode)
        return self.points[number]

    def require_batches(self, execution: Execution) -> None:
        """Refuse an execution that has more workers than a point's batch has samples.

        Raises:
            ConfigurationError: says so.
        """
        batches = {self.recipe_at(point).feed.batch for point in self.points} or {self.recipe.feed.batch}
        execution.require_batch(min(batches))

    def to_dict(self) -> dict[str, Any]:
        """What may not change while it goes on, flat and ready for JSON. The number of trials may: they are added."""
        asked = flat({"validation": self.recipe.to_dict()["validation"]})
        halving = {"first_rung": self.rung, "reduction": self.reduction} if self.asha else {}
        return {"over": [str(one) for one in self.over], "search": self.search, "seed": self.seed, "asha": self.asha,
                **halving, **{f"recipe.{key}": value for key, value in (self.recipe.shaping() | asked).items()}}


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ConfigurationError(f"sweep: {text}")
