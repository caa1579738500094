"""Whatever the shape and whatever the plan: pixels of the same shape, or one of our errors."""

import json
from typing import Any

import numpy as np
import pytest

from degradation import Plan, apply, draw, profiles
from records import ConfigurationError, DataError, rng
from tests.degradation.scene import picture

SHAPES = ((1, 1), (1, 2), (2, 1), (1, 97), (83, 1), (3, 5), (15, 16), (17, 33), (8, 301))
STRANGE = (-1, 0, 1, 2, 0.5, -7.5, 255, 1e-300, 1e300, -1e300, 10**12, 2**70, float("nan"), float("inf"), "", "linear",
           "no such word", True, None, [], {}, [1, 2])


def check(image: np.ndarray, plan: Plan) -> None:
    result = apply(image, plan)
    assert result.dtype == np.uint8 and result.shape == image.shape, plan.to_json()


@pytest.mark.parametrize("name", profiles())
def test_every_profile_takes_every_shape(name):
    random = rng(0, f"fuzz shapes {name}")
    for number, shape in enumerate((*SHAPES, *(tuple(np.exp(random.uniform(0, 6, 2)).astype(int)) for _ in range(5)))):
        size = int(random.choice((16, 17, 64, 129, 512)))
        image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        check(image, draw(name, rng(1, f"fuzz shapes {name}", number), size))
    for level in (0, 255):
        check(np.full((40, 40, 3), level, np.uint8), draw(name, rng(2, f"fuzz shapes {name}"), 40))


@pytest.mark.parametrize("name", profiles()[::4])
def test_large_pictures_are_taken(name):
    check(picture(2048), draw(name, rng(0, "large"), 2048))
    check(picture(2048, 40), draw(name, rng(1, "large"), 64))


def mutated(plan: Plan, random: np.random.Generator) -> str:
    """A plan's JSON with one thing in it changed."""
    values: Any = json.loads(plan.to_json())
    kind = int(random.integers(6))
    if kind == 0:
        text = plan.to_json()
        place = int(random.integers(len(text)))
        return text[:place] + str(random.choice(list('0x-.,"[]{}:e'))) + text[place + int(random.integers(2)):]
    if kind == 1:
        values[str(random.choice(list(values)))] = STRANGE[int(random.integers(len(STRANGE)))]
        return json.dumps(values)
    steps = values["operations"]
    place = int(random.integers(len(steps)))
    name, given = steps[place]
    if kind == 2 or not given:
        steps[place] = [[name], [name, given, 1], [given, name], ["", given], name, None][int(random.integers(6))]
    elif kind == 3:
        del given[str(random.choice(list(given)))]
    elif kind == 4:
        given["name"] = given.pop(str(random.choice(list(given))))
    else:
        given[str(random.choice(list(given)))] = STRANGE[int(random.integers(len(STRANGE)))]
    return json.dumps(values)


@pytest.mark.parametrize("name", profiles())
def test_damaged_plans_are_refused_or_do_something(name):
    random, image, refused = rng(0, f"fuzz plans {name}"), picture(33, 20), 0
    for number in range(60):
        text = mutated(draw(name, rng(3, f"fuzz plans {name}", number), 32), random)
        try:
            check(image, Plan.from_json(text))
        except (DataError, ConfigurationError) as error:
            refused += 1
            assert str(error)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error} of {text}") from error
    assert 10 < refused < 60


def test_every_value_of_an_operation_is_checked_and_named():
    image = picture(24)
    for name in profiles():
        plan = draw(name, rng(4, f"fuzz values {name}"), 24)
        for place, step in enumerate(plan.operations):
            for key, _ in step.parameters:
                for strange in ("no such word", 10**12, -(10**12)):
                    if key == "seed" and isinstance(strange, int):
                        continue
                    values: Any = json.loads(plan.to_json())
                    values["operations"][place][1][key] = strange
                    try:
                        check(image, Plan.from_json(json.dumps(values)))
                    except (DataError, ConfigurationError) as error:
                        assert step.name in str(error) or key in str(error) or "ends at" in str(error), str(error)
