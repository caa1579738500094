"""Promises about who a synthetic person is and how they age."""

import numpy as np
import pytest

from anchorface.synthetic import Head, State, draw_state, identity
from anchorface.synthetic.hair import hair_tint
from anchorface.synthetic.head import BEARD_STYLES, HAIR_STYLES


def test_same_seed_is_the_same_person_for_ever():
    assert identity(7) == identity(7)
    assert identity(7) != identity(8)


def test_identity_holds_no_mutable_value():
    for value in vars(identity(3)).values():
        hash(value)


def test_people_use_every_hair_style_and_beard():
    crowd = [identity(k) for k in range(300)]
    assert {head.hair_style for head in crowd} == set(HAIR_STYLES)
    assert {head.beard_style for head in crowd} == set(BEARD_STYLES)


def test_skin_covers_the_human_range():
    tones = np.array([identity(k).skin for k in range(300)]).mean(axis=1)
    assert tones.min() < 0.28
    assert tones.max() > 0.80


def test_chin_stands_below_mouth_below_nose_below_eyes():
    for k in range(100):
        head: Head = identity(k)
        assert head.chin_y < head.mouth_y < head.nose_y < head.eye_y


def test_age_greys_the_hair():
    for k in range(20):
        head = identity(k)
        young, aged = hair_tint(head, 20.0), hair_tint(head, 84.0)
        assert np.ptp(aged) <= np.ptp(young) + 0.04
        assert np.abs(aged - 0.79).max() < 0.12


@pytest.mark.parametrize("age", [5.0, 90.0])
def test_only_adults_can_be_photographed(age):
    with pytest.raises(ValueError, match="age"):
        State(age=age)


def test_drawn_states_turn_both_ways_and_keep_the_asked_age():
    rng = np.random.default_rng(1)
    states = [draw_state(rng, 44.0) for _ in range(200)]
    yaws = np.array([state.yaw for state in states])
    assert {state.age for state in states} == {44.0}
    assert yaws.min() < -35
    assert yaws.max() > 35
    assert np.abs(yaws).max() <= 60
