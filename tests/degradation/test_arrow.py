"""Plans in tables: exact there and back."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anchorface.degradation import ClipOperation, ClipPlan, Operation, Plan, clip_profiles, draw_clip, profiles
from anchorface.degradation.arrow import (
    clip_plan_type,
    clips_from_arrow,
    clips_to_arrow,
    from_arrow,
    plan_type,
    to_arrow,
)
from anchorface.degradation.plan import VERSION
from anchorface.records import DataError, rng
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


def _clips() -> list[ClipPlan]:
    return [draw_clip(name, rng(0, "clips", position), frames, 96) for name in clip_profiles()
            for position, frames in enumerate((1, 2, 7, 7, 7))]


def test_plans_of_clips_survive_a_parquet_file():
    drawn = _clips()
    file = io.BytesIO()
    pq.write_table(pa.table({"plan": clips_to_arrow(drawn)}), file)
    again = clips_from_arrow(pq.read_table(file)["plan"])
    assert again == drawn
    assert [plan.to_json() for plan in again] == [plan.to_json() for plan in drawn], "whole numbers stay whole"
    assert [plan.digest for plan in again] == [plan.digest for plan in drawn]


def test_what_drifts_over_one_frame_is_not_what_stays_and_kinds_are_kept_by_frame():
    steps = (ClipOperation.of("mixed", drifting=(2.0,), staying=2.0, whole=(2,), text=("größer",), large=2**53 + 1),)
    for rate in (25, 25.0, 29.97):
        plan = ClipPlan(profile="mine", size=64, frames=1, rate=rate, operations=steps)
        assert clips_from_arrow(clips_to_arrow([plan]))[0].to_json() == plan.to_json()
    mixed = ClipPlan(profile="mine", size=64, frames=3, rate=25.0, operations=(ClipOperation.of("x", y=(1, 1.0, "1")),))
    assert clips_from_arrow(clips_to_arrow([mixed]))[0].to_json() == mixed.to_json()
    assert clips_from_arrow(clips_to_arrow([])) == []


def _clip_rows(**changed: object) -> pa.Array:
    step = {"name": "jpeg", "parameters": [{"key": "quality", "drifts": True, "values": [{"whole": 3}, {"whole": 4}],
                                            **changed.pop("parameter", {})}]}
    row = {**ROW, "frames": 2, "rate": 25.0, "whole_rate": False, "operations": [step], **changed}
    return pa.array([row], type=clip_plan_type())


@pytest.mark.parametrize(("array", "said"), [
    (to_arrow([]), "an Arrow column of struct"),
    (pa.array([None], type=clip_plan_type()), "row 0: there is no plan"),
    (_clip_rows(version=1), "row 0: version 1"),
    (_clip_rows(size=0), "row 0: .*size is 0"),
    (_clip_rows(frames=3), r"row 0: .*jpeg\.quality has 2 values for 3 frames"),
    (_clip_rows(rate=float("inf")), "row 0: .*rate is inf"),
    (_clip_rows(parameter={"drifts": False}), r"row 0: jpeg\.quality has 2 values, not one"),
    (_clip_rows(parameter={"values": [{"whole": 3}, {}]}), r"row 0: jpeg\.quality has 0 values"),
    (_clip_rows(parameter={"values": [{"whole": 3}, None]}), r"row 0: jpeg\.quality has 0 values"),
    (_clip_rows(parameter={"values": [{"whole": 3}, {"whole": 3, "text": "x"}]}), r"jpeg\.quality has 2 values"),
    (_clip_rows(parameter={"values": [{"whole": 3}, {"number": float("nan")}]}), r"jpeg\.quality is nan")])
def test_what_is_no_plan_of_a_clip_is_refused_and_the_field_named(array, said):
    with pytest.raises(DataError, match=said):
        clips_from_arrow(array)
