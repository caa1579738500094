"""Photographs in and out: bytes to uint8 [H, W, 3] RGB, upright, eight bits, or a PhotoError with its cause.

Causes: `unreadable` (no such file, or damaged inside), `too large`, `not an image`, `truncated` (also a JPEG that lost
data inside), `too many pixels`, `too many scans`, `too small`, `raw` (a raw photograph). Colours are converted to sRGB
(`faces.colour`); of several pictures in one file one is read (`faces.pages`).
"""

import hashlib
import io
import re
import struct
import warnings
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps
from pillow_heif import register_heif_opener

from anchorface.faces.colour import to_srgb
from anchorface.faces.pages import whole_picture
from anchorface.records.dates import believable
from anchorface.records.errors import DAMAGE, DataError, PhotoError, StorageError
from anchorface.records.storage import filesystem, read_bytes

register_heif_opener(thumbnails=False, decode_threads=1)

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "HEIF", "AVIF")
SMALLEST_SIDE = 16
LARGEST = 2**29
"""Bytes of one encoded photograph, at most: 512 MiB (our choice)."""
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*", b"GIF8", b"BM")
EXIF_FOLDER, DATE_TIME_ORIGINAL, DATE_TIME_DIGITIZED = 0x8769, 0x9003, 0x9004
JPEG_MODES = {"RGB": "RGB", "L": "GRAY"}
LOST = re.compile(r"(?i)premature end|bad (Huffman|arithmetic) code|instead of RST|before marker 0xd[0-7]|"
                  r"(?P<bytes>\d+) extraneous bytes(?! before marker 0xd[0-7])")
"""What libjpeg warns of where a JPEG's data was lost."""
MOST_EXTRANEOUS = 64
"""Bytes between a JPEG's markers that mean nothing, from which on data was lost (our choice)."""
FEW_SCANS, MOST_SCANNED = 64, 2_000_000_000
"""Scans of a JPEG that are always read, and pixels of all scans that are read at most (our choice)."""


@dataclass(frozen=True, kw_only=True)
class PhotoInfo:
    """What a file says of itself.

    format: `JPEG`, `PNG`, ...; width, height: pixels, upright; sha256: of the file's bytes; taken: the EXIF date
    of exposure, None where there is none that can be believed (records.dates). more: what else the file holds that was
    not read: `pages`, `frames`, or nothing.
    """

    format: str
    width: int
    height: int
    byte_size: int
    sha256: str
    taken: date | None
    more: str = ""


