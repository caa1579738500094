"""Likeness and copying against values worked out by hand."""

import numpy as np
import pytest

from anchorface.faces.likeness import likeness


def unit(*values: float) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    return vector / np.linalg.norm(vector)


def test_nearer_to_the_reference_than_the_truth_is_a_copy() -> None:
    reference, target = unit(1, 0), unit(1, 1)
    between, beyond = unit(2, 1), unit(1, 2)
    copied = likeness(between, target, reference[None])
    assert copied.copied and copied.copied_any
    np.testing.assert_allclose([copied.target, copied.first, copied.truth_first, copied.surplus],
                               [3 / 10**0.5, 2 / 5**0.5, 1 / 2**0.5, 2 / 5**0.5 - 1 / 2**0.5])
    assert not likeness(beyond, target, reference[None]).copied


def test_the_truth_itself_is_never_a_copy() -> None:
    references = np.stack([unit(1, 0), unit(0, 1)])
    found = likeness(unit(1, 1), unit(1, 1), references)
    assert found.target == pytest.approx(1) and not found.copied and not found.copied_any and found.surplus == 0


def test_copy_rate_speaks_of_the_first_reference_and_any_of_them() -> None:
    first, second, target = unit(1, 0), unit(0, 1), unit(1, 1)
    to_second = likeness(unit(1, 3), target, np.stack([first, second]))
    assert not to_second.copied and to_second.copied_any
    assert to_second.mean == pytest.approx(4 / 10**0.5 / 2)


def test_without_references_there_is_nothing_to_copy() -> None:
    found = likeness(unit(1, 0), unit(1, 1), np.zeros((0, 2)))
    assert found.copied is None and found.first is None and found.target == pytest.approx(1 / 2**0.5)
