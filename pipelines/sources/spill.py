"""Rows on their way to their parts, in a temporary Arrow file: a listing's memory is one part, and eight bytes a file.

In: files, and what is said of files, in any order. Out: the rows of one bucket after the other; paths that are spelled
alike share a bucket, so that a file meets what is said of it.
"""

import hashlib
import mmap
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

SPILL = pa.schema([
    ("bucket", pa.uint32()), ("place", pa.string()), ("uri", pa.string()), ("kind", pa.string()),
    ("byte_size", pa.int64()), ("modified", pa.int64()), ("says", pa.string()), ("depth", pa.int32()),
    ("by", pa.string()), ("row", pa.int64()),
])
SPILL_ROWS = 4096
GATHER_ROWS = 65_536


def spelling(place: str) -> str:
    """What paths have in common that some system or program takes for one: Unicode's form, case, `\\` for `/`."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", place).casefold()).replace("\\", "/")


def by_bucket(file: Any, count: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The spilled rows of one bucket after the other: some buckets at a time are gathered from the whole file."""
    file.flush()
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed when the last batch is let go
    reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
    batches = range(reader.num_record_batches)
    buckets = [reader.get_batch(n).column(0).to_numpy() % count for n in batches]
    held = np.cumsum(sum((np.bincount(part, minlength=count) for part in buckets), np.zeros(count, np.int64)))
    first = 0
    while first < count:
        before = int(held[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(held, before + GATHER_ROWS, side="right")))
        masks = [(part >= first) & (part < last) for part in buckets]
        gathered = pa.Table.from_batches(
            [reader.get_batch(n).filter(pa.array(masks[n])) for n in batches if masks[n].any()], schema=SPILL
        ).combine_chunks()
        here = gathered["bucket"].to_numpy() % count
        order = np.argsort(here, kind="stable")
        edges = np.searchsorted(here[order], np.arange(first, last + 1))
        for number in range(first, last):
            chosen = order[edges[number - first] : edges[number - first + 1]]
            yield number, gathered.take(pa.array(chosen)).to_pylist() if len(chosen) else []
        first = last


class Spill:
    """Rows on their way to their parts, in an Arrow file."""

    def __init__(self, file: Any) -> None:
        self._writer = pa.ipc.new_file(pa.PythonFile(file, mode="w"), SPILL)
        self._rows: list[dict[str, Any]] = []

    def add(self, place: str, uri: str, kind: str, byte_size: int, modified: int) -> None:
        """A file."""
        self._put({"place": place, "uri": uri, "kind": kind, "byte_size": byte_size, "modified": modified, "depth": -1})

    def say(self, place: str, says: str, depth: int, by: str, row: int, named: bool = False) -> None:
        """What is said of a file; `named` if that is enough to take it for a photograph."""
        kind = "named" if named else "says"
        self._put({"place": place, "kind": kind, "says": says, "depth": depth, "by": by, "row": row})

    def close(self) -> None:
        """Write the rest."""
        self._flush()
        self._writer.close()

    def _put(self, row: dict[str, Any]) -> None:
        digest = hashlib.blake2b(spelling(row["place"]).encode(), digest_size=4).digest()
        self._rows.append({"bucket": int.from_bytes(digest)} | row)
        if len(self._rows) >= SPILL_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=SPILL))
            self._rows = []
