"""Any photograph by its uri: out of a file, a tar, a table, a film, or from the web.

In: the uri of a Photo row. Out: uint8 [H, W, 3] RGB, upright, and what the bytes say of themselves. The last container
stays open, so that reading in the order of a photo table is reading forward. What may end the process that reads it is
read in another (records.decoding.child).
"""

from typing import Any, BinaryIO
from urllib.parse import urldefrag

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.decoding import PhotoInfo
from anchorface.faces.images import LARGEST, read_info, read_photo
from anchorface.pipelines.sources.address import IN_MEMORY, Address, is_web, parse_address, printable
from anchorface.pipelines.sources.films import Film
from anchorface.pipelines.sources.opening import fetch, open_file
from anchorface.pipelines.sources.table_child import TableChild
from anchorface.pipelines.sources.tables import TableCells
from anchorface.records.decoding.child import decoder
from anchorface.records.errors import PhotoError


class PhotoReader:
    """Reads photographs one after the other.

    Args:
        largest: bytes of one encoded photograph, at most.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._name: tuple[str, str] = ("", "")
        self._open: Any = None
        self._tables, self._cells = TableChild(decoder()), TableCells()

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

    def info(self, uri: str, max_pixels: int = 100_000_000) -> PhotoInfo:
        """What a photograph that is no film's frame says of itself; it is decoded whole. Raises as `read`."""
        return read_info(self._content(uri, parse_address(uri)), max_pixels, uri)

    def close(self) -> None:
        """Let the last container go."""
        self._let_go()
        self._cells.close()

    def _let_go(self) -> None:
        if self._open is not None:
            self._open.close()
        self._name, self._open = ("", ""), None

    def _content(self, uri: str, address: Address) -> bytes:
        if address.kind == "row":
            here = address.file.startswith(IN_MEMORY)
            cells = self._cells.content if here else self._tables.cell
            found = cells(uri, self._largest)
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
            self._let_go()
            self._open, self._name = open_file(address.file), ("tar", address.file)
        return self._open

    def _film(self, address: Address, max_pixels: int) -> Film:
        if self._name != ("film", address.file) or self._open.second >= address.second:
            self._let_go()
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
