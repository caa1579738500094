"""Photographs decoded: bytes to uint8 [H, W, 3] RGB, upright, eight bits, or a PhotoError with its cause.

Causes: `not an image`, `truncated` (also a JPEG that lost data inside), `unreadable` (damaged inside), `too many
pixels`, `too many scans`, `too small`, `raw` (a raw photograph). Colours are converted to sRGB (`faces.colour`); of
several pictures in one file one is read (`faces.pages`). It runs in the process that may die of it
(records.decoding.child); everybody else asks `faces.images`.
"""

import hashlib
import io
import re
import struct
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps
from pillow_heif import register_heif_opener

from anchorface.faces.colour import is_srgb, to_srgb
from anchorface.faces.pages import whole_picture
from anchorface.records.dates import believable
from anchorface.records.decoding.inside import Inside
from anchorface.records.errors import DAMAGE, PhotoError

register_heif_opener(thumbnails=False, decode_threads=1)

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "HEIF", "AVIF")
SMALLEST_SIDE = 16
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*", b"GIF8", b"BM")
EXIF_FOLDER, DATE_TIME_ORIGINAL, DATE_TIME_DIGITIZED = 0x8769, 0x9003, 0x9004
ORIENTATION, TURNED = 0x0112, range(2, 9)
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


Empty = Callable[[tuple[int, ...]], NDArray[np.uint8]]
"""Makes an array of a shape, of any content."""


def empty_here(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array that is this process's own."""
    return np.empty(shape, np.uint8)


def photo(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: decode a photograph of at most `max_pixels`; its pixels go out where `pixels` says so."""
    pixels, info = decode_photo(content, said["max_pixels"], said["name"], inside.empty)
    told = asdict(info) | {"taken": info.taken.isoformat() if info.taken else None}
    inside.answer({"info": told}, pixels=pixels if said["pixels"] else None)


def decode_photo(
    content: bytes, max_pixels: int, uri: str, empty: Empty = empty_here
) -> tuple[NDArray[np.uint8], PhotoInfo]:
    """As faces.images.read_photo, in this process.

    The header is checked before any pixel is decoded, so a file cannot ask for unbounded memory.

    Args:
        empty: makes the array for the pixels.
    """
    declared = _png_size(content)
    if declared is not None:
        _check_size(*declared, max_pixels, uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow doubts about a damaged file ends as its cause, or costs nothing
        picture = _open(content, uri)
        _check_size(*picture.size, max_pixels, uri)
        pixels, taken, more = _decode(picture, content, max_pixels, uri, empty)
    name = "JPEG" if picture.format == "MPO" else str(picture.format)
    info = PhotoInfo(
        format=name, width=pixels.shape[1], height=pixels.shape[0], byte_size=len(content),
        sha256=hashlib.sha256(content).hexdigest(), taken=taken, more=more,
    )
    return pixels, info


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
    picture: PillowImage.Image, content: bytes, max_pixels: int, uri: str, empty: Empty
) -> tuple[NDArray[np.uint8], date | None, str]:
    try:
        more = whole_picture(picture, content, max_pixels, uri)
        _check_size(*picture.size, max_pixels, uri)
        taken = _taken(picture)
        is_jpeg = picture.format in ("JPEG", "MPO")
        is_final = is_jpeg and _is_final(picture)
        pixels = _strict_jpeg(picture, content, uri, empty if is_final else empty_here) if is_jpeg else None
        if pixels is not None and is_final:
            return pixels, taken, more
        if pixels is not None:
            decoded = PillowImage.fromarray(pixels)
            decoded.info = picture.info
        else:
            picture.load()
            decoded = picture
        _check_size(*decoded.size, max_pixels, uri)  # a HEIF picture's size may change while it is decoded
        upright = ImageOps.exif_transpose(to_srgb(decoded))
        return _eight_bit_rgb(upright, empty), taken, more
    except PhotoError:
        raise
    except DAMAGE as error:
        cause = "truncated" if "truncated" in str(error) or _ends_early(content) else "unreadable"
        raise PhotoError(cause, uri, str(error)) from error


def _is_final(picture: PillowImage.Image) -> bool:
    """Whether a JPEG's pixels are RGB, upright and sRGB as they are stored."""
    if picture.mode != "RGB" or "transparency" in picture.info:
        return False
    probe = PillowImage.new("RGB", (1, 1))
    probe.info = picture.info
    return is_srgb(probe) and probe.getexif().get(ORIENTATION, 1) not in TURNED


def _strict_jpeg(picture: PillowImage.Image, content: bytes, uri: str, empty: Empty) -> NDArray[np.uint8] | None:
    """A JPEG in grey or RGB, decoded so that lost data is noticed; None if Pillow has to decode it.

    Pillow's decoder hides what its library warns of, and fills what is lost with grey; the pixels are the same.
    """
    scans = content.count(b"\xff\xda") if picture.info.get("progressive") else 1
    if scans > FEW_SCANS and scans * picture.width * picture.height > MOST_SCANNED:
        raise PhotoError("too many scans", uri, f"{scans} scans of {picture.width} x {picture.height} pixels")
    if picture.mode not in JPEG_MODES:
        return None
    pixels = empty((picture.height, picture.width, 3 if picture.mode == "RGB" else 1))
    try:
        fits = _jpeg(content, picture.mode, pixels, strict=True)
    except ValueError as error:
        found = LOST.search(str(error))
        if found and int(found["bytes"] or MOST_EXTRANEOUS) >= MOST_EXTRANEOUS:
            raise PhotoError("truncated", uri, f"data was lost inside: {error}") from error
        try:
            fits = _jpeg(content, picture.mode, pixels, strict=False)
        except ValueError:
            return None
    if not fits:
        return None
    return pixels if picture.mode == "RGB" else pixels[..., 0]


def _jpeg(content: bytes, mode: str, into: NDArray[np.uint8], strict: bool) -> bool:
    """Whether the picture is as large as it says, so that its pixels were written into an array."""
    if simplejpeg.decode_jpeg_header(content, strict=strict)[:2] != into.shape[:2]:
        return False
    simplejpeg.decode_jpeg(
        content, colorspace=JPEG_MODES[mode], fastdct=False, fastupsample=False, strict=strict, buffer=into
    )
    return True


def _eight_bit_rgb(picture: PillowImage.Image, empty: Empty) -> NDArray[np.uint8]:
    """Any Pillow mode as uint8 [H, W, 3]: 16 bits are scaled, not cut; transparency lies on white."""
    pixels = empty((picture.height, picture.width, 3))
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture).astype(np.float64)
        if picture.mode == "F":
            values = values * (255.0 if values.max(initial=0.0) <= 1.0 else 1.0)
        elif picture.mode.startswith("I;16") or values.max(initial=0.0) > 255:
            values = values / 257.0
        grey = np.rint(np.clip(np.nan_to_num(values), 0.0, 255.0)).astype(np.uint8)
        pixels[...] = grey[..., None]
        return pixels
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = PillowImage.alpha_composite(PillowImage.new("RGBA", layer.size, "white"), layer)
    np.copyto(pixels, np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB")))
    return pixels


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
