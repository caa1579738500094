"""Rows that did not go on, counted by cause (records.DROPPED_SCHEMA)."""

import pyarrow as pa
import pyarrow.compute as pc


def kinds(dropped: pa.Table) -> pa.ChunkedArray:
    """Causes, those that name another photograph or face ("near-duplicate of ...") as one."""
    return pc.replace_substring_regex(dropped["cause"], r"(?s)^((near-)?duplicate of) .*$", r"\1 …")


def causes(dropped: pa.Table) -> list[tuple[str, str, int]]:
    """Stage, kind of cause and number of rows, the commonest first."""
    groups = dropped.append_column("kind", kinds(dropped)).group_by(["stage", "kind"]).aggregate([("uri", "count")])
    order = [("uri_count", "descending"), ("stage", "ascending"), ("kind", "ascending")]
    return [(row["stage"], row["kind"], row["uri_count"]) for row in groups.sort_by(order).to_pylist()]
