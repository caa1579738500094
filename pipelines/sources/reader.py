"""Any photograph by its uri: out of a file, a tar, a table, a film, or from the web.

In: the uri of a Photo row. Out: uint8 [H, W, 3] RGB, upright, and what the bytes say of themselves. The last container
stays open, so that reading in the order of a photo table is reading forward.
"""

from typing import Any, BinaryIO
from urllib.parse import urldefrag

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from anchorface.faces.images import PhotoInfo, read_photo
from anchorface.pipelines.sources.address import Address, is_web, parse_address, printable
from anchorface.pipelines.sources.films import Film
from anchorface.pipelines.sources.opening import fetch, open_file
from anchorface.pipelines.sources.tables import DAMAGED, is_bytes, is_text_column
from anchorface.records.errors import PhotoError

LARGEST = 2**29
"""Bytes of one encoded photograph, at most: 512 MiB (our choice)."""
ROWS_AHEAD = 16


class PhotoReader:
    """Reads photographs one after the other.

    Args:
        largest: bytes of one encoded photograph, at most.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._name: tuple[str, str] = ("", "")
        self._open: Any = None

    def read(self, uri: str, max_pixels: int = 100_000_000) -> tuple[NDArray[np.uint8], PhotoInfo]:
        """One photograph.

        Args:
            uri: as pipelines.sources.address describes it. max_pixels: largest width x height.

        Returns:
            uint8 [H, W, 3] RGB after the EXIF orientation (transparent parts on white), and what the file says.

        Raises:
            PhotoError: `unreadable`, `too large`, `no such frame`, or a cause of faces.images.read_photo.
        """
        address = parse_address(uri)
        if address.kind == "frame":
            return self._film(address, max_pixels).at(address.second)
        return read_photo(self._content(uri, address), max_pixels, uri)

    def close(self) -> None:
        """Let the last container go."""
        if self._open is not None:
            self._open.close()
        self._name, self._open = ("", ""), None

    def _content(self, uri: str, address: Address) -> bytes:
        if address.kind == "row":
            found = self._table(address).content(address, uri, self._largest)
            return found if isinstance(found, bytes) else _fetched(found, uri)
        if address.kind == "member":
            if address.size > self._largest:
                raise PhotoError("too large", uri, f"{address.size} bytes; at most {self._largest} are read")
            return _part(self._tar(address), address, uri)
        if is_web(uri):
            return fetch(uri)
        with open_file(uri) as file:
            return _whole(file, uri, self._largest)

    def _tar(self, address: Address) -> BinaryIO:
        if self._name != ("tar", address.file):
            self.close()
            self._open, self._name = open_file(address.file), ("tar", address.file)
        return self._open

    def _table(self, address: Address) -> "_Table":
        if self._name != ("table", address.file + "#" + address.name) or not self._open.is_ahead(address.row):
            self.close()
            self._open = _Table(address)
            self._name = ("table", address.file + "#" + address.name)
        return self._open

    def _film(self, address: Address, max_pixels: int) -> Film:
        if self._name != ("film", address.file) or self._open.second >= address.second:
            self.close()
            self._open, self._name = Film(address.file, max_pixels), ("film", address.file)
        return self._open


def _fetched(place: str, uri: str) -> bytes:
    """A photograph from the web whose address a table's row keeps, because it holds a password."""
    if not is_web(place):
        raise PhotoError("unreadable", uri, "the row names no place on the web")
    try:
        return fetch(urldefrag(place.strip()).url)
    except PhotoError as error:
        raise PhotoError(error.cause, uri, error.detail) from None


def _whole(file: Any, uri: str, largest: int) -> bytes:
    try:
        content: bytes = file.read(largest + 1)
    except (OSError, MemoryError) as error:
        raise PhotoError("unreadable", uri, printable(str(error))) from error
    if len(content) > largest:
        raise PhotoError("too large", uri, f"more than {largest} bytes")
    return content


def _part(file: BinaryIO, address: Address, uri: str) -> bytes:
    try:
        file.seek(address.offset)
        content = file.read(address.size)
    except OSError as error:
        raise PhotoError("unreadable", uri, printable(str(error))) from error
    if len(content) < address.size:
        raise PhotoError("truncated", uri, "the archive ends before this photograph does")
    return content


class _Table:
    """A column of a Parquet file, read forward a few rows at a time."""

    def __init__(self, address: Address) -> None:
        self._file = open_file(address.file)
        self._start, self._rows = 0, pa.array([], pa.binary())
        try:
            table = pq.ParquetFile(self._file)
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
        """The bytes of one row, or the text that says where they are."""
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
