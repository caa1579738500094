"""Plans in tables: exact there and back."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from degradation import Operation, Plan, profiles
from degradation.arrow import from_arrow, plan_type, to_arrow
from degradation.plan import VERSION
from records import DataError
from tests.degradation.scene import plans

ROW = {"version": VERSION, "profile": "mine", "size": 64, "operations": []}


def _with(**parameter: object) -> pa.Array:
    step = {"name": "jpeg", "parameters": [{"key": "quality", **parameter}]}
    return pa.array([{**ROW, "operations": [step]}], type=plan_type())


def test_plans_of_every_profile_survive_a_parquet_file():
    drawn = [plan for name in profiles() for plan in plans(name, 20, 128)]
    file = io.BytesIO()
    pq.write_table(pa.table({"plan": to_arrow(drawn)}), file)
    again = from_arrow(pq.read_table(file)["plan"])
    assert again == drawn
    assert [plan.to_json() for plan in again] == [plan.to_json() for plan in drawn], "whole numbers stay whole"
    assert [plan.digest for plan in again] == [plan.digest for plan in drawn]


def test_whole_numbers_numbers_and_texts_keep_their_kind():
    step = Operation.of("mixed", whole=2**53 + 1, number=2.0, negative=-7, small=5e-324, text="größer", empty="")
    plan = Plan(profile="mine", size=1, operations=(step, Operation.of("grey")))
    again = from_arrow(to_arrow([plan]))[0]
    assert again == plan and again.to_json() == plan.to_json()
    assert from_arrow(to_arrow([])) == []


@pytest.mark.parametrize(("array", "said"), [
    (pa.array(["{}"]), "an Arrow column of struct"),
    (pa.array([None], type=plan_type()), "row 0: there is no plan"),
    (pa.array([ROW, {**ROW, "version": 1}], type=plan_type()), "row 1: version 1"),
    (pa.array([{**ROW, "size": 0}], type=plan_type()), "row 0: size is 0"),
    (_with(), r"row 0: jpeg\.quality has 0 values"),
    (_with(whole=3, text="three"), r"row 0: jpeg\.quality has 2 values"),
    (_with(number=float("nan")), r"jpeg\.quality is nan")])
def test_what_is_no_plan_is_refused_and_the_field_named(array, said):
    with pytest.raises(DataError, match=said):
        from_arrow(array)


def test_a_value_beyond_arrow_is_refused():
    for value in (2**70, True, None):
        with pytest.raises(DataError):
            to_arrow([Plan(profile="mine", size=1, operations=(Operation("big", (("value", value),)),))])
