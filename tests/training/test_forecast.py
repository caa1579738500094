"""A forecast is arithmetic on what was counted: told by hand here."""

from dataclasses import replace

import pytest

from anchorface.records import ConfigurationError
from anchorface.training.execution import Execution
from anchorface.training.forecast import (
    INFINIBAND,
    NVLINK,
    Assumptions,
    bandwidth,
    best,
    forecast,
    refusal,
    told,
    traffic,
)
from anchorface.training.plan import Counted
from anchorface.training.recipes import recipe

RECIPE = recipe("iconface", **{"feed.batch": 8, "positions": 8000, "checkpoint_every": 800})
COUNTED = Counted(
    recipe=RECIPE, execution=Execution(), references=2, backbone=1000, adapters=100, others=0, activations=0,
    identity=0, forward=10, training=50,
)
"""A backbone of 2,000 bytes (bfloat16), adapters of 400 (float32), 50 operations a sample."""
ASSUMED = Assumptions(rate=100.0, efficiency=0.5, bandwidth=1000.0, host_copy=100.0, feed_rate=4.0, restart=7.0)


def test_each_stage_sends_what_the_engine_sends() -> None:
    assert [traffic(COUNTED, 4, stage) for stage in range(4)] == [(600, 0), (600, 300), (600, 300), (300, 3600)]
    frugal = replace(COUNTED, execution=Execution(micro_batch=1))
    assert [traffic(frugal, 4, stage) for stage in range(4)] == [(600, 0), (600, 300), (1200, 300), (600, 7200)]
    assert all(traffic(COUNTED, 1, stage) == (0, 0) for stage in range(4))


def test_a_step_is_computing_and_communicating() -> None:
    found = forecast(COUNTED, gpus=4, stage=1, assumed=ASSUMED)
    assert (found.computing, found.communicating) == pytest.approx((2 * 50 / 50, 0.9))
    assert found.samples_per_second == pytest.approx(8 / 2.9)
    assert found.feed_cpus == pytest.approx(8 / 2.9 / 4 / 4)
    # A quarter each of the adapters' master, of two moments and of the average, and the adapters whole.
    assert found.pause == pytest.approx((400 + 100 + 200 + 100) / 100)
    assert found.lost == pytest.approx(100 * 2.9 / 2 + 7)


def test_uneven_shares_wait_for_the_busiest_rank() -> None:
    three, four = (forecast(COUNTED, gpus=gpus, stage=0, assumed=ASSUMED).computing for gpus in (3, 4))
    assert (three, four) == pytest.approx((3.0, 2.0))


def test_the_best_stage_is_the_fastest_that_fits() -> None:
    assert best(COUNTED, gpus=4, assumed=ASSUMED).stage == 0
    sizes = [forecast(COUNTED, gpus=4, stage=stage).memory for stage in range(4)]
    narrow = best(COUNTED, gpus=4, assumed=replace(ASSUMED, device=sizes[0] - 1))
    assert narrow.fits and narrow.stage == 2, "stage 1 sends as much, and holds more"
    tiny = replace(ASSUMED, device=1.0)
    none = best(COUNTED, gpus=4, assumed=tiny)
    assert not none.fits and none.memory == min(sizes)
    assert "nothing fits into 0 GiB" in told(none, RECIPE, tiny)


def test_more_nodes_send_slower_unless_told() -> None:
    plain = Assumptions()
    assert [bandwidth(gpus, plain) for gpus in (2, 8, 9)] == [NVLINK, NVLINK, INFINIBAND]
    assert bandwidth(64, replace(plain, bandwidth=3e9)) == 3e9


def test_more_gpus_than_samples_are_refused_with_what_to_set() -> None:
    assert refusal(RECIPE, 8) == ""
    assert refusal(recipe("iconface"), 64) == (
        "64 GPUs: refused, feed.batch 4 has only 4 samples; --set feed.batch=64")
    text = refusal(recipe("iconface"), 48)
    assert text.endswith("--set feed.batch=48 --set positions=400032")
    recipe("iconface", **{"feed.batch": 48, "positions": 400032})
    with pytest.raises(ConfigurationError, match="9 GPUs: from 1 to 8"):
        forecast(COUNTED, gpus=9, stage=0)


def test_it_is_told_in_plain_words() -> None:
    said = told(forecast(COUNTED, gpus=4, stage=1, assumed=ASSUMED), RECIPE, ASSUMED)
    assert said.startswith("4 GPUs: stage 1 is best. A step of 8 samples takes 2.90 s (2.00 computing, 0.90 ")
    for part in ("2.76 samples a second", "0.8 h for 8,000 samples", "0.2 CPUs a GPU", "for 8.0 s in every 5 min",
                 "costs 3 min"):
        assert part in said, part
    assert "communicating" not in told(forecast(COUNTED, gpus=1, stage=0, assumed=ASSUMED), RECIPE, ASSUMED)


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"efficiency": 1.5}, {"bandwidth": float("nan")}, {"host_copy": 0.0}])
def test_assumptions_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Assumptions(**wrong)
