"""Photographs in and out: files and bytes to uint8 [H, W, 3] RGB, or a PhotoError with its cause.

Causes: those of `faces.decoding`, and `unreadable` (no such file, or decoding it ended the process that did it or took
too long), `too large`.
"""

from datetime import date
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from anchorface.faces.decoding import PhotoInfo
from anchorface.records.decoding.child import Answer, decoder
from anchorface.records.errors import DataError, PhotoError, StorageError
from anchorface.records.storage import filesystem, read_bytes

LARGEST = 2**29
"""Bytes of one encoded photograph, at most: 512 MiB (our choice)."""
MAX_PIXELS = 100_000_000


def read_photo(
    source: str | bytes, max_pixels: int = MAX_PIXELS, uri: str = "bytes"
) -> tuple[NDArray[np.uint8], PhotoInfo]:
    """One photograph, upright and in eight-bit RGB, whatever the file held.

    It is decoded in a process that may die of it (records.decoding.child).

    Args:
        source: a path or URI, or the file's bytes.
        max_pixels: largest width x height.
        uri: the name for errors when `source` is bytes.

    Returns:
        uint8 [H, W, 3] RGB after the EXIF orientation (transparent parts on white), and what the file says.

    Raises:
        PhotoError: with one of the causes in the module's first lines.
    """
    answer = _decoded(source, max_pixels, uri, True)
    assert answer.pixels is not None
    return answer.pixels, _info(answer.said["info"])


def read_info(source: str | bytes, max_pixels: int = MAX_PIXELS, uri: str = "bytes") -> PhotoInfo:
    """What a photograph says of itself: as `read_photo`, decoded all the same, and the pixels not handed over."""
    return _info(_decoded(source, max_pixels, uri, False).said["info"])


def read_file(uri: str) -> bytes:
    """A photograph's bytes, as they stand in its file.

    Raises:
        PhotoError: `unreadable`, `too large`.
    """
    try:
        system, path = filesystem(uri)
        size = system.get_file_info(path).size or 0
        if size > LARGEST:
            raise PhotoError("too large", uri, f"{size} bytes; at most {LARGEST} are read")
        return read_bytes(uri)
    except (StorageError, OSError) as error:
        raise PhotoError("unreadable", uri, str(error)) from error


def encode_jpeg(rgb: NDArray[np.uint8], quality: int = 95) -> bytes:
    """uint8 [H, W, 3] RGB as JPEG bytes, colour at full resolution (4:4:4)."""
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(rgb), quality=quality, colorspace="RGB", colorsubsampling="444", fastdct=False
    )


def decode_jpeg(content: bytes, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """JPEG bytes that this project wrote, as uint8 [H, W, 3] RGB.

    Args:
        into: contiguous uint8 [H, W, 3], which takes the pixels and is returned if the picture is as large as it.

    Raises:
        DataError: not a whole JPEG.
    """
    try:
        fits = into is not None and simplejpeg.decode_jpeg_header(content)[:2] == into.shape[:2]
        made = simplejpeg.decode_jpeg(content, colorspace="RGB", fastdct=False, fastupsample=False, strict=True,
                                      buffer=into if fits else None)
        return into if into is not None and fits else made
    except ValueError as error:
        raise DataError(f"{len(content)} bytes that are no whole JPEG: {error}") from error


def _decoded(source: str | bytes, max_pixels: int, uri: str, pixels: bool) -> Answer:
    if isinstance(source, str):
        uri, source = source, read_file(source)
    said = {"max_pixels": max_pixels, "pixels": pixels}
    return decoder().ask("anchorface.faces.decoding:photo", said, uri, source, max_pixels=max_pixels)


def _info(said: dict[str, Any]) -> PhotoInfo:
    return PhotoInfo(**said | {"taken": date.fromisoformat(said["taken"]) if said["taken"] else None})
