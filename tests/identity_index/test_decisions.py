"""What people decided: kept, numbered, checked."""

import pyarrow.parquet as pq
import pytest

from anchorface.identity_index import add_decision, read_decisions
from anchorface.identity_index.clustering.decisions import rejected
from anchorface.records import DECISION_SCHEMA, ConfigurationError

MADE = "2026-01-02T03:04:05"


def test_decisions_are_kept_in_order_and_only_appended(tmp_path):
    out = str(tmp_path / "work")
    assert read_decisions(out) == []
    first = add_decision(out, kind="merge", face_ids=["b-0", "a-0", "b-0"], note="twins? no", made=MADE)
    second = add_decision(out, kind="split", face_ids=["a-0"], others=["c-0"], made=MADE)
    third = add_decision(out, kind="label", face_ids=["d-0"], label="Ada", made=MADE)
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert first.face_ids == ("a-0", "b-0") and first.note == "twins? no" and first.made == MADE
    assert read_decisions(out) == [first, second, third]
    assert pq.read_schema(tmp_path / "work" / "decisions.parquet").equals(DECISION_SCHEMA)
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"decisions.parquet", "lock.json"}


@pytest.mark.parametrize(("values", "said"), [
    ({"kind": "join", "face_ids": ["a", "b"]}, "no kind 'join'"),
    ({"kind": "reject", "face_ids": []}, "no face"),
    ({"kind": "reject", "face_ids": [""]}, "no face"),
    ({"kind": "merge", "face_ids": ["a", "a"]}, "at least two"),
    ({"kind": "split", "face_ids": ["a"]}, "a split needs them"),
    ({"kind": "merge", "face_ids": ["a", "b"], "others": ["c"]}, "belong to a split"),
    ({"kind": "split", "face_ids": ["a", "b"], "others": ["b"]}, "both sides"),
    ({"kind": "label", "face_ids": ["a"]}, "a label needs one"),
    ({"kind": "label", "face_ids": ["a"], "label": "  "}, "a label needs one"),
    ({"kind": "reject", "face_ids": ["a"], "label": "Ada"}, "belongs to a label"),
])
def test_what_makes_no_sense_is_refused_and_nothing_is_written(tmp_path, values, said):
    with pytest.raises(ConfigurationError, match=said):
        add_decision(str(tmp_path), made=MADE, **values)
    assert read_decisions(str(tmp_path)) == []


def test_a_later_decision_calls_a_rejected_face_back(tmp_path):
    out = str(tmp_path)
    add_decision(out, kind="reject", face_ids=["a", "b"], made=MADE)
    add_decision(out, kind="label", face_ids=["b"], label="Ada", made=MADE)
    assert rejected(read_decisions(out)) == {"a"}
    add_decision(out, kind="reject", face_ids=["b"], made=MADE)
    assert rejected(read_decisions(out)) == {"a", "b"}
