"""The moving average against a plain loop."""

import pytest
import torch

from anchorface.training.ema import MovingAverage


def test_the_average_is_that_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(3, generator=generator) for _ in range(60)]
    average = MovingAverage({"weight": torch.zeros(3)}, half_life=8)
    expected = torch.zeros(3, dtype=torch.float64)
    for step, value in enumerate(values, start=1):
        average.update({"weight": value}, clock=4 * step, positions=4)
        decay = 0.5 ** (4 / min(8, 0.1 * 4 * step))
        expected = decay * expected + (1 - decay) * value.double()
    assert average.average["weight"].numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_after_one_half_life_the_old_value_counts_half() -> None:
    average = MovingAverage({"weight": torch.ones(1)}, half_life=10)
    average.update({"weight": torch.zeros(1)}, clock=1000, positions=10)
    assert average.average["weight"].item() == pytest.approx(0.5)


def test_the_start_is_copied_and_a_state_continues() -> None:
    start = torch.ones(2)
    first, second = MovingAverage({"w": start}, 4), MovingAverage({"w": torch.zeros(2)}, 4)
    start.zero_()
    assert first.average["w"].tolist() == [1.0, 1.0]
    second.load(first.average)
    assert second.average["w"].tolist() == [1.0, 1.0]
