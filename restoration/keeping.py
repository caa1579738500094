"""A restored picture as a file, with what it keeps of the photograph that it was made from (faces.exif).

It carries the profile of sRGB. Transparent parts lie on white, as the network saw them.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from anchorface.faces.colour import srgb_profile
from anchorface.faces.exif import kept_exif
from anchorface.records.errors import DAMAGE


def png_bytes(image: np.ndarray, original: bytes = b"", uri: str = "photo") -> bytes:
    """A restored picture as PNG.

    Args:
        image: uint8 [H, W, 3], upright sRGB. original: the photograph's file. uri: its name for errors.

    Raises:
        PhotoError: as faces.exif.kept_exif.
    """
    kept = kept_exif(original, uri)
    try:
        return _encoded(image, **kept)
    except DAMAGE:  # entries of types that cannot be written again
        return _encoded(image)


def _encoded(image: np.ndarray, **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG", compress_level=3, icc_profile=srgb_profile(), **options)
    return sink.getvalue()
