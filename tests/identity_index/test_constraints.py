"""What is known besides the looks, and that clustering keeps to it."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from anchorface.identity_index import cluster, constraints
from anchorface.identity_index.clustering.constraints import Constraints
from anchorface.records import DataError, Decision, rng

ALIKE = 0.5
"""A threshold that all faces of `table` reach with all others: only what is known keeps them apart."""


def table(**columns: list) -> pa.Table:
    """Faces f0, f1, ..., each in a photograph of its own unless said otherwise."""
    count = len(next(iter(columns.values())))
    rows = {
        "face_id": [f"f{n}" for n in range(count)], "photo_id": [f"photo{n}" for n in range(count)],
        "subject": [None] * count, "birth_date": [None] * count, "taken": [None] * count, "age": [None] * count,
        "age_source": ["unknown"] * count,
    } | columns
    types = {"birth_date": pa.date32(), "taken": pa.date32(), "age": pa.float32()}
    return pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in rows.items()})


def together(known: Constraints, embeddings: np.ndarray | None = None) -> set[frozenset[str]]:
    """The persons, as sets of face ids, when all faces look the same."""
    if embeddings is None:
        embeddings = np.ones((len(known), 8)) + 0.01 * rng(1, "looks", 0).standard_normal((len(known), 8))
    persons = cluster(embeddings, known, ALIKE)
    return {
        frozenset(face for face, person in zip(known.face_ids, persons.tolist(), strict=True) if person == wanted)
        for wanted in set(persons.tolist())
    }


def people(*groups: str) -> set[frozenset[str]]:
    return {frozenset(group.split()) for group in groups}


def decide(*decisions: tuple) -> list[Decision]:
    return [
        Decision(number=number, kind=kind, face_ids=tuple(faces.split()), others=tuple(others.split()), label=label)
        for number, (kind, faces, others, label) in enumerate(decisions, 1)
    ]


APART = np.eye(6, 8)
"""Embeddings of six faces that look like nobody else: only what is known makes them one person."""


def test_a_track_is_one_person_whatever_its_faces_look_like():
    faces = table(track=["a", "a", "", "", "b", "a"])
    assert together(constraints(faces), APART) == people("f0 f1 f5", "f2", "f3", "f4")


def test_a_track_has_the_label_that_most_of_its_faces_have_and_none_where_most_have_none():
    subjects = ["ada", "ada", "eve", None, None, "eve"]
    known = constraints(table(track=["a", "a", "a", "b", "b", "b"], subject=subjects))
    assert together(known, APART) == people("f0 f1 f2", "f3 f4 f5")
    assert [known.labels[label] if label >= 0 else None for label in known.label.tolist()] == ["ada", None]
    known = constraints(table(track=["a", "a", "b", "b", "", "b"], subject=["ada"] * 6))
    assert together(known, APART) == people("f0 f1 f2 f3 f4 f5")


def test_a_decision_parts_a_track_and_a_track_joins_existing_identities():
    faces = table(track=["a"] * 4 + ["", ""])
    parted = constraints(faces, decisions=decide(("split", "f2", "f0 f1 f3", None)))
    assert together(parted, APART) == people("f0 f1 f3", "f2", "f4", "f5")
    known = constraints(faces, existing={"f0": "p2", "f3": "p1", "f4": "p1"})
    assert together(known, APART) == people("f0 f1 f2 f3 f4", "f5")
    assert known.names[known.name[0]] == "p1"


def test_two_birth_dates_are_two_persons():
    births = [date(1980, 1, 1), date(1980, 1, 2), date(1980, 1, 1), date(1980, 1, 2)]
    assert together(constraints(table(birth_date=births))) == people("f0 f2", "f1 f3")


def test_nobody_is_photographed_before_being_born():
    faces = table(birth_date=[date(1990, 5, 1), None], taken=[date(2000, 1, 1), date(1989, 5, 1)])
    assert together(constraints(faces)) == people("f0", "f1")
    faces = table(birth_date=[date(1990, 5, 1), None], taken=[date(2000, 1, 1), date(1991, 5, 1)])
    assert together(constraints(faces)) == people("f0 f1")


def test_an_age_that_contradicts_a_birth_date_strongly_is_another_person():
    def known(age: float, source: str) -> Constraints:
        return constraints(table(
            birth_date=[date(1990, 1, 1), None], taken=[date(2000, 1, 1)] * 2, age=[10.0, age],
            age_source=["dates", source],
        ))

    assert together(known(25.0, "genderage_v1")) == people("f0 f1"), "a network may be wrong by 15 years"
    assert together(known(60.0, "genderage_v1")) == people("f0", "f1")
    assert together(known(14.0, "given")) == people("f0 f1")
    assert together(known(25.0, "given")) == people("f0", "f1"), "a given age may not"


def test_vetoes_pass_on_to_whatever_a_face_joins():
    faces = table(
        birth_date=[date(1980, 1, 1), None, date(1985, 1, 1)], photo_id=["a", "b", "c"],
    )
    looks = np.array([[1.0, 0.0], [0.95, 0.3], [0.9, 0.43]])
    persons = together(constraints(faces), looks)
    assert not any({"f0", "f2"} <= person for person in persons) and len(persons) == 2


def test_a_merge_wins_over_looks_photographs_and_dates():
    faces = table(photo_id=["a", "a", "b"], birth_date=[date(1980, 1, 1), date(1981, 1, 1), None])
    known = constraints(faces, decisions=decide(("merge", "f0 f1", "", None)))
    looks = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert together(known, looks) == people("f0 f1", "f2")


def test_a_split_keeps_faces_apart_however_alike_they_are():
    known = constraints(table(age=[None] * 5), decisions=decide(("split", "f1 f2", "f0 f3", None)))
    persons = together(known)
    assert any({"f1", "f2"} <= person for person in persons)
    assert not any(person & {"f1", "f2"} and person & {"f0", "f3"} for person in persons)


def test_a_later_decision_wins_over_an_earlier_one():
    merge, split = ("merge", "f0 f1", "", None), ("split", "f0", "f1", None)
    faces = table(age=[None] * 2)
    assert together(constraints(faces, decisions=decide(merge, split))) == people("f0", "f1")
    assert together(constraints(faces, decisions=decide(split, merge))) == people("f0 f1")
    first, second = ("label", "f0", "", "Ada"), ("label", "f0", "", "Grace")
    known = constraints(table(age=[None]), decisions=decide(first, second))
    assert known.labels[known.label[0]] == "Grace"


def test_a_decided_label_wins_over_a_given_one():
    faces = table(subject=["ada", "ada", "ada", "grace"])
    known = constraints(faces, decisions=decide(("label", "f2", "", "grace")))
    assert together(known, np.eye(4)) == people("f0 f1", "f2 f3")


def test_a_split_wins_over_given_labels_and_the_others_keep_the_label():
    faces = table(subject=["ada", "ada", "ada"])
    known = constraints(faces, decisions=decide(("split", "f0", "f1 f2", None)))
    assert together(known) == people("f0", "f1 f2")
    assert known.label[known.start[0]] == -1 and known.labels[known.label[known.start[1]]] == "ada"


def test_a_merge_of_two_given_labels_is_an_error_that_names_both():
    faces = table(subject=["ada", "grace"])
    merge = ("merge", "f0 f1", "", None)
    with pytest.raises(DataError, match=r"'ada' and 'grace'"):
        constraints(faces, decisions=decide(merge))
    assert together(constraints(faces, decisions=decide(merge), labels=False), np.eye(2)) == people("f0 f1")
    decided = constraints(faces, decisions=decide(merge, ("label", "f0 f1", "", "ada")))
    assert together(decided, np.eye(2)) == people("f0 f1")


def test_faces_that_are_gone_are_passed_over():
    known = constraints(table(age=[None] * 2), decisions=decide(
        ("merge", "f0 gone", "", None), ("split", "gone", "f1", None), ("label", "gone", "", "Ada")))
    assert together(known, np.eye(2)) == people("f0", "f1")


def test_existing_identities_stay_and_are_not_joined_by_looks():
    existing = {"f0": "p000001", "f1": "p000001", "f2": "p000002"}
    looks = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.1]])
    assert together(constraints(table(age=[None] * 4), existing=existing), looks) == people("f0 f1", "f2 f3")
    assert together(constraints(table(age=[None] * 3), existing=existing)) == people("f0 f1", "f2")


def test_decisions_and_labels_move_faces_of_existing_identities():
    existing = {f"f{n}": "p000001" for n in range(4)} | {"f4": "p000002"}
    known = constraints(table(age=[None] * 5), existing=existing, decisions=decide(
        ("split", "f3", "f0 f1 f2", None), ("merge", "f3 f4", "", None)))
    assert together(known) == people("f0 f1 f2", "f3 f4")
    names = {face: known.names[known.name[known.start[n]]] for n, face in enumerate(known.face_ids)}
    assert names["f0"] == "p000001" and names["f3"] == "p000002"
    labelled = constraints(table(subject=["ada", "ada", "ada", "grace", None]), existing=existing)
    assert together(labelled, np.eye(5)) == people("f0 f1 f2", "f3", "f4")
    assert labelled.name[labelled.start[3]] == -1, "the smaller part gives the name up"


def test_nothing_depends_on_the_order_of_rows():
    draws = rng(5, "rows", 0)
    count = 60
    faces = table(
        photo_id=[f"photo{n // 2}" for n in range(count)],
        subject=[f"s{n % 5}" if n % 4 == 0 else None for n in range(count)],
        taken=[date(1980 + n % 40, 1, 1) for n in range(count)], age=[float(n % 50) for n in range(count)],
        age_source=["given" if n % 3 == 0 else "net" for n in range(count)],
    )
    existing = {f"f{n}": f"p{n % 7:06d}" for n in range(0, count, 2)}
    decisions = decide(
        ("merge", "f1 f7 f9", "", None), ("split", "f11 f13", "f15 f1", None), ("label", "f21", "", "Ada"))
    looks = draws.standard_normal((count, 4))
    expected = together(constraints(faces, existing=existing, decisions=decisions), looks)
    order = draws.permutation(count)
    shuffled = constraints(faces.take(order), existing=existing, decisions=decisions)
    assert together(shuffled, looks[order]) == expected
