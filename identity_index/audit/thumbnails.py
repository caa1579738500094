"""Small pictures inside the pages: JPEG as data URIs, SIDE pixels, none over MOST_BYTES.

A page's pictures are therefore at most (number of pictures) x MOST_BYTES x 4 / 3, whatever the photographs are.
"""

import base64
from html import escape

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

SIDE = 132
MOST_BYTES = 8192
QUALITIES = (82, 65, 45, 25, 10)


def crop_picture(crop: bytes | None, words: str) -> str:
    """An `<img>` of a face's crop, or a blank with the reason why there is none.

    Args:
        crop: JPEG bytes, None where the index has none.
        words: for those who do not see it.
    """
    if crop is None:
        return blank("no crop in the index")
    try:
        # Decoded at the smallest scale of the codec that still is SIDE pixels: four times as fast as whole.
        pixels = simplejpeg.decode_jpeg(crop, colorspace="RGB", min_height=SIDE, min_width=SIDE, strict=True)
    except ValueError as error:
        return blank(f"unreadable crop: {error}")
    return picture(pixels, words)


def picture(pixels: NDArray[np.uint8], words: str) -> str:
    """An `<img>` of a picture, uint8 [H, W, 3] RGB, its longer side SIDE pixels at most."""
    return f'<img src="{data_uri(pixels)}" alt="{escape(words)}" loading="lazy">'


def blank(words: str) -> str:
    """What stands where there is no picture."""
    return f'<span class="blank">{escape(words)}</span>'


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """The picture as `data:image/jpeg;base64,...`, of at most MOST_BYTES before base64."""
    longer = max(pixels.shape[:2])
    if longer > SIDE:
        height, width = (max(1, round(side * SIDE / longer)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    for quality in QUALITIES:
        content = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=quality, colorspace="RGB", colorsubsampling="420")
        if len(content) <= MOST_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
