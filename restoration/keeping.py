"""What a restored picture keeps of the photograph that it was made from.

Kept: when it was taken, by which camera and lens and how it was set, who made it and whose it is, dots per inch. The
pixels stand upright, so the orientation is 1; they are sRGB, and carry its profile. Left out (our choice): the place
(GPS), since restored pictures are made to be shown and the original keeps it; previews, which show the old face; notes
of makers, whose inner addresses break. Transparent parts lie on white, as the network saw them.
"""

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from anchorface.faces.colour import srgb_profile
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


def png_bytes(image: np.ndarray, original: bytes = b"") -> bytes:
    """A restored picture as PNG.

    Args:
        image: uint8 [H, W, 3], upright sRGB. original: the photograph's file.
    """
    exif, options = Image.Exif(), dict[str, Any]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(original)) as before:
                said = before.getexif()
                exif.update(_some(said, KEPT))
                exif.get_ifd(IFD.Exif).update(_some(said.get_ifd(IFD.Exif), KEPT_OF_EXPOSURE))
                options = _dots(before.info.get("dpi"))
        except DAMAGE:
            exif = Image.Exif()
    exif[Base.Orientation] = 1
    exif.get_ifd(IFD.Exif)[Base.ColorSpace] = SRGB
    try:
        return _encoded(image, exif=exif.tobytes(), **options)
    except DAMAGE:  # entries of types that cannot be written again
        return _encoded(image)


def _encoded(image: np.ndarray, **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG", compress_level=3, icc_profile=srgb_profile(), **options)
    return sink.getvalue()


def _some(entries: Any, tags: tuple[int, ...]) -> dict[int, Any]:
    found = {tag: entries[tag] for tag in tags if tag in entries}
    return {tag: value for tag, value in found.items() if not isinstance(value, str | bytes) or len(value) <= LONGEST}


def _dots(dots: Any) -> dict[str, Any]:
    """Dots per inch as both numbers, if they are such."""
    try:
        across, down = float(dots[0]), float(dots[1])
    except DAMAGE:
        return {}
    return {"dpi": (across, down)} if 1 <= across <= 1e5 and 1 <= down <= 1e5 else {}
