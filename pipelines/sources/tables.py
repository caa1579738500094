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

from anchorface.pipelines.sources.address import Address, parse_address, printable, row_uri
from anchorface.pipelines.sources.opening import open_file
from anchorface.pipelines.sources.sidecars import field_name, normal
from anchorface.records.errors import PhotoError
from anchorface.records.nouns import Dropped

BYTES = ("image", "jpg", "jpeg", "png", "webp", "picture", "photo", "bytes", "image_bytes", "content", "data")
PLACES = (
    "uri", "url", "path", "file", "file_name", "filename", "filepath", "file_path", "image_path", "image", "photo",
)
METADATA = ("subject", "birth_date", "taken", "licence", "consent", "source", "faces")
BATCH_ROWS, ROWS_AHEAD, BUFFER = 64, 4, 2**20
"""Rows read at once, of what is said and of pictures, and bytes read ahead: few, since a row may be of any size."""
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
            table = pq.ParquetFile(file, buffer_size=BUFFER)
            yield from _rows(uri, table, labels)
    except PhotoError as error:
        yield _bad(uri, -1, error.cause, error.detail)
    except DAMAGED as error:
        yield _bad(uri, -1, "damaged table", printable(str(error))[:300])


def names_places(uri: str) -> bool:
    """Whether a table says where photographs are, and does not hold them; False where it cannot be read."""
    try:
        with open_file(uri) as file:
            chosen = picture_column(pq.ParquetFile(file).schema_arrow)
    except DAMAGED:
        return False
    return chosen is not None and not chosen[1]


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
    """Whether a column's type is text."""
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


class TableCells:
    """The pictures in tables, read forward; the last table stays open."""

    def __init__(self) -> None:
        self._name, self._table = "", None  # type: tuple[str, _Column | None]

    def content(self, uri: str, largest: int) -> bytes | str:
        """The bytes in the row that a uri means, or the text there, which says where they are.

        Raises:
            PhotoError: `unreadable`, `too large`.
        """
        address = parse_address(uri)
        name = address.file + "#" + address.name
        if self._table is None or self._name != name or not self._table.is_ahead(address.row):
            self.close()
            self._table, self._name = _Column(address), name
        return self._table.content(address, uri, largest)

    def close(self) -> None:
        """Let the table go."""
        if self._table is not None:
            self._table.close()
        self._name, self._table = "", None


class _Column:
    """A column of a Parquet file, read forward, a few rows at a time."""

    def __init__(self, address: Address) -> None:
        self._file = open_file(address.file)
        self._start, self._rows = 0, pa.array([], pa.binary())
        try:
            table = pq.ParquetFile(self._file, buffer_size=BUFFER)
            kind = table.schema_arrow.field(address.name).type
            if not is_bytes(kind) and not is_text_column(kind):
                raise ValueError(f"column {address.name!r} holds {kind}, no bytes")
            self._start = self._skip(table, address.row)
            groups = range(self._group, table.metadata.num_row_groups)
            self._batches = table.iter_batches(
                batch_size=ROWS_AHEAD, row_groups=list(groups), columns=[address.name]
            )
        except (KeyError, *DAMAGED) as error:
            self._file.close()
            raise PhotoError("unreadable", address.file, printable(str(error))[:300]) from error

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def is_ahead(self, row: int) -> bool:
        """Whether a row can be reached going forward."""
        return row >= self._start

    def content(self, address: Address, uri: str, largest: int) -> bytes | str:
        """The bytes of one row, or its text."""
        try:
            while address.row >= self._start + len(self._rows):
                self._start += len(self._rows)
                self._rows = pa.array([])
                self._rows = next(self._batches).column(0)
            value = self._rows[address.row - self._start].as_py()
        except StopIteration:
            raise PhotoError("unreadable", uri, "the table has no such row") from None
        except DAMAGED as error:
            raise PhotoError("unreadable", uri, printable(str(error))[:300]) from error
        value = value.get("bytes") if isinstance(value, dict) else value
        if not value:
            raise PhotoError("unreadable", uri, "this row holds no bytes")
        if len(value) > largest:
            raise PhotoError("too large", uri, f"{len(value)} bytes; at most {largest} are read")
        return value

    def _skip(self, table: pq.ParquetFile, row: int) -> int:
        """The first row of the row group that holds `row`."""
        start, self._group = 0, 0
        for group in range(table.metadata.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if row < start + rows:
                return start
            start, self._group = start + rows, group + 1
        return start
