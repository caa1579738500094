"""Which photo helps which: the choice of references."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from identity_index import Chosen, MismatchPolicy, near_duplicate, references
from identity_index.mismatch import mismatch
from records import ConfigurationError, rng


def face(number: int, **changes: Any) -> dict[str, Any]:
    """A face row; each number is another photo that looks different."""
    draws = rng(11, "face", number)
    vector = np.ones(16) + 0.5 * draws.standard_normal(16)
    return {
        "face_id": f"photo{number:03d}-0", "photo_id": f"photo{number:03d}", "uri": f"/album/{number}.jpg",
        "yaw": float(draws.uniform(-50, 50)), "pitch": float(draws.uniform(-20, 20)),
        "age": float(draws.uniform(20, 60)), "taken": None, "brightness": float(draws.uniform(60, 190)),
        "norm": float(draws.uniform(12, 28)), "sharpness": 100.0, "perceptual_hash": int(draws.integers(2**63)),
        "embedding": (vector / np.linalg.norm(vector)).astype(np.float32), **changes,
    }


ALBUM = [face(number) for number in range(12)]


def test_never_the_target_nor_its_near_duplicate():
    target = ALBUM[0]
    copies = [
        target,
        face(100, photo_id=target["photo_id"]),
        face(101, uri=target["uri"]),
        face(102, perceptual_hash=target["perceptual_hash"] ^ 0b1011, embedding=target["embedding"], yaw=80.0),
    ]
    for mode in ("mismatch", "random"):
        for position in range(40):
            chosen = references(target, copies + ALBUM[1:4], MismatchPolicy(mode=mode), 7, rng(0, mode, position))
            assert {c.face_id for c in chosen} == {row["face_id"] for row in ALBUM[1:4]}


def test_two_frames_of_one_second_are_one_picture():
    policy = MismatchPolicy()
    first = face(1, uri="clip.mp4#t=12.10")
    assert near_duplicate(first, face(2, uri="clip.mp4#t=12.90"), policy)
    assert not near_duplicate(first, face(3, uri="clip.mp4#t=13.00"), policy)
    assert not near_duplicate(first, face(4, uri="other.mp4#t=12.10"), policy)


def test_a_like_hash_alone_or_a_like_embedding_alone_is_no_duplicate():
    policy, one = MismatchPolicy(), ALBUM[0]
    stranger = -one["embedding"]
    assert not near_duplicate(one, face(50, embedding=one["embedding"]), policy)
    assert not near_duplicate(one, face(51, perceptual_hash=one["perceptual_hash"], embedding=stranger), policy)


def test_mismatch_takes_larger_gaps_than_chance():
    policy = MismatchPolicy()
    rows = {row["face_id"]: row for row in ALBUM}

    def mean_gap(mode: str) -> float:
        gaps = [
            mismatch(target, rows[chosen.face_id], policy)
            for target in ALBUM for position in range(5)
            for chosen in references(target, ALBUM, replace(policy, mode=mode), 2, rng(2, mode, position))
        ]
        return float(np.mean(gaps))

    assert mean_gap("mismatch") > 1.25 * mean_gap("random")


def test_the_reason_names_the_gaps_that_counted():
    target = face(1, yaw=-10.0, pitch=0.0, age=30.0, brightness=100.0)
    other = face(2, yaw=24.0, pitch=1.0, age=42.0, brightness=101.0)
    alike = face(3, yaw=-11.0, pitch=0.0, age=30.0, brightness=100.0)
    policy = MismatchPolicy()
    assert references(target, [other], policy, 1, rng(0, "reason")) == [
        Chosen("photo002-0", "yaw gap 34°, age gap 12 years")]
    assert references(target, [alike], policy, 1, rng(0, "reason"))[0].reason == "no large gap"


def test_without_ages_the_dates_count():
    target = face(1, age=None, taken=date(2004, 5, 1), yaw=0.0, pitch=0.0, brightness=99.0)
    late = face(2, age=None, taken=date(2004, 5, 1) + timedelta(days=4018), yaw=0.0, pitch=0.0, brightness=99.0)
    assert references(target, [late], MismatchPolicy(), 1, rng(0, "time"))[0].reason == "time gap 11 years"
    unknown = face(3, age=float("nan"), taken=None, yaw=0.0, pitch=0.0, brightness=99.0)
    assert references(target, [unknown], MismatchPolicy(), 1, rng(0, "time"))[0].reason == "no large gap"


def test_references_differ_from_each_other_too():
    target = face(0, yaw=0.0, pitch=0.0, age=30.0, brightness=120.0, norm=20.0)
    left = [face(n, yaw=-45.0, pitch=0.0, age=30.0, brightness=120.0, norm=20.0) for n in (1, 2, 3)]
    right = [face(4, yaw=42.0, pitch=0.0, age=30.0, brightness=120.0, norm=20.0)]
    policy = MismatchPolicy(spread=0.0)
    chosen = {c.face_id for c in references(target, left + right, policy, 2, rng(0, "apart"))}
    assert "photo004-0" in chosen


def test_same_arguments_same_choice_in_any_order_of_candidates():
    policy = MismatchPolicy()
    first = references(ALBUM[0], ALBUM, policy, 4, rng(5, "choice", 9))
    assert first == references(ALBUM[0], ALBUM[::-1], policy, 4, rng(5, "choice", 9))
    others = [references(ALBUM[0], ALBUM, policy, 4, rng(5, "choice", position)) for position in range(10)]
    assert len({tuple(chosen) for chosen in others}) > 1, "epochs should not all see the same references"


def test_poor_candidates_are_left_out_and_fewer_come_back():
    policy = MismatchPolicy(minimum_norm=20.0, minimum_sharpness=50.0)
    rows = [face(1, norm=25.0), face(2, norm=15.0), face(3, norm=25.0, sharpness=10.0)]
    assert [c.face_id for c in references(ALBUM[0], rows, policy, 3, rng(0, "poor"))] == ["photo001-0"]
    assert references(ALBUM[0], [], policy, 3, rng(0, "poor")) == []
    assert references(ALBUM[0], rows, policy, 0, rng(0, "poor")) == []


def test_a_policy_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigurationError, match="mode"):
        MismatchPolicy(mode="nearest")
    with pytest.raises(ConfigurationError, match="yaw_bins"):
        MismatchPolicy(yaw_bins=(20.0, 10.0))
