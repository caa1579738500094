"""What the identities were before this run of `group`: `identities/previous.parquet`.

A run replaces `identities/` by its own result, so what it starts from is written down first, together with the key of
the run that starts from it: a killed run, repeated, starts from the same. Columns: face_id, identity, split.
"""

import json
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pyarrow as pa

from anchorface.records.state import parsed, read_state
from anchorface.records.storage import exists, join, read_table, write_table

FILE = "identities/previous.parquet"
TABLE = "identities/part-00000.parquet"
REPORT = "identities/report.json"


@dataclass(frozen=True, kw_only=True)
class Previous:
    """identity: face id -> name; split: name -> split; highest: the highest number that a name ever had; drawn: the
    seed and shares of those splits."""

    identity: dict[str, str] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)
    highest: int = 0
    drawn: str = ""


def remember(out: str, key: str, *, complete: bool) -> None:
    """Write down what the run `key` starts from; repeated with one key, or after a kill, it changes nothing.

    Args:
        out: the workspace.
        key: of the run's settings and inputs.
        complete: whether the last run of `group` finished; if not, what it started from stays what is started from.
    """
    there = exists(join(out, FILE))
    if there and _metadata(out)["key"] == key:
        return
    if complete:
        table, highest, drawn = _of_identities(out)
    elif there:
        old = _metadata(out)
        table, highest, drawn = read_table(join(out, FILE)), old["highest"], old["drawn"]
    else:
        table, highest, drawn = _table([], [], []), 0, ""
    note = json.dumps({"key": key, "highest": highest, "drawn": drawn}, sort_keys=True)
    write_table(join(out, FILE), table.replace_schema_metadata({"previous": note}))


def previous(out: str) -> Previous:
    """What `remember` wrote down."""
    table, said = read_table(join(out, FILE)), _metadata(out)
    faces, names, splits = (table[name].to_pylist() for name in ("face_id", "identity", "split"))
    return Previous(
        identity=dict(zip(faces, names, strict=True)), split=dict(zip(names, splits, strict=True)),
        highest=said["highest"], drawn=said["drawn"],
    )


class Note(TypedDict):
    """What the table says of itself in its metadata."""

    key: str
    highest: int
    drawn: str


def _metadata(out: str) -> Note:
    note = (read_table(join(out, FILE)).schema.metadata or {}).get(b"previous", b"")
    return parsed(note, Note, join(out, FILE))


def _of_identities(out: str) -> tuple[pa.Table, int, str]:
    said = read_state(join(out, REPORT), dict[str, Any])
    rows = read_table(join(out, TABLE), ("identity", "split", "face_ids")).to_pylist()
    table = _table(
        [face for row in rows for face in row["face_ids"]], [row["identity"] for row in rows for _ in row["face_ids"]],
        [row["split"] for row in rows for _ in row["face_ids"]],
    )
    # Workspaces of an earlier version did not write the two down.
    highest = max((int(row["identity"].lstrip("p")) for row in rows), default=0)
    return table, said.get("highest_name", highest), said.get("drawn", "")


def _table(faces: list[str], names: list[str], splits: list[str]) -> pa.Table:
    columns = {"face_id": faces, "identity": names, "split": splits}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
