"""The same picture twice: copies of one photograph, recompressed, resized or cropped, within one person.

In: a person's number per face, the graph of nearest faces, hashes, and 112 px views of the faces in question. Out:
which faces are copies of which. Photographs of one session are no copies: `london` holds
neutral and smiling portraits with a cosine of .98 and a hash two bits apart. So cosine and hash only propose, and the
pixels decide.

Measured on 75 photographs of `people`, `congress` and `london`, each detected again in a copy: found are all copies of
JPEG quality 40, all crops, 97 % of those halved in size, 91 % of those with all three at once (clusterer
mobilefacenet_y1_ms1m_112). The worst tile's residual is at most .14 for 95 % of the copies, and at least .20 between
two photographs.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.images import decode_jpeg

COSINE = 0.8
BITS = 12
RESIDUAL = 0.15
ALIKE = 0.9
SIDE = 112
MARGIN = 12
TILES = 8
SIGMA = 2.0


def proposed(
    persons: NDArray[np.int64], rows: NDArray[np.int64], cosines: NDArray[np.float32], hashes: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Pairs of rows that may be one picture: neighbours in the graph, one person, alike in cosine and hash.

    Returns:
        int64 [M, 2], the smaller row first, each pair once, sorted.
    """
    face, place = np.nonzero((cosines >= COSINE) & (rows >= 0))
    other = rows[face, place]
    close = (persons[face] == persons[other]) & (np.bitwise_count(hashes[face] ^ hashes[other]) <= BITS)
    pairs = np.stack([np.minimum(face, other), np.maximum(face, other)], axis=1)[close]
    return np.unique(pairs, axis=0)


def view(crop: bytes, landmarks: ArrayLike) -> NDArray[np.uint8]:
    """What is compared: the face as grey levels, 112 px, blurred so that compression does not count; uint8 [112, 112].

    Args:
        crop: JPEG bytes of the FFHQ-aligned crop.
        landmarks: the five points in it, flat or [5, 2].
    """
    small = warp(decode_jpeg(crop), arcface_matrix(np.reshape(landmarks, (5, 2))), SIDE)
    return cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (0, 0), SIGMA)


def same_picture(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> bool:
    """Whether two views show one picture: laid over each other, they agree in every tile.

    The residual of the worst of 8 x 8 tiles after the best affine map and gain, over the contrast of the face.
    """
    first, second = one.astype(np.float32), two.astype(np.float32)
    inner = slice(MARGIN, SIDE - MARGIN)
    if float(cv2.matchTemplate(first, second[inner, inner], cv2.TM_CCOEFF_NORMED).max()) < ALIKE:
        return False
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    try:
        start = np.eye(2, 3, dtype=np.float32)
        _, matrix = cv2.findTransformECC(first, second, start, cv2.MOTION_AFFINE, stop, None, 1)
    except cv2.error:
        # It found no map along which the two agree.
        return False
    laid = cv2.warpAffine(second, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    first, laid = first[inner, inner], laid[inner, inner]
    contrast = max(float(first.std()), 1.0)
    laid = (laid - laid.mean()) / max(float(laid.std()), 1.0) * contrast + first.mean()
    side = (SIDE - 2 * MARGIN) // TILES
    tiles = ((first - laid) ** 2).reshape(TILES, side, TILES, side).mean(axis=(1, 3))
    return float(np.sqrt(tiles.max())) / contrast <= RESIDUAL


def copies(pairs: Sequence[tuple[int, int]], better: Mapping[int, tuple[float, ...]]) -> dict[int, int]:
    """Which rows are dropped for which: of each set of copies the best stays.

    Args:
        pairs: rows that show one picture.
        better: per row a key; the larger, the better (original size in pixels, then sharpness).

    Returns:
        Dropped row -> the kept row that it is a copy of.
    """
    near: Mapping[int, set[int]] = {row: set() for pair in pairs for row in pair}
    for one, two in pairs:
        near[one].add(two)
        near[two].add(one)
    kept: set[int] = set()
    dropped: dict[int, int] = {}
    for row in sorted(near, key=lambda row: ([-value for value in better[row]], row)):
        over = sorted(near[row] & kept)
        if over:
            dropped[row] = over[0]
        else:
            kept.add(row)
    return dropped
