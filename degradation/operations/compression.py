"""What storing a picture does to it. Images: uint8 [H, W, 3]."""

import numpy as np
import simplejpeg


def jpeg(image: np.ndarray, *, quality: int) -> np.ndarray:
    """JPEG there and back: libjpeg's slow integer transform, 4:2:0 chroma, quality 1..100."""
    encoded = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=int(quality), colorspace="RGB", colorsubsampling="420", fastdct=False)
    return simplejpeg.decode_jpeg(encoded, colorspace="RGB", fastdct=False, fastupsample=False)


OPERATIONS = (jpeg,)
WORDS = {"jpeg": "JPEG quality {quality}"}
