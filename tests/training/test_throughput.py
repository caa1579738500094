"""Throughput's numbers against sums done by hand."""

import time
import timeit
from dataclasses import replace

import pytest
import torch

from anchorface.models.backbone import build_backbone
from anchorface.training.objectives.flow import Flow
from anchorface.training.recipes import Recipe
from anchorface.training.throughput import (
    Operations,
    Throughput,
    device_rate,
    operations_per_sample,
    peak_memory,
    summary,
    tokens_per_sample,
)

CPU = torch.device("cpu")


def counters(rate: float = 100.0, counted_after: float = 0.0) -> Throughput:
    return Throughput(lambda references: 10 + references, lambda references: 50.0 + references, rate, counted_after)


def test_a_line_divides_the_time_into_steps_waiting_and_pauses() -> None:
    told = counters()
    told.waited(1.0)
    told.stepped(8, 4.0, references=0, alone=2.0)
    told.waited(0.5)
    told.stepped(8, 2.5, references=3, alone=1.0)
    told.paused("checkpoint", 2.0)
    own = told.own(CPU)
    assert own[:2] == (1.5, 1.5) and own[3] == 100.0
    found = told.line([own, (2.5, 3.0, 2**31, 100.0), (1.0, 0.0, 2**30, 100.0)])
    assert found["throughput/seconds"] == 10.0
    assert found["throughput/images_per_second"] == 1.6
    assert found["throughput/tokens_per_second"] == (8 * 10 + 8 * 13) / 10
    assert found["throughput/data_wait"] == 0.3
    assert found["throughput/paused/checkpoint"] == 0.2
    assert found["throughput/utilisation"] == pytest.approx((8 * 50 + 8 * 53) / (10 * 300))
    assert found["throughput/memory_gib"] >= 2.0
    assert found["throughput/skew_seconds"] == 1.0
    assert told.line([told.own(CPU)]) == {}


def test_operations_are_not_asked_for_in_a_short_run_and_left_out_until_they_are_known() -> None:
    asked: list[int] = []

    def operations(references: int) -> float | None:
        asked.append(references)
        return 1.0 if len(asked) > 1 else None

    told = Throughput(lambda references: 1, operations, 1.0, counted_after=10.0)
    for _ in range(5):
        told.stepped(4, 4.0, references=2)
        found = told.line([told.own(CPU)])
        assert ("throughput/utilisation" in found) == (told.trained >= 16)
    assert asked == [2, 2, 2]


def test_operations_are_counted_beside_the_training(micro_recipe: Recipe) -> None:
    counted, until = Operations(micro_recipe), time.monotonic() + 300
    try:
        assert counted(1) is None
        while counted(1) is None and time.monotonic() < until:
            time.sleep(0.1)
        assert counted(1) == operations_per_sample(micro_recipe, 1)
        assert counted(0) == operations_per_sample(micro_recipe, 0)
    finally:
        counted.close()


def test_a_device_of_unknown_rate_has_no_utilisation() -> None:
    told = counters(rate=0.0)
    told.stepped(4, 1.0, references=0)
    assert "throughput/utilisation" not in told.line([told.own(CPU)])


def test_a_sample_costs_what_the_network_sees_and_computes(micro_recipe: Recipe) -> None:
    """At least the frozen linears, forward and backward to their input, for every token."""
    side = micro_recipe.model.tokens_per_side
    tokens = tokens_per_sample(micro_recipe, 1)
    assert tokens == 3 * side * side + 2
    counted = operations_per_sample(replace(micro_recipe, losses=(Flow(),)), 1)
    blocks = build_backbone(micro_recipe.model.backbone).single_transformer_blocks
    assert counted > 4 * tokens * sum(parameter.numel() for parameter in blocks.parameters() if parameter.ndim == 2)


def test_the_measured_rate_is_near_what_a_large_product_reaches() -> None:
    one = torch.ones(1024, 1024)
    seconds = min(timeit.repeat(lambda: one @ one, number=1, repeat=20))
    assert 0.3 < device_rate(CPU, "fp32") / (2 * 1024**3 / seconds) < 4  # other processes share the cores


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_memory(CPU)
    held = torch.ones(before // 4 + 2**26)
    assert peak_memory(CPU) > before and held.numel()


def test_a_summary_says_it_in_plain_words() -> None:
    lines = [
        {"clock": 0, "positions": 100},
        {"throughput/seconds": 3000.0, "throughput/images_per_second": 30.0, "throughput/data_wait": 0.0,
         "throughput/memory_gib": 1.0, "throughput/skew_seconds": 0.0},
        {"throughput/seconds": 1000.0, "throughput/images_per_second": 50.0, "throughput/data_wait": 0.12,
         "throughput/memory_gib": 1.2, "throughput/skew_seconds": 0.01, "throughput/utilisation": 0.41,
         "throughput/paused/checkpoint": 0.016},
    ]
    assert summary(lines) == (
        "1 h 06 min of training: 35 samples/s; 3.0% of the time waited for data; 41% of the machine's rate; "
        "1.2 GiB at most on a rank; checkpoint 0.4% of the time; the slowest rank was 2 ms a step behind the median")
    assert summary(lines[:1]) == ""
