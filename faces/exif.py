"""What a photograph says of itself, as EXIF of a picture that is made from it.

Kept: when it was taken, by which camera and lens and how it was set, who made it and whose it is, dots per inch. Left
out (our choice): the place (GPS), since such pictures are made to be shown and the original keeps it; previews, which
show the old face; notes of makers, whose inner addresses break. The new picture's pixels stand upright, so its
orientation is 1, and they are sRGB. It is read in the process that may die of it (records.decoding.child).
"""

import io
import warnings
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

from anchorface.faces.decoding import FORMATS
from anchorface.records.decoding.child import decoder
from anchorface.records.decoding.inside import Inside
from anchorface.records.errors import DAMAGE

KEPT = (Base.ImageDescription, Base.Make, Base.Model, Base.DateTime, Base.Artist, Base.Copyright)
KEPT_OF_EXPOSURE = (
    Base.DateTimeOriginal, Base.DateTimeDigitized, Base.OffsetTime, Base.OffsetTimeOriginal, Base.OffsetTimeDigitized,
    Base.SubsecTime, Base.SubsecTimeOriginal, Base.SubsecTimeDigitized, Base.ExposureTime, Base.FNumber,
    Base.ExposureProgram, Base.ISOSpeedRatings, Base.ShutterSpeedValue, Base.ApertureValue, Base.ExposureBiasValue,
    Base.MeteringMode, Base.Flash, Base.FocalLength, Base.FocalLengthIn35mmFilm, Base.WhiteBalance, Base.LensMake,
    Base.LensModel,
)
LONGEST = 2000
"""Characters or bytes of one entry, at most."""
SRGB = 1


def kept_exif(original: bytes, uri: str) -> dict[str, Any]:
    """What Pillow is to save a picture with that is made from a photograph: `exif`, a block, and `dpi`, where there are
    such.

    Args:
        original: the photograph's file. uri: the name for errors.

    Raises:
        PhotoError: `unreadable` where reading it ends the process or takes too long.
    """
    answer = decoder().ask(f"{__name__}:kept", {}, uri, original)
    found = {"exif": answer.content, "dpi": tuple(answer.said["dpi"] or ())}
    return {name: value for name, value in found.items() if value}


def kept(inside: Inside, said: dict[str, Any], content: bytes) -> None:
    """Work: what is kept of a photograph; nothing of one that is damaged."""
    exif, dots = Image.Exif(), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as before:
                told = before.getexif()
                exif.update(_some(told, KEPT))
                exif.get_ifd(IFD.Exif).update(_some(told.get_ifd(IFD.Exif), KEPT_OF_EXPOSURE))
                dots = _dots(before.info.get("dpi"))
        except DAMAGE:
            exif = Image.Exif()
    exif[Base.Orientation] = 1
    exif.get_ifd(IFD.Exif)[Base.ColorSpace] = SRGB
    try:
        block = exif.tobytes()
    except DAMAGE:  # entries of types that cannot be written again
        block, dots = b"", None
    inside.answer({"dpi": dots}, block)


def _some(entries: Any, tags: tuple[int, ...]) -> dict[int, Any]:
    found = {tag: entries[tag] for tag in tags if tag in entries}
    return {tag: value for tag, value in found.items() if not isinstance(value, str | bytes) or len(value) <= LONGEST}


def _dots(dots: Any) -> tuple[float, float] | None:
    """Dots per inch as both numbers, if they are such."""
    try:
        across, down = float(dots[0]), float(dots[1])
    except DAMAGE:
        return None
    return (across, down) if 1 <= across <= 1e5 and 1 <= down <= 1e5 else None