def read_photo(
    source: str | bytes, max_pixels: int = 100_000_000, uri: str = "bytes"
) -> tuple[NDArray[np.uint8], PhotoInfo]:
    """One photograph, upright and in eight-bit RGB, whatever the file held.

    The header is checked before any pixel is decoded, so a file cannot ask for unbounded memory.

    Args:
        source: a path or URI, or the file's bytes.
        max_pixels: largest width x height.
        uri: the name for errors when `source` is bytes.

    Returns:
        uint8 [H, W, 3] RGB after the EXIF orientation (transparent parts on white), and what the file says.

    Raises:
        PhotoError: with one of the causes in the module's first lines.
    """
    if isinstance(source, str):
        uri = source
        content = read_file(source)
    else:
        content = source
    declared = _png_size(content)
    if declared is not None:
        _check_size(*declared, max_pixels, uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow doubts about a damaged file ends as its cause, or costs nothing
        picture = _open(content, uri)
        _check_size(*picture.size, max_pixels, uri)
        pixels, taken, more = _decode(picture, content, max_pixels, uri)
    name = "JPEG" if picture.format == "MPO" else str(picture.format)
    info = PhotoInfo(
        format=name, width=pixels.shape[1], height=pixels.shape[0], byte_size=len(content),
        sha256=hashlib.sha256(content).hexdigest(), taken=taken, more=more,
    )
    return pixels, info


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


def _open(content: bytes, uri: str) -> PillowImage.Image:
    try:
        return PillowImage.open(io.BytesIO(content), formats=FORMATS)
    except PillowImage.DecompressionBombError as error:
        raise PhotoError("too many pixels", uri, str(error)) from error
    except DAMAGE as error:
        if content.startswith(MAGIC) and not _ends_well(content):
            raise PhotoError("truncated", uri, "the file ends before its first pixel") from error
        if content.startswith(MAGIC):
            raise PhotoError("unreadable", uri, f"damaged before its first pixel: {error}") from error
        detail = "the file is empty" if not content else f"none of {', '.join(FORMATS)}"
        raise PhotoError("not an image", uri, detail) from error


def _check_size(width: int, height: int, max_pixels: int, uri: str) -> None:
    if width * height > max_pixels:
        raise PhotoError("too many pixels", uri, f"{width} x {height}; at most {max_pixels} are read")
    if min(width, height) < SMALLEST_SIDE:
        raise PhotoError("too small", uri, f"{width} x {height}; sides of at least {SMALLEST_SIDE} px are needed")


def _decode(
    picture: PillowImage.Image, content: bytes, max_pixels: int, uri: str
) -> tuple[NDArray[np.uint8], date | None, str]:
    try:
        more = whole_picture(picture, content, max_pixels, uri)
        _check_size(*picture.size, max_pixels, uri)
        taken = _taken(picture)
        decoded = _strict_jpeg(picture, content, uri) if picture.format in ("JPEG", "MPO") else None
        if decoded is None:
            picture.load()
            decoded = picture
        _check_size(*decoded.size, max_pixels, uri)  # a HEIF picture's size may change while it is decoded
        upright = ImageOps.exif_transpose(to_srgb(decoded))
        return _eight_bit_rgb(upright), taken, more
    except PhotoError:
        raise
    except DAMAGE as error:
        cause = "truncated" if "truncated" in str(error) or _ends_early(content) else "unreadable"
        raise PhotoError(cause, uri, str(error)) from error


def _strict_jpeg(picture: PillowImage.Image, content: bytes, uri: str) -> PillowImage.Image | None:
    """A JPEG in grey or RGB, decoded so that lost data is noticed; None if Pillow has to decode it.

    Pillow's decoder hides what its library warns of, and fills what is lost with grey; the pixels are the same.
    """
    scans = content.count(b"\xff\xda") if picture.info.get("progressive") else 1
    if scans > FEW_SCANS and scans * picture.width * picture.height > MOST_SCANNED:
        raise PhotoError("too many scans", uri, f"{scans} scans of {picture.width} x {picture.height} pixels")
    if picture.mode not in JPEG_MODES:
        return None
    try:
        pixels = _jpeg(content, picture.mode, strict=True)
    except ValueError as error:
        found = LOST.search(str(error))
        if found and int(found["bytes"] or MOST_EXTRANEOUS) >= MOST_EXTRANEOUS:
            raise PhotoError("truncated", uri, f"data was lost inside: {error}") from error
        try:
            pixels = _jpeg(content, picture.mode, strict=False)
        except ValueError:
            return None
    if pixels.shape[1::-1] != picture.size:
        return None
    decoded = PillowImage.fromarray(pixels)
    decoded.info = picture.info
    return decoded


def _jpeg(content: bytes, mode: str, strict: bool) -> NDArray[np.uint8]:
    found = simplejpeg.decode_jpeg(
        content, colorspace=JPEG_MODES[mode], fastdct=False, fastupsample=False, strict=strict
    )
    return found[..., 0] if mode == "L" else found


def _eight_bit_rgb(picture: PillowImage.Image) -> NDArray[np.uint8]:
    """Any Pillow mode as uint8 [H, W, 3]: 16 bits are scaled, not cut; transparency lies on white."""
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture).astype(np.float64)
        if picture.mode == "F":
            values = values * (255.0 if values.max(initial=0.0) <= 1.0 else 1.0)
        elif picture.mode.startswith("I;16") or values.max(initial=0.0) > 255:
            values = values / 257.0
        grey = np.rint(np.clip(np.nan_to_num(values), 0.0, 255.0)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = PillowImage.alpha_composite(PillowImage.new("RGBA", layer.size, "white"), layer)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _taken(picture: PillowImage.Image) -> date | None:
    """The day of exposure, else that of digitization; a wrong or missing date is no reason to lose the photo."""
    for tag in (DATE_TIME_ORIGINAL, DATE_TIME_DIGITIZED):
        try:
            text = str(picture.getexif().get_ifd(EXIF_FOLDER).get(tag, "")).strip("\x00 ")[:10]
            if day := believable(datetime.strptime(text.replace("-", ":").replace("/", ":"), "%Y:%m:%d").date()):
                return day
        except DAMAGE:
            continue
    return None


def _png_size(content: bytes) -> tuple[int, int] | None:
    if content[:8] == b"\x89PNG\r\n\x1a\n" and content[12:16] == b"IHDR" and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return width, height
    return None


def _ends_well(content: bytes) -> bool:
    """Whether a JPEG or PNG has its last bytes."""
    return content.startswith((b"\xff\xd8", b"\x89PNG")) and not _ends_early(content)


def _ends_early(content: bytes) -> bool:
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in content[-4096:]
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content[-4096:]
    return False
