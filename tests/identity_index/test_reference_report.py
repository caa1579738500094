"""What a policy gives on many faces: the counts are true, and nothing depends on the order of rows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anchorface.identity_index.retrieval.fit_shares import fit_shares
from anchorface.identity_index.retrieval.mismatch import REFERENCE_KEYS, MismatchPolicy, asked_policy, references
from anchorface.identity_index.retrieval.plot import reference_plot
from anchorface.identity_index.retrieval.policy import AXES
from anchorface.identity_index.retrieval.report import ONLY_FACE, choose_for, retrieval_report
from anchorface.records import FACE_SCHEMA, ConfigurationError, DataError, rng


def face(identity: str, number: int, **changes: Any) -> dict[str, Any]:
    draws = rng(12, identity, number)
    vector = draws.standard_normal(16)
    name = f"{identity}-{number:02d}"
    return {
        "face_id": f"{name}-0", "photo_id": name, "uri": f"/album/{name}.jpg", "identity": identity,
        "yaw": float(draws.uniform(-40, 40)), "pitch": float(draws.uniform(-20, 20)), "age": None, "taken": None,
        "brightness": float(draws.uniform(60, 190)), "light_x": float(draws.normal(0, 0.1)), "light_y": 0.0,
        "smile": float(draws.uniform(0.8, 1.2)), "norm": float(draws.uniform(12, 28)), "sharpness": 100.0,
        "score": 0.9, "perceptual_hash": int(draws.integers(2**63)),
        "embedding": (vector / np.linalg.norm(vector)).tolist(), **changes,
    }


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    further = [pa.field(name, pa.string()) for name in rows[0] if name not in REFERENCE_KEYS]
    return pa.Table.from_pylist(rows, schema=pa.schema([*(FACE_SCHEMA.field(name) for name in REFERENCE_KEYS),
                                                        *further]))


PEOPLE = [face(f"p{person}", number) for person in range(6) for number in range(8)]


def test_whom_nothing_can_help_is_counted_with_the_cause():
    twin = face("twins", 0)
    rows = [
        *PEOPLE, face("alone", 0), face("pair", 0), face("pair", 1, photo_id="pair-00"),
        twin, {**face("twins", 1), **{key: twin[key] for key in ("perceptual_hash", "embedding", "smile")}},
        face("film", 0, uri="film.mp4#t=3.000"), face("film", 1, uri="film.mp4#t=3.500"),
        face("poor", 0), face("poor", 1, norm=1.0), face("poor", 2, norm=1.0, photo_id="poor-00"),
    ]
    report = retrieval_report(as_table(rows), MismatchPolicy(minimum_norm=5.0), k=3)
    assert report.targets == len(rows) and report.none == 9
    assert dict(report.without) == {ONLY_FACE: 1, "same photo": 2, "near-duplicate": 2, "same second": 2,
                                    "same photo, norm too low": 2}
    assert dict(report.refused) == {"same photo": 4, "near-duplicate": 2, "same second": 2, "norm too low": 3}
    none = [row for row in report.rows.to_pylist() if row["rank"] == 0 and row["mode"] == "mismatch"]
    assert {row["target"]: row["reason"] for row in none}["alone-00-0"] == ONLY_FACE
    assert report.admissible.tolist() == [0] * 9 + [1] + [7] * 48


@pytest.mark.parametrize("policy", [asked_policy(), MismatchPolicy()])
def test_shares_and_means_are_those_of_the_rows(policy: MismatchPolicy):
    report = retrieval_report(as_table(PEOPLE), policy, k=3)
    rows = [row for row in report.rows.to_pylist() if row["mode"] == policy.mode]
    assert report.references == len(rows) == 48 * 3
    by_name = {row["face_id"]: row for row in PEOPLE}
    gaps = [abs(by_name[row["target"]]["yaw"] - by_name[row["reference"]]["yaw"]) for row in rows]
    yaw = report.axes[AXES.index("yaw")]
    expected = np.bincount(np.digitize(gaps, policy.yaw_bins), minlength=5) / len(gaps)
    assert [one.achieved for one in yaw.bins] == pytest.approx(expected.tolist())
    assert yaw.mean == pytest.approx(np.mean(gaps), rel=1e-5)
    for axis in report.axes:
        if axis.unknown < 1:
            assert sum(one.achieved for one in axis.bins) == pytest.approx(1.0)
            assert sum(one.random for one in axis.bins) == pytest.approx(1.0)


def test_asked_comes_nearer_to_the_asked_shares_than_chance_and_spreads_references_out():
    asked = retrieval_report(as_table(PEOPLE), asked_policy(), k=3)
    yaw = asked.axes[0]
    assert yaw.apart is not None and yaw.random_apart is not None and yaw.apart < 0.75 * yaw.random_apart
    spread = retrieval_report(as_table(PEOPLE), MismatchPolicy(), k=3)
    assert spread.diversity is not None and spread.random_diversity is not None
    assert spread.diversity > 1.05 * spread.random_diversity


def test_an_unknown_gap_is_unknown_and_not_zero():
    age = retrieval_report(as_table(PEOPLE), asked_policy(), k=3).axes[AXES.index("age")]
    assert age.unknown == 1.0 and age.mean is None and age.apart is None
    assert [one.achieved for one in age.bins] == [0.0] * 5


def test_the_report_does_not_depend_on_the_order_of_rows_nor_on_other_targets():
    shuffled = [PEOPLE[number] for number in rng(1, "shuffle").permutation(len(PEOPLE))]
    one = retrieval_report(as_table(PEOPLE), asked_policy(), count=10, seed=5)
    other = retrieval_report(as_table(shuffled), asked_policy(), count=10, seed=5)
    assert one.rows.equals(other.rows) and one.axes == other.axes and reference_plot(one) == reference_plot(other)
    whole = retrieval_report(as_table(PEOPLE), asked_policy(), seed=5).rows.to_pylist()
    assert all(row in whole for row in one.rows.to_pylist()) and one.targets == 10


def test_candidates_of_a_dataset_stand_in_the_same_shard_as_in_training():
    rows = [{**face("p", number), "shard": f"shards/{number % 2}.tar"} for number in range(6)]
    found = retrieval_report(as_table(rows), MismatchPolicy(), k=5)
    assert found.admissible.tolist() == [2] * 6
    shard = {row["face_id"]: row["shard"] for row in rows}
    assert all(shard[row["target"]] == shard[row["reference"]] for row in found.rows.to_pylist())


def test_one_face_gets_the_references_that_the_report_gives_it():
    table = as_table(PEOPLE)
    rows = [row for row in retrieval_report(table, asked_policy(), seed=2).rows.to_pylist()
            if row["target"] == "p3-04-0" and row["mode"] == "asked"]
    identity, chosen, refused = choose_for(table, "p3-04-0", asked_policy(), seed=2)
    assert identity == "p3" and refused == []
    assert [(one.face_id, one.reason) for one in chosen] == [(row["reference"], row["reason"]) for row in rows]
    candidates = [row for row in PEOPLE if row["identity"] == "p3"]
    assert chosen == references(candidates[4], candidates, asked_policy(), 3, rng(2, "references of p3-04-0"))
    with pytest.raises(DataError, match="nobody-0"):
        choose_for(table, "nobody-0", asked_policy())


def test_fitted_shares_come_nearer_where_few_targets_reach_the_asked_bins():
    flat = [face(f"f{person}", number, yaw=float(rng(3, "flat", 8 * person + number).uniform(-5, 5)))
            for person in range(6) for number in range(8)]
    table = as_table([*PEOPLE, *flat])
    policy = MismatchPolicy(mode="asked", yaw_asked=(0.5, 0.1, 0.1, 0.1, 0.2))
    fitted = fit_shares(table, policy)
    before, after = (retrieval_report(table, one, seed=9).axes[0].apart for one in (policy, fitted))
    assert before is not None and after is not None and after < 0.7 * before
    assert fitted.yaw_asked == policy.yaw_asked and dict(fitted.drawn)["yaw"][4] > 0.2
    assert fit_shares(table, MismatchPolicy()) == MismatchPolicy()


def test_the_plot_is_a_picture():
    assert reference_plot(retrieval_report(as_table(PEOPLE), asked_policy())).startswith(b"\x89PNG")
    alone = retrieval_report(as_table([face("alone", 0)]), asked_policy())
    assert alone.references == 0 and alone.diversity is None
    assert reference_plot(alone).startswith(b"\x89PNG")


def test_what_cannot_be_reported_is_told():
    with pytest.raises(DataError, match="no faces"):
        retrieval_report(as_table(PEOPLE).slice(0, 0), MismatchPolicy())
    with pytest.raises(ConfigurationError, match="k 0"):
        retrieval_report(as_table(PEOPLE), MismatchPolicy(), k=0)
