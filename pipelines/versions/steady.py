"""Crops along a track that do not shake: each is moved to where the smoothed landmarks put it.

In: a face's crop as `find_faces` cut it by the landmarks found in its one frame, and its landmarks smoothed along the
track (identities.tracks). Out: the crop as if it had been cut by these, and where they lie in it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.align import apply_matrix, compose, ffhq_matrix, inverse, warp
from anchorface.faces.images import decode_jpeg, encode_jpeg

QUALITY = 95
"""Of the JPEG, as `find_faces` has it."""


def steady(crop: bytes, row: Mapping[str, Any]) -> tuple[bytes, NDArray[np.float64]]:
    """A face's crop, steadied.

    Args:
        crop: JPEG bytes. row: `landmarks` and `track_landmarks`, ten numbers each in photo pixels, and `crop_size`.

    Returns:
        JPEG bytes of the same size, and float64 [5, 2]: the smoothed landmarks in it. What the crop does not show, a
        few rows of pixels at most, is mirrored at its border.

    Raises:
        DataError: no crop, or landmarks that span no face.
    """
    size, smoothed = row["crop_size"], np.reshape(row["track_landmarks"], (5, 2))
    to_crop = ffhq_matrix(smoothed, size)
    moved = compose(to_crop, inverse(ffhq_matrix(row["landmarks"], size)))
    return encode_jpeg(warp(decode_jpeg(crop), moved, size), QUALITY), apply_matrix(to_crop, smoothed)
