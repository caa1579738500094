"""Photographs in Parquet tables, as bytes or by where they are (LAION and Hugging Face name their columns so).

In: a Parquet file with a column of bytes (`image`, `jpg`, `bytes`, ...; also a struct with `bytes`), or of places
(`uri`, `url`, `path`, `file`, ...). Other columns with the names of pipelines.sources.sidecars are metadata.
Out: rows in order; the column of bytes is not read here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from anchorface.pipelines.sources.address import printable, row_uri
from anchorface.pipelines.sources.opening import open_file
from anchorface.pipelines.sources.sidecars import field_name, normal
from anchorface.records.errors import PhotoError
from anchorface.records.nouns import Dropped

BYTES = ("image", "jpg", "jpeg", "png", "webp", "picture", "photo", "bytes", "image_bytes", "content", "data")
PLACES = (
    "uri", "url", "path", "file", "file_name", "filename", "filepath", "file_path", "image_path", "image", "photo",
)
METADATA = ("subject", "birth_date", "taken", "licence", "consent", "source", "faces")
BATCH_ROWS = 1024
DAMAGED = (OSError, pa.ArrowException, ValueError, NotImplementedError, OverflowError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row that stands for a photograph. uri: of the cell with the bytes, or with `place`, which says where they
    are; place: empty where they are here."""

    row: int
    uri: str
    place: str
    says: dict[str, Any]


def table_photos(uri: str, labels: bool = True) -> Iterator[TableRow | Dropped]:
    """The photographs of a table in order of row.

    Args:
        uri: of the Parquet file. labels: read subjects and landmarks.

    Yields:
        Rows, and a dropped row for a table without a column of photographs and for each row that cannot be meant.
    """
    try:
        with open_file(uri) as file:
            table = pq.ParquetFile(file)
            yield from _rows(uri, table, labels)
    except PhotoError as error:
        yield _bad(uri, -1, error.cause, error.detail)
    except DAMAGED as error:
        yield _bad(uri, -1, "damaged table", printable(str(error))[:300])


def picture_column(schema: pa.Schema) -> tuple[str, bool] | None:
    """The column that holds photographs, and whether it holds their bytes; None if there is none."""
    names = {name.lower(): name for name in reversed(schema.names)}
    for lower in BYTES:
        if lower in names and is_bytes(schema.field(names[lower]).type):
            return names[lower], True
    for lower in PLACES:
        if lower in names and is_text_column(schema.field(names[lower]).type):
            return names[lower], False
    return None


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column's type holds a picture's bytes: binary, or a struct with a binary field `bytes`."""
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and is_bytes(kind.field(place).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def is_text_column(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _rows(uri: str, table: pq.ParquetFile, labels: bool) -> Iterator[TableRow | Dropped]:
    chosen = picture_column(table.schema_arrow)
    if chosen is None:
        columns = ", ".join(printable(name) for name in table.schema_arrow.names[:12])
        yield _bad(uri, -1, "no column of photographs", f"columns: {columns}")
        return
    column, holds_bytes = chosen
    wanted = [name for name in table.schema_arrow.names if field_name(name) in METADATA and name != column]
    if not holds_bytes:
        wanted.append(column)
    if not wanted:
        for number in range(table.metadata.num_rows):
            yield TableRow(row=number, uri=row_uri(uri, column, number), place="", says={})
        return
    number = 0
    for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
        for row in batch.to_pylist():
            place = "" if holds_bytes else str(row.pop(column) or "")
            says, problems = normal(row, labels)
            if problems:
                yield _bad(uri, number, "unreadable metadata", "; ".join(problems))
            if holds_bytes or place:
                yield TableRow(row=number, uri=row_uri(uri, column, number), place=place, says=says)
            else:
                yield _bad(uri, number, "unreadable", f"column {printable(column)!r} is empty in this row")
            number += 1


def _bad(uri: str, row: int, cause: str, detail: str) -> Dropped:
    return Dropped(stage="ingest", uri=uri, row=row, cause=cause, detail=detail)
