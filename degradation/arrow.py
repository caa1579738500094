"""Plans as Arrow values, for tables: exact there and back, whole numbers stay whole.

A plan is a struct of `plan_type()`; a parameter is a key with one of three values set and the others null:
`whole` (int64), `number` (float64), `text`. An operation's parameters keep their order.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from degradation.plan import VERSION, Operation, Plan, Value, check_values
from records.errors import DataError

_KINDS: dict[type, str] = {int: "whole", float: "number", str: "text"}


def plan_type() -> pa.DataType:
    """The Arrow type of a plan."""
    parameter = pa.struct([
        pa.field("key", pa.string(), nullable=False), pa.field("whole", pa.int64()), pa.field("number", pa.float64()),
        pa.field("text", pa.string())])
    operation = pa.struct([
        pa.field("name", pa.string(), nullable=False), pa.field("parameters", pa.list_(parameter), nullable=False)])
    return pa.struct([
        pa.field("version", pa.int32(), nullable=False), pa.field("profile", pa.string(), nullable=False),
        pa.field("size", pa.int32(), nullable=False), pa.field("operations", pa.list_(operation), nullable=False)])


def to_arrow(plans: Iterable[Plan]) -> pa.StructArray:
    """Plans as an Arrow array of `plan_type()`.

    Raises:
        DataError: a value that does not fit, such as a whole number beyond 64 bits; the text names it.
    """
    rows = [_row(plan) for plan in plans]
    try:
        return pa.array(rows, type=plan_type())
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"degradation plans do not fit Arrow: {error}") from error


def from_arrow(array: pa.Array | pa.ChunkedArray) -> list[Plan]:
    """Plans from an array of `plan_type()`, such as a table's column.

    Raises:
        DataError: another type, a missing row, a plan of another version, or a parameter without a value; the row is
            named.
    """
    if array.type != plan_type():
        raise DataError(f"degradation plans: an Arrow column of {plan_type()} is needed, not {array.type}")
    return [_plan(row, place) for place, row in enumerate(array.to_pylist())]


def _row(plan: Plan) -> dict[str, Any]:
    operations = [{
        "name": operation.name,
        "parameters": [{"key": key, _kind(operation.name, key, value): value} for key, value in operation.parameters],
    } for operation in plan.operations]
    return {"version": plan.version, "profile": plan.profile, "size": plan.size, "operations": operations}


def _kind(name: str, key: str, value: Value) -> str:
    kind = _KINDS.get(type(value))
    if kind is None:
        raise DataError(f"degradation plan: {name}.{key} is {value!r}, neither a number nor text")
    return kind


def _plan(row: dict[str, Any] | None, place: int) -> Plan:
    if row is None:
        raise DataError(f"degradation plans, row {place}: there is no plan")
    if row["version"] != VERSION:
        raise DataError(f"degradation plans, row {place}: version {row['version']}; this code replays {VERSION}")
    if row["size"] < 1:
        raise DataError(f"degradation plans, row {place}: size is {row['size']}, not a positive whole number")
    operations = tuple(
        Operation(one["name"], tuple((given["key"], _value(given, one["name"], place)) for given in one["parameters"]))
        for one in row["operations"])
    for operation in operations:
        check_values(operation)
    return Plan(profile=row["profile"], size=row["size"], operations=operations)


def _value(given: dict[str, Any], name: str, place: int) -> Value:
    values = [given[kind] for kind in _KINDS.values() if given[kind] is not None]
    if len(values) != 1:
        raise DataError(f"degradation plans, row {place}: {name}.{given['key']} has {len(values)} values, not one")
    return values[0]
