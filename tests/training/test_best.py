"""Which validation was best: pure values, with a resume in the middle."""

import json
import math

import pytest

from anchorface.training.best import Best
from anchorface.training.validation_settings import ValidationSettings

FLOW = ValidationSettings(every=8, patience=2)
LIKENESS = ValidationSettings(every=8, metric="likeness")


def after(best: Best, values: list[float], first: int = 8) -> Best:
    for number, value in enumerate(values):
        best = best.taken({f"validation/{best.metric}": value}, first + 8 * number)
    return best


@pytest.mark.parametrize(("settings", "clock"), [(FLOW, 16), (LIKENESS, 24)])
def test_the_least_flow_or_the_greatest_likeness_is_best(settings: ValidationSettings, clock: int) -> None:
    assert after(Best.of(settings), [0.5, 0.3, 0.9, 0.4]).clock == clock


def test_it_is_exhausted_after_so_many_without_a_better_one() -> None:
    best = after(Best.of(FLOW), [0.5, 0.4, 0.4])
    assert best.since == 1 and not best.exhausted(2)
    best = after(best, [0.6], first=32)
    assert best.exhausted(2) and not best.exhausted(0)
    assert not after(best, [0.1], first=40).exhausted(2)


def test_a_value_that_is_not_finite_is_never_best() -> None:
    assert after(Best.of(FLOW), [math.nan, 0.5, -math.inf]) == Best(metric="flow", value=0.5, clock=16, since=1,
                                                                    last=24)


def test_a_resumed_run_goes_on_from_what_the_checkpoint_stored_and_counts_nothing_twice() -> None:
    whole = after(Best.of(FLOW), [0.5, 0.4, 0.6, 0.7])
    half = Best.of(FLOW, json.loads(json.dumps(after(Best.of(FLOW), [0.5, 0.4]).to_json())))
    assert after(half, [0.4, 0.6, 0.7], first=16) == whole


def test_another_metric_begins_anew() -> None:
    assert Best.of(LIKENESS, after(Best.of(FLOW), [0.5]).to_json()) == Best(metric="likeness")
    assert Best.of(FLOW, {}) == Best.of(FLOW)
