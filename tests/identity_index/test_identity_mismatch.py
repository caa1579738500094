"""Which photo helps which: the choice of references."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anchorface.identity_index import Chosen, MismatchPolicy, near_duplicate, references
from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.exclusions import CAUSES, admissible, refusals
from anchorface.identity_index.retrieval.mismatch import REFERENCE_KEYS, asked_policy, mismatch, select
from anchorface.records import ConfigurationError, rng


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


def test_two_frames_within_a_second_are_one_picture_also_across_its_border():
    policy = MismatchPolicy()
    first = face(1, uri="clip.mp4#t=12.10")
    assert near_duplicate(first, face(2, uri="clip.mp4#t=12.90"), policy)
    assert near_duplicate(first, face(3, uri="clip.mp4#t=13.00"), policy)
    assert not near_duplicate(first, face(4, uri="clip.mp4#t=13.10"), policy)
    assert near_duplicate(first, face(4, uri="clip.mp4#t=13.10"), replace(policy, clip_seconds=5.0))
    assert not near_duplicate(first, face(5, uri="other.mp4#t=12.10"), policy)
    assert not near_duplicate(first, face(6, uri="clip.mp4"), policy)


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
    with pytest.raises(ConfigurationError, match="asks for nothing"):
        MismatchPolicy(mode="asked")
    with pytest.raises(ConfigurationError, match="4 bins: as many shares"):
        MismatchPolicy(pitch_asked=(0.5, 0.5))
    with pytest.raises(ConfigurationError, match="add up to 1"):
        MismatchPolicy(quality_asked=(0.5, 0.4, 0.2))
    with pytest.raises(ConfigurationError, match="a list of numbers"):
        MismatchPolicy(light_bins="0.1")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="nothing is asked"):
        MismatchPolicy(drawn=(("yaw", (0.2, 0.2, 0.2, 0.2, 0.2)),))
    with pytest.raises(ConfigurationError, match="drawn"):
        MismatchPolicy(drawn=(1, 2))  # type: ignore[arg-type]


def test_without_light_and_smile_the_picks_are_those_of_frozen_protocols():
    """The picks of the first version of the policy, which knew neither."""
    frozen = {
        "mismatch": [[8, 4, 1], [4, 10, 9], [8, 7, 4], [8, 10, 4], [1, 10, 8], [1, 8, 7]],
        "random": [[3, 4, 8], [10, 0, 11], [5, 4, 11], [9, 6, 10], [10, 3, 8], [8, 2, 1]],
    }
    for mode, picks in frozen.items():
        for number, expected in enumerate(picks):
            chosen = references(ALBUM[number], ALBUM, MismatchPolicy(mode=mode), 3, rng(4, "frozen", number))
            assert [int(one.face_id[5:8]) for one in chosen] == expected


def test_light_from_the_other_side_and_another_smile_count_and_are_said():
    plain = {"yaw": 0.0, "pitch": 0.0, "age": 30.0, "brightness": 100.0, "light_y": 0.0}
    target = face(1, **plain, light_x=-0.15, smile=0.85)
    other = face(2, **plain, light_x=0.15, smile=1.0)
    policy = MismatchPolicy()
    assert mismatch(target, other, policy) == pytest.approx(0.25 * 3 / 3 + 0.25 * 2 / 3)
    assert references(target, [other], policy, 1, rng(0, "light"))[0].reason == "light gap 30 %, smile gap 15 %"


YAW_ASKED = (0.1, 0.2, 0.3, 0.25, 0.15)


def turned(yaw: float, number: int, **changes: Any) -> dict[str, Any]:
    return face(number, yaw=yaw, age=None, **changes)


def test_asked_shares_are_achieved_where_candidates_reach_them():
    album = [turned(0.0, 0), *(turned(yaw, n) for n, yaw in enumerate(np.linspace(1, 60, 60), start=1))]
    policy = MismatchPolicy(mode="asked", yaw_asked=YAW_ASKED)
    yaws = {row["face_id"]: row["yaw"] for row in album}
    gaps = [yaws[one.face_id] for position in range(400)
            for one in references(album[0], album, policy, 3, rng(1, "asked", position))]
    achieved = np.bincount(np.digitize(gaps, policy.yaw_bins), minlength=5) / len(gaps)
    assert np.abs(achieved - YAW_ASKED).max() < 0.04


def test_a_bin_without_candidates_gives_its_share_to_the_nearest():
    album = [turned(0.0, 0), turned(2.0, 1), turned(20.0, 2)]
    policy = MismatchPolicy(mode="asked", yaw_asked=YAW_ASKED)
    first = [references(album[0], album, policy, 1, rng(1, "asked", n))[0].face_id for n in range(1000)]
    assert first.count("photo002-0") / 1000 == pytest.approx(0.3 + 0.25 + 0.15 + 0.1, abs=0.11)
    sure = replace(policy, yaw_asked=(0.0, 0.0, 0.0, 0.0, 1.0))
    assert {references(album[0], album, sure, 1, rng(1, "sure", n))[0].face_id for n in range(50)} == {"photo002-0"}


def test_the_reason_says_what_was_asked():
    target = face(1, yaw=-10.0, pitch=0.0, age=30.0, brightness=100.0, norm=20.0)
    other = face(2, yaw=24.0, pitch=9.0, age=None, brightness=101.0, norm=20.0)
    policy = MismatchPolicy(mode="asked", yaw_asked=(0, 0, 0, 1, 0), age_asked=(1, 0, 0, 0, 0), quality_asked=(0, 1, 0))
    assert references(target, [other], policy, 1, rng(0, "why"))[0].reason == (
        "yaw gap 34° (asked 25 to 40°), time gap unknown (asked under 2 years), quality 100 % (asked 80 to 90 %), "
        "pitch gap 9°")


def test_drawn_shares_decide_instead_of_the_asked_ones():
    album = [turned(0.0, 0), turned(2.0, 1), turned(50.0, 2)]
    shares: Any = {"yaw": [1, 0, 0, 0, 0]}
    policy = MismatchPolicy(mode="asked", yaw_asked=YAW_ASKED, drawn=shares)
    assert policy.drawn == (("yaw", (1, 0, 0, 0, 0)),)
    assert {references(album[0], album, policy, 1, rng(1, "drawn", n))[0].face_id for n in range(50)} == {"photo001-0"}


def test_of_two_copies_asked_takes_one_while_others_are_left():
    twin = turned(30.0, 1)
    album = [turned(0.0, 0), twin, {**twin, "face_id": "photo009-0", "photo_id": "photo009", "uri": "/copy.jpg"},
             turned(1.0, 2)]
    policy = MismatchPolicy(mode="asked", yaw_asked=(0, 0, 0, 1, 0))
    for position in range(20):
        chosen = [one.face_id for one in references(album[0], album, policy, 3, rng(1, "copies", position))]
        assert chosen[1] == "photo002-0" and len(chosen) == 3


def test_every_refusal_has_its_cause():
    day = date(2020, 5, 17)
    target = face(0, taken=day, score=0.9, uri="film.mp4#t=59.90")
    rows = [
        target, face(1, photo_id=target["photo_id"]), face(2, uri="film.mp4#t=60.50"),
        face(3, perceptual_hash=target["perceptual_hash"], embedding=target["embedding"]), face(4, taken=day),
        face(5, norm=1.0, score=0.9), face(6, norm=20.0, sharpness=1.0, score=0.9), face(7, norm=20.0, score=0.2),
        face(8, norm=20.0), face(9, norm=20.0, score=0.8, taken=day + timedelta(days=1)),
    ]
    policy = MismatchPolicy(minimum_norm=5.0, minimum_sharpness=50.0, minimum_score=0.5, other_day=True)
    found = [CAUSES[number] for number in refusals(Album.of_rows(rows), np.array([0]), policy)[0]]
    assert found == ["the target itself", "same photo", "same second", "near-duplicate", "same day", "norm too low",
                     "sharpness too low", "score too low", "score too low", ""]
    assert refusals(Album.of_rows(rows), np.array([0]), MismatchPolicy())[0, 4:].tolist() == [0] * 6


def test_every_face_can_have_as_many_references_as_are_admissible():
    twin = face(1, uri="film.mp4#t=1.0")
    album = [face(0), twin, {**twin, "face_id": "x-0", "photo_id": "x", "uri": "/copy.jpg"},
             face(3, uri="film.mp4#t=1.5"), face(4, norm=1.0)]
    policy = MismatchPolicy(minimum_norm=5.0)
    counts = admissible(Album.of_rows(album), policy)
    assert counts.tolist() == [3, 1, 2, 2, 4]
    assert counts.tolist() == [len(references(row, album, policy, 9, rng(0, "all"))) for row in album]
    assert admissible(Album.of_rows(album[:1]), policy).tolist() == [0]


def test_another_smile_in_the_same_studio_is_no_copy():
    one = face(1, smile=0.85)
    twin = {**one, "face_id": "x-0", "photo_id": "x", "uri": "/x.jpg"}
    assert near_duplicate(one, {**twin, "smile": 0.9}, MismatchPolicy())
    assert not near_duplicate(one, {**twin, "smile": 0.95}, MismatchPolicy())
    assert near_duplicate(one, {**twin, "smile": None}, MismatchPolicy()), "an unknown smile does not speak against it"


def test_rows_columns_and_tables_give_the_same_choice():
    rows = [{**face(n, taken=None if n % 3 else date(2000 + n, 1, 1), age=None if n % 2 else 20.0 + n),
             "light_x": 0.1 * n, "light_y": 0.0, "smile": 1.0, "score": 0.9} for n in range(12)]
    table = pa.table({
        name: pa.array([row[name] for row in rows], pa.uint64() if name == "perceptual_hash" else None)
        if name != "embedding" else pa.array([row[name].tolist() for row in rows], pa.list_(pa.float32()))
        for name in REFERENCE_KEYS})
    columns = {name: np.array(table[name].to_pylist()) for name in REFERENCE_KEYS if name not in ("taken", "age")}
    columns |= {"taken": table["taken"].to_numpy().astype("datetime64[D]"),
                "age": np.array([np.nan if row["age"] is None else row["age"] for row in rows])}
    albums = Album.of_rows(rows), Album.of_table(table), Album.of_columns(columns, slice(0, 12))
    for policy in (MismatchPolicy(), asked_policy(), MismatchPolicy(mode="random")):
        for target in range(12):
            one, *others = [select(album, target, policy, 3, rng(3, "forms", target)).references(album)
                            for album in albums]
            assert all(other == one for other in others)
            assert one == references(rows[target], rows[::-1], policy, 3, rng(3, "forms", target))
