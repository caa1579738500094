"""What a sweep varies: values of recipe fields, given as words.

    learning_rate=1e-4,1e-3              values, as `--set` takes them
    betas=[[0.9,0.99],[0.9,0.999]]       values with commas in them: a JSON list
    learning_rate=1e-5..1e-2:log         a range, of whole numbers where the field has them; `:log` draws
                                         evenly over the logarithm

In: such words and the recipe. Out: points, each a dictionary of key -> value that `recipes.varied` takes. A point is a
function of (seed, number), so that it is the same in every start and on every machine.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anchorface.records import ConfigurationError, rng
from anchorface.training.overrides import hint
from anchorface.training.recipes import Recipe, flat

Point = dict[str, Any]
"""Dotted key -> a word as `--set` takes it, or a number that was drawn."""
RANGE = re.compile(r"(?P<low>[^.:,\[][^:,\[]*?)\.\.(?P<high>[^:,\[]+)(?P<log>:log)?")
FAIR = ("feed.batch", "feed.flip")
"""Keys of the feed that leave the held-out samples as they are."""
MOST_POINTS = 10_000


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One key that varies. values: words, or none for a range from low to high, both included.

    log: drawn evenly over the logarithm. whole: whole numbers.
    """

    key: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def ends(self) -> tuple[Any, ...]:
        """The values, or a range's ends."""
        return self.values or (self._number(self.low), self._number(self.high))

    def draw(self, share: float) -> Any:
        """The value at a share in [0, 1) of the way through."""
        if self.values:
            return self.values[int(share * len(self.values))]
        low, high = self.low, self.high + self.whole  # every whole number has as much room, the last one too
        number = low * (high / low) ** share if self.log else low + share * (high - low)
        return self._number(min(max(number, self.low), self.high + 0.5 * self.whole))

    def _number(self, number: float) -> int | float:
        return math.floor(number) if self.whole else float(number)

    def __str__(self) -> str:
        if self.values:
            return f"{self.key}={','.join(self.values)}"
        return f"{self.key}={self.ends()[0]}..{self.ends()[1]}{':log' if self.log else ''}"


def variable(text: str, made: Recipe) -> Variable:
    """A variable from words.

    Raises:
        ConfigurationError: words that are none, a key that does not shape the weights or moves what trials are
            validated on, or a range for what is no number.
    """
    key, _, said = text.partition("=")
    if not said:
        raise ConfigurationError(f"--over {text}: write key=value,value or key=low..high")
    shaping = flat(made.to_dict())
    known = [name for name in made.shaping() if not name.startswith("feed.") or name in FAIR]
    if key not in shaping:
        raise ConfigurationError(f"--over {key}: unknown key{hint(key, known)}")
    if key not in known:
        raise ConfigurationError(
            f"--over {key}: trials would be validated on different samples, and their numbers not comparable; train "
            "such runs one by one, and compare them by `evaluate`" if key.startswith("feed.") else
            f"--over {key}: it shapes no weights, so all trials would be the same; give it to --set")
    found = RANGE.fullmatch(said)
    if not found:
        values = _values(text, said)
        if len(set(values)) < len(values):
            raise ConfigurationError(f"--over {text}: a value stands twice")
        return Variable(key=key, values=values)
    before = shaping[key]
    if isinstance(before, bool) or not isinstance(before, int | float):
        raise ConfigurationError(f"--over {text}: {key} is no number ({before!r}), so it has no range; write "
                                 f"{key}=value,value")
    try:
        low, high = float(found["low"]), float(found["high"])
    except ValueError as error:
        raise ConfigurationError(f"--over {text}: two numbers are needed, low..high") from error
    whole, log = isinstance(before, int), bool(found["log"])
    if not (math.isfinite(high) and low < high and (low > 0 or not log)) or (whole and (low % 1 or high % 1)):
        raise ConfigurationError(f"--over {text}: low..high needs low below high"
                                 + (", above 0" if log else "") + (", both whole numbers" if whole else ""))
    return Variable(key=key, low=low, high=high, log=log, whole=whole)


def grid(variables: Sequence[Variable]) -> list[Point]:
    """A point for each combination of values, the last key changing fastest.

    Raises:
        ConfigurationError: a range, which has no values, or too many points.
    """
    for one in variables:
        if not one.values:
            raise ConfigurationError(f"--over {one}: a grid needs values (key=value,value); ranges are for --search "
                                     "random and tpe")
    if (count := math.prod(len(one.values) for one in variables)) > MOST_POINTS:
        raise ConfigurationError(f"a grid of {count:,} points; {MOST_POINTS:,} at most: take --search random")
    keys = [one.key for one in variables]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(one.values for one in variables))]


def drawn(variables: Sequence[Variable], seed: int, number: int) -> Point:
    """Point `number` of a random search."""
    shares = rng(seed, "sweep", number).random(len(variables))
    return {one.key: one.draw(float(share)) for one, share in zip(variables, shares, strict=True)}


def suggested(variables: Sequence[Variable], seed: int, number: int, told: Sequence[tuple[Mapping[str, Any], float]],
              mode: str) -> Point:
    """Point `number` of Optuna's tree-structured Parzen estimator, which knows what earlier points have come to.

    Args:
        told: points and their values. mode: `min` or `max`, which end of the values is best.

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011; Optuna's numbers, ten points at random
    before the first estimate among them.
    """
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, Any] = {}
    for one in variables:
        low, high, kinds = one.low, one.high, optuna.distributions
        space[one.key] = (kinds.CategoricalDistribution(one.values) if one.values
                          else kinds.IntDistribution(int(low), int(high), log=one.log) if one.whole
                          else kinds.FloatDistribution(low, high, log=one.log))
    sampler = optuna.samplers.TPESampler(seed=int(rng(seed, "sweep", number).integers(2**32)))
    search = OptunaSearch(space=space, metric="value", mode=mode, sampler=sampler,
                          points_to_evaluate=[dict(point) for point, _ in told] or None,
                          evaluated_rewards=[value for _, value in told] or None)
    return dict(search.suggest(str(number)) or {})


def _values(text: str, said: str) -> tuple[str, ...]:
    if not said.startswith("["):
        return tuple(said.split(","))
    try:
        listed = json.loads(said)
    except ValueError as error:
        raise ConfigurationError(f"--over {text}: it begins with [ and is no JSON list of values ({error})") from error
    return tuple(each if isinstance(each, str) else json.dumps(each) for each in listed)
