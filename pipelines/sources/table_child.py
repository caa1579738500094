"""Parquet tables, read in the process that may die of them (records.decoding.child): a few bytes may be gigabytes.

A filesystem that only this process knows (`memory://`) is read without it, through pipelines.sources.tables.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from anchorface.pipelines.sources.address import parse_address
from anchorface.pipelines.sources.tables import TableCells, TableRow, names_places, table_photos
from anchorface.records.decoding.child import Child, Died
from anchorface.records.decoding.inside import Inside
from anchorface.records.errors import PhotoError
from anchorface.records.nouns import Dropped

ROWS_AT_ONCE = 100
SAID_BYTES, SAID_RATIO, LONGEST_ROW = 2**28, 64, 2**16
"""What a table may say in all: 256 MiB, and 64 times its own bytes; and of one photograph."""


class TableChild:
    """Tables, from outside.

    Args:
        child: where they are read; while `rows` is not exhausted, it is for nothing else.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._died: dict[str, Died] = {}

    def cell(self, uri: str, largest: int) -> bytes | str:
        """The bytes in a table's row, or the text there.

        Raises:
            PhotoError: `unreadable`, `too large`.
        """
        table = parse_address(uri).file
        if table in self._died:
            raise PhotoError(self._died[table].cause, uri, self._died[table].detail)
        try:
            said, content, _ = self._child.ask(f"{__name__}:cell", {"uri": uri, "largest": largest}, uri)
            return content.decode() if said["text"] else content
        except Died as error:
            self._died[table] = error  # each of its rows would end a process
            raise

    def names_places(self, uri: str) -> bool:
        """As tables.names_places."""
        try:
            return bool(self._child.ask(f"{__name__}:column", {"uri": uri}, uri).said["names_places"])
        except PhotoError:
            return False

    def rows(self, uri: str, labels: bool, byte_size: int) -> Iterator[TableRow | Dropped]:
        """As tables.table_photos; a table that says too much, or ends the process, is told in a last row.

        Args:
            byte_size: of the table.
        """
        said = 0
        try:
            for answer in self._child.each(f"{__name__}:rows", {"uri": uri, "labels": labels}, uri):
                said += len(answer.content)
                if said > SAID_BYTES + SAID_RATIO * byte_size:
                    raise PhotoError("damaged table", uri, f"{byte_size} bytes that say more than {said}; the rest was "
                                                           "not read")
                yield from (Dropped(**row["dropped"]) if "dropped" in row else TableRow(**row)
                            for row in json.loads(answer.content or b"[]"))
        except PhotoError as error:
            yield Dropped(stage="ingest", uri=uri, row=-1, cause=error.cause, detail=error.detail)


def column(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: whether a table names places."""
    inside.answer({"names_places": names_places(said["uri"])})


def cell(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: what a table's row holds; the last table stays open."""
    cells = inside.kept.setdefault("cells", TableCells())
    found = cells.content(said["uri"], said["largest"])
    inside.answer({"text": isinstance(found, str)}, found.encode() if isinstance(found, str) else found)


def rows(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: a table's photographs, ROWS_AT_ONCE in an answer."""
    kept: list[dict[str, Any]] = []
    for row in table_photos(said["uri"], said["labels"]):
        told = {"dropped": row.to_row()} if isinstance(row, Dropped) else asdict(row)
        if len(json.dumps(told)) > LONGEST_ROW:
            told = {"dropped": Dropped(stage="ingest", uri=said["uri"], row=row.row, cause="unreadable metadata",
                                       detail=f"more than {LONGEST_ROW} bytes of it").to_row()}
        kept.append(told)
        if len(kept) == ROWS_AT_ONCE:
            inside.answer({}, json.dumps(kept).encode())
            inside.go_on()
            kept = []
    inside.answer({"end": True}, json.dumps(kept).encode())
