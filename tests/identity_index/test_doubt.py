"""Purity and doubts: what is wrong ranks first, what is right stays quiet; copies of a picture."""

from datetime import date

import cv2
import numpy as np
import pyarrow as pa

from anchorface.faces.images import encode_jpeg
from anchorface.identity_index import constraints
from anchorface.identity_index.clustering.cluster import graph
from anchorface.identity_index.clustering.doubt import Doubt, doubts
from anchorface.identity_index.clustering.duplicates import copies, proposed, same_picture, view
from anchorface.identity_index.unit import unit
from anchorface.records import rng
from anchorface.synthetic import State, identity, render

THRESHOLD = 0.45


def persons(count: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings [N, 64] of persons with mean cosine about .65, and the person of each."""
    draws = rng(3, "persons", count)
    person = np.repeat(np.arange(count), each)
    centres = unit(draws.standard_normal((count, 64)))
    return unit(centres[person] + 0.7 * unit(draws.standard_normal((len(person), 64)))), person


def doubted(vectors: np.ndarray, person: np.ndarray, **columns: list) -> list[Doubt]:
    count = len(vectors)
    rows = {
        "face_id": [f"f{n:04d}" for n in range(count)], "photo_id": [f"photo{n}" for n in range(count)],
        "subject": [None] * count, "norm": [20.0] * count, "age": [None] * count, "birth_date": [None] * count,
        "taken": [None] * count, "age_source": ["unknown"] * count,
    } | columns
    names = ("face_id", "photo_id", "subject", "age_source")
    types = {"birth_date": pa.date32(), "taken": pa.date32()} | dict.fromkeys(names, pa.string())
    table = pa.table({name: pa.array(values, types.get(name, pa.float32())) for name, values in rows.items()})
    merged = constraints(table).merged(person)
    called = [f"p{n + 1:06d}" for n in range(int(person.max()) + 1)]
    return doubts(vectors, person, graph(vectors), merged, THRESHOLD, called, rows)


def kinds(doubt: Doubt) -> set[str]:
    return {kind for _, kind, _ in doubt.reasons}


def test_persons_that_are_right_are_pure_and_raise_no_doubt():
    vectors, person = persons(40, 8)
    found = doubted(vectors, person)
    assert min(doubt.purity for doubt in found) > 0.97
    assert not any(doubt.reasons for doubt in found)


def test_two_persons_under_one_name_rank_first_and_their_purity_is_the_larger_share():
    vectors, person = persons(40, 8)
    person = np.unique(np.where(person == 7, 3, person), return_inverse=True)[1]
    found = doubted(vectors, person)
    first = min(range(len(found)), key=lambda n: found[n].rank)
    assert first == 3 and found[3].words.startswith("two groups inside (8 and 8 faces")
    assert abs(found[3].purity - 0.5) < 0.05
    assert all(doubt.purity > 0.97 for n, doubt in enumerate(found) if n != 3)


def test_a_stranger_among_the_faces_is_named_as_the_worst():
    vectors, person = persons(40, 8)
    person[16] = 30
    found = doubted(vectors, person)
    assert found[30].doubtful[0] == 16
    assert "1 face fits p000003 better" in found[30].words and "1 face far off" in found[30].words
    assert abs(found[30].purity - 8 / 9) < 0.04


def test_one_person_under_two_names_is_proposed_unless_something_bars_it():
    vectors, person = persons(40, 8)
    halves = person.copy()
    halves[4:8] = 40
    found = doubted(vectors, halves)
    assert "perhaps the same person as p000041" in found[0].words and kinds(found[40]) == {"perhaps another's"}
    barred = doubted(vectors, halves, photo_id=["one", *(f"photo{n}" for n in range(1, 4)), "one", *(
        f"photo{n}" for n in range(5, len(vectors)))])
    assert "perhaps another's" not in kinds(barred[0]) | kinds(barred[40])


def test_dates_that_one_person_cannot_have_weigh_most():
    vectors, person = persons(20, 6)
    births, taken = [None] * 120, [None] * 120
    births[0], births[1], births[12], taken[12] = date(1980, 1, 1), date(1981, 1, 1), date(1990, 1, 1), date(1980, 1, 1)
    found = doubted(vectors, person, birth_date=births, taken=taken)
    assert "2 birth dates" in found[0].words and "taken 10 years before" in found[2].words
    assert found[2].doubtful[0] == 12
    assert sorted(range(20), key=lambda n: found[n].rank)[:2] in ([0, 2], [2, 0])


def test_small_children_weak_embeddings_and_very_large_identities_are_pointed_out():
    vectors, person = persons(30, 4)
    ages: list = [None] * 120
    ages[0:2] = [0.5, 2.0]
    norms = [20.0] * 120
    norms[4:8] = [5.0] * 4
    found = doubted(vectors, person, age=ages, norm=norms)
    assert kinds(found[0]) == {"small child"} and kinds(found[1]) == {"weak embeddings"} and not found[2].reasons
    many, one = persons(1, 120)
    few, others = persons(30, 4)
    found = doubted(np.concatenate([many, few]), np.concatenate([one, others + 1]))
    assert "very large" in kinds(found[0])


def photograph(state: State) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic person photographed: uint8 [320, 320, 3] and the five landmarks."""
    shot = render(identity(5), state, 320)
    return shot.image, np.asarray(shot.landmarks, np.float64)


def test_a_recompressed_resized_and_cropped_picture_is_the_same_picture():
    image, points = photograph(State())
    original = view(encode_jpeg(image), points)
    smaller = cv2.resize(image, (192, 192), interpolation=cv2.INTER_AREA)[8:, 12:180]
    moved = points * 0.6 - (12, 8) + rng(1, "jitter", 0).normal(0, 0.5, points.shape)
    assert same_picture(original, view(encode_jpeg(np.ascontiguousarray(smaller), 40), moved))
    assert same_picture(original, original)


def test_another_photograph_of_the_same_person_is_not_the_same_picture():
    original = view(encode_jpeg(photograph(State())[0]), photograph(State())[1])
    for state in (State(smile=0.6), State(yaw=10.0), State(eyes_closed=1.0), State(light_azimuth=-50.0)):
        image, points = photograph(state)
        assert not same_picture(original, view(encode_jpeg(image), points)), state


def test_only_alike_faces_of_one_person_are_proposed_as_copies():
    person = np.array([0, 0, 1, 0])
    rows = np.array([[1, 2, 3], [0, 2, 3], [0, 1, -1], [0, 1, 2]])
    cosines = np.array([[0.95, 0.95, 0.5], [0.95, 0.9, 0.95], [0.95, 0.9, 0.0], [0.5, 0.95, 0.4]], np.float32)
    hashes = np.array([0b0, 0b111, 0b0, 2**40 - 1], np.uint64)
    assert proposed(person, rows, cosines, hashes).tolist() == [[0, 1]]


def test_the_best_copy_stays_and_a_copy_of_a_copy_is_not_lost():
    better = {0: (100.0, 5.0), 1: (400.0, 5.0), 2: (100.0, 9.0), 3: (50.0, 1.0)}
    assert copies([(0, 1), (1, 2)], better) == {0: 1, 2: 1}
    assert copies([(0, 1), (0, 3)], better) == {0: 1}, "3 is a copy of 0 alone, and 0 goes: 3 stays"
    assert copies([(0, 2)], better) == {0: 2}, "the sharper one of two equally large ones"
