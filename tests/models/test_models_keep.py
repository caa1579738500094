"""How much of a degraded face is kept: a ramp over the length of its embedding, the one that is worth most."""

import numpy as np
import pytest
import torch

from anchorface.models.keep import Keep, best_ramp, blend, kept_of, ramp
from anchorface.records import ConfigurationError

MEASURED = {"pictures": 1, "judge": "j", "before": 0.0, "restored": 0.0, "kept": 0.0}


def test_the_share_rises_with_the_length() -> None:
    keep = Keep(low=10.0, high=14.0, **MEASURED)
    np.testing.assert_allclose(keep.share([3.0, 10.0, 11.0, 13.0, 14.0, 20.0]), [0, 0, 0.25, 0.75, 1, 1])
    np.testing.assert_array_equal(Keep(low=10.0, high=10.0, **MEASURED).share([3.0, 10.0, 20.0]), [0, 0, 0])
    assert Keep.from_dict(keep.to_dict()) == keep


def test_values_between_shares_are_straight() -> None:
    values = np.array([[0.0, 1.0, 0.0], [2.0, 4.0, 8.0]])
    np.testing.assert_allclose(kept_of(values, np.array([0.25, 0.75])), [0.5, 6.0])
    np.testing.assert_allclose(kept_of(values, np.array([1.0, 0.0])), [0.0, 2.0])


def test_the_ramp_that_is_worth_most_is_found() -> None:
    lengths = np.linspace(0.0, 16.0, 17)
    shares = np.linspace(0, 1, 9)
    wanted = ramp(lengths, 5.0, 9.0)
    worth = -((shares[None] - wanted[:, None]) ** 2)
    assert best_ramp(lengths, worth) == (5.0, 9.0)


def test_harm_counts_more_than_help() -> None:
    """Half of the pictures of one length win by one when nothing is kept, the others lose by .6: all is kept."""
    values = np.array([[1.0, 0.0], [-0.6, 0.0]] * 8)
    values[:2, :] = 0.0
    lengths = np.array([1.0, 1.0, *[5.0] * 14])
    low, high = best_ramp(lengths, values)
    assert values[:, 0].mean() > 0 and low < high <= 5.0


def test_nothing_is_kept_where_that_is_best() -> None:
    low, high = best_ramp(np.linspace(0.0, 16.0, 17), -np.tile(np.linspace(0, 1, 9), (17, 1)))
    assert low == high


def test_a_blend_is_pixel_by_pixel_and_none_leaves_every_bit() -> None:
    restored, degraded = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4)
    made = blend(restored, degraded, np.array([0.0, 0.25, 1.0]))
    assert torch.equal(made[0], restored[0])
    torch.testing.assert_close(made[1], 0.75 * restored[1] + 0.25 * degraded[1])
    torch.testing.assert_close(made[2], degraded[2])


@pytest.mark.parametrize("ends", [{"low": 2.0, "high": 1.0}, {"low": float("nan"), "high": 1.0},
                                  {"low": "1", "high": 2.0}])
def test_a_ramp_that_is_none_is_refused(ends: dict) -> None:
    with pytest.raises(ConfigurationError, match="keep"):
        Keep(**ends, **MEASURED)
