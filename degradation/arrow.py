"""Plans as Arrow values, for tables: exact there and back, whole numbers stay whole.

A plan is a struct of `plan_type()`; a parameter is a key with one of three values set and the others null:
`whole` (int64), `number` (float64), `text`. An operation's parameters keep their order. A clip's plan is a struct of
`clip_plan_type()`; a parameter is a key and a list of such values, one for the whole clip or, where `drifts` is set,
one per frame.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from anchorface.degradation.clip_plan import ClipOperation, ClipPlan, Course
from anchorface.degradation.plan import VERSION, Operation, Plan, Value, check_values
from anchorface.records.errors import DataError

_KINDS: dict[type, str] = {int: "whole", float: "number", str: "text"}


_VALUE = [pa.field("whole", pa.int64()), pa.field("number", pa.float64()), pa.field("text", pa.string())]


def plan_type() -> pa.DataType:
    """The Arrow type of a plan."""
    return _type(_VALUE)


def clip_plan_type() -> pa.DataType:
    """The Arrow type of a clip's plan."""
    return _type([pa.field("drifts", pa.bool_(), nullable=False),
                  pa.field("values", pa.list_(pa.struct(_VALUE)), nullable=False)],
                 pa.field("frames", pa.int32(), nullable=False), pa.field("rate", pa.float64(), nullable=False),
                 # A rate is a number or a whole number, and its JSON says which.
                 pa.field("whole_rate", pa.bool_(), nullable=False))


def _type(value: list[pa.Field], *more: pa.Field) -> pa.DataType:
    parameter = pa.struct([pa.field("key", pa.string(), nullable=False), *value])
    operation = pa.struct([
        pa.field("name", pa.string(), nullable=False), pa.field("parameters", pa.list_(parameter), nullable=False)])
    return pa.struct([
        pa.field("version", pa.int32(), nullable=False), pa.field("profile", pa.string(), nullable=False),
        pa.field("size", pa.int32(), nullable=False), *more,
        pa.field("operations", pa.list_(operation), nullable=False)])


def to_arrow(plans: Iterable[Plan]) -> pa.StructArray:
    """Plans as an Arrow array of `plan_type()`.

    Raises:
        DataError: a value that does not fit, such as a whole number beyond 64 bits; the text names it.
    """
    return _array([_row(plan) for plan in plans], plan_type())


def clips_to_arrow(plans: Iterable[ClipPlan]) -> pa.StructArray:
    """Plans of clips as an Arrow array of `clip_plan_type()`.

    Raises:
        DataError: as `to_arrow`.
    """
    return _array([_clip_row(plan) for plan in plans], clip_plan_type())


def _array(rows: list[dict[str, Any]], kind: pa.DataType) -> pa.StructArray:
    try:
        return pa.array(rows, type=kind)
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"degradation plans do not fit Arrow: {error}") from error


def from_arrow(array: pa.Array | pa.ChunkedArray) -> list[Plan]:
    """Plans from an array of `plan_type()`, such as a table's column.

    Raises:
        DataError: another type, a missing row, a plan of another version, or a parameter without a value; the row is
            named.
    """
    return [_plan(row, place) for place, row in enumerate(_rows(array, plan_type()))]


def clips_from_arrow(array: pa.Array | pa.ChunkedArray) -> list[ClipPlan]:
    """Plans of clips from an array of `clip_plan_type()`, such as a table's column.

    Raises:
        DataError: as `from_arrow`; also for values of another count than frames.
    """
    return [_clip_plan(row, place) for place, row in enumerate(_rows(array, clip_plan_type()))]


def _rows(array: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> list[dict[str, Any]]:
    """The rows of a column, each there and of this version."""
    if array.type != kind:
        raise DataError(f"degradation plans: an Arrow column of {kind} is needed, not {array.type}")
    rows = array.to_pylist()
    for place, row in enumerate(rows):
        if row is None:
            raise DataError(f"degradation plans, row {place}: there is no plan")
        if row["version"] != VERSION:
            raise DataError(f"degradation plans, row {place}: version {row['version']}; this code replays {VERSION}")
    return rows


def _row(plan: Plan) -> dict[str, Any]:
    operations = [{
        "name": operation.name,
        "parameters": [{"key": key, _kind(operation.name, key, value): value} for key, value in operation.parameters],
    } for operation in plan.operations]
    return {"version": plan.version, "profile": plan.profile, "size": plan.size, "operations": operations}


def _clip_row(plan: ClipPlan) -> dict[str, Any]:
    operations = [{
        "name": operation.name,
        "parameters": [{
            "key": key, "drifts": isinstance(course, tuple),
            "values": [{_kind(operation.name, key, value): value} for value in _values(course)],
        } for key, course in operation.parameters],
    } for operation in plan.operations]
    return {"version": plan.version, "profile": plan.profile, "size": plan.size, "frames": plan.frames,
            "rate": plan.rate, "whole_rate": isinstance(plan.rate, int), "operations": operations}


def _values(course: Course) -> tuple[Value, ...]:
    return course if isinstance(course, tuple) else (course,)


def _kind(name: str, key: str, value: Value) -> str:
    kind = _KINDS.get(type(value))
    if kind is None:
        raise DataError(f"degradation plan: {name}.{key} is {value!r}, neither a number nor text")
    return kind


def _plan(row: dict[str, Any], place: int) -> Plan:
    if row["size"] < 1:
        raise DataError(f"degradation plans, row {place}: size is {row['size']}, not a positive whole number")
    operations = tuple(
        Operation(one["name"], tuple((given["key"], _value(given, one["name"], place)) for given in one["parameters"]))
        for one in row["operations"])
    for operation in operations:
        check_values(operation)
    return Plan(profile=row["profile"], size=row["size"], operations=operations)


def _clip_plan(row: dict[str, Any], place: int) -> ClipPlan:
    operations = tuple(
        ClipOperation(one["name"], tuple((given["key"], _course(given, one["name"], place))
                                         for given in one["parameters"]))
        for one in row["operations"])
    rate = row["rate"]
    try:
        return ClipPlan(profile=row["profile"], size=row["size"], frames=row["frames"], operations=operations,
                        rate=int(rate) if row["whole_rate"] and rate.is_integer() else rate)
    except DataError as error:
        raise DataError(f"degradation plans, row {place}: {error}") from error


def _course(given: dict[str, Any], name: str, place: int) -> Course:
    values = tuple(_value({"key": given["key"], **(one or {})}, name, place) for one in given["values"])
    if given["drifts"]:
        return values
    if len(values) != 1:
        raise DataError(f"degradation plans, row {place}: {name}.{given['key']} has {len(values)} values, not one")
    return values[0]


def _value(given: dict[str, Any], name: str, place: int) -> Value:
    values = [given[kind] for kind in _KINDS.values() if given.get(kind) is not None]
    if len(values) != 1:
        raise DataError(f"degradation plans, row {place}: {name}.{given['key']} has {len(values)} values, not one")
    return values[0]
