"""Where a face stands in a square crop, and back.

In: landmarks float [5, 2] in photo pixels (order of records.nouns), photographs uint8 [H, W, 3] RGB.
Out: similarity matrices float64 [2, 3] that take photo points to crop points, crops uint8 [size, size, 3].
Coordinates: (x, y), the origin at the centre of the top left pixel, in photo and crop alike.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from anchorface.records.errors import DataError

Matrix = NDArray[np.float64]
Points = NDArray[np.float64]
Image = NDArray[np.uint8]

ARCFACE_TEMPLATE: tuple[tuple[float, float], ...] = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041),
)
"""The five points of a 112 px ArcFace/AdaFace crop."""
MARGIN = 4.0
"""Pixels of the output around it whose places in the image a warp's kernels may read."""


def ffhq_matrix(landmarks: ArrayLike, size: int = 512) -> Matrix:
    """The similarity that takes photo points into the FFHQ crop of `size` pixels.

    Args:
        landmarks: [5, 2] photo pixels. The eye centres are the first two points, the mouth is the mean of the last two.
        size: the crop's side in pixels.

    Returns:
        float64 [2, 3].

    Raises:
        DataError: the points are not finite or coincide.

    Source: Karras et al., FFHQ's published alignment; there with the means of 68-point groups.
    """
    points = _checked(landmarks)
    left_eye, right_eye = points[0], points[1]
    eyes, mouth = (left_eye + right_eye) / 2, (points[3] + points[4]) / 2
    eye_to_eye, eye_to_mouth = right_eye - left_eye, mouth - eyes
    direction = eye_to_eye - _quarter_turn(eye_to_mouth)
    length = float(np.hypot(*direction))
    if length < 1e-6:
        raise DataError(f"landmarks {points.tolist()} span no face: eyes and mouth coincide or are upside down")
    half = max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    x = direction / length * half
    y = _quarter_turn(x)
    centre = eyes + eye_to_mouth * 0.1
    # Crop pixel u covers [u - 0.5, u + 0.5], so the square's edges lie at -0.5 and size - 0.5.
    step = 2.0 / size
    origin = centre + (x + y) * (0.5 * step - 1.0)
    crop_to_photo = np.column_stack([x * step, y * step, origin])
    return inverse(crop_to_photo)


def arcface_matrix(landmarks: ArrayLike, size: int = 112) -> Matrix:
    """The similarity that brings five points nearest to the ArcFace/AdaFace template, in least squares.

    Args:
        landmarks: [5, 2] photo pixels.
        size: the crop's side in pixels; the template is scaled from 112.

    Returns:
        float64 [2, 3].

    Raises:
        DataError: the points are not finite or coincide.

    Source: Umeyama 1991; in the plane it is one complex number, z -> a z + b.
    """
    points = _checked(landmarks)
    template = (np.asarray(ARCFACE_TEMPLATE) + 0.5) * (size / 112.0) - 0.5
    source = (points[:, 0] + 1j * points[:, 1])
    target = (template[:, 0] + 1j * template[:, 1])
    centred = source - source.mean()
    spread = float(np.sum(np.abs(centred) ** 2))
    if spread < 1e-6:
        raise DataError(f"landmarks {points.tolist()} coincide: they span no face")
    a = np.sum(np.conj(centred) * (target - target.mean())) / spread
    b = target.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def apply_matrix(matrix: ArrayLike, points: ArrayLike) -> Points:
    """Points [..., 2] taken through a [2, 3] matrix."""
    m = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ m[:, :2].T + m[:, 2]


def mirrored_points(landmarks: ArrayLike, width: int) -> Points:
    """Five points [5, 2] in the mirrored image of `width` pixels: the left and the right ones change places."""
    return np.asarray(landmarks)[[1, 0, 2, 4, 3]] * np.array([-1, 1]) + np.array([width - 1, 0])


def inverse(matrix: ArrayLike) -> Matrix:
    """The [2, 3] matrix that goes the other way."""
    m = np.asarray(matrix, dtype=np.float64)
    linear = np.linalg.inv(m[:, :2])
    return np.column_stack([linear, -linear @ m[:, 2]])


def compose(second: ArrayLike, first: ArrayLike) -> Matrix:
    """The [2, 3] matrix that does `first`, then `second`."""
    b, a = np.asarray(second, dtype=np.float64), np.asarray(first, dtype=np.float64)
    return np.column_stack([b[:, :2] @ a[:, :2], b[:, :2] @ a[:, 2] + b[:, 2]])


def warp(image: Image, matrix: ArrayLike, size: int | tuple[int, int]) -> Image:
    """The image drawn through `matrix`, averaged over areas where it shrinks, mirrored beyond its border.

    Args:
        image: uint8 [H, W, 3] (or [H, W]).
        matrix: [2, 3], image points to output points, a similarity.
        size: the output's side, or (width, height), in pixels.

    Returns:
        uint8 [height, width, 3]. Enlarging is bicubic.
    """
    width, height = (size, size) if isinstance(size, int) else size
    m = np.asarray(matrix, dtype=np.float64)
    if _scale(m) < 0.25:
        image, m = _seen_part(image, m, width, height)
    while _scale(m) < 0.25 and min(image.shape[:2]) >= 4:
        image = halved(image)
        m = compose(m, [[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]])
    # Drawing k times larger and averaging k x k pixels reads every source pixel: no aliasing, no blur to choose.
    # Down to 0.8 the bicubic kernel alone reads them all.
    k = 1 if _scale(m) >= 0.8 else min(8, int(np.ceil(1.0 / _scale(m) - 1e-6)))
    m = compose([[k, 0.0, 0.5 * k - 0.5], [0.0, k, 0.5 * k - 0.5]], m)
    drawn = cv2.warpAffine(
        image, m, (width * k, height * k), flags=cv2.INTER_CUBIC if k <= 2 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    shrunk = drawn if k == 1 else cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.uint8)


def halved(image: Image) -> Image:
    """Every two by two pixels as their mean: uint8 [H // 2, W // 2, ...]; an odd last row or column is left out.

    Pixel u of the result lies at 2 u + 0.5 of the image.
    """
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    even = image[: 2 * rows, : 2 * columns]
    return np.asarray(cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def paste_back(photo: Image, crop: Image, matrix: ArrayLike, feather: float = 0.1) -> Image:
    """The photo with a (restored) crop put back where it came from.

    Args:
        photo: uint8 [H, W, 3].
        crop: uint8 [size, size, 3]; `size` may differ from the matrix's if the matrix was made for this size.
        matrix: [2, 3] photo to crop, as `ffhq_matrix(landmarks, size)` gave it.
        feather: width of the soft border inside the crop, as a share of its side (our choice).

    Returns:
        uint8 [H, W, 3]; pixels outside the crop are the photo's own bytes.
    """
    m = np.asarray(matrix, dtype=np.float64)
    rows, columns = photo.shape[:2]
    side = crop.shape[0]
    edge = side - 0.5
    corners = apply_matrix(inverse(m), [[-0.5, -0.5], [edge, -0.5], [edge, edge], [-0.5, edge]])
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (columns, rows))
    if x0 >= x1 or y0 >= y1:
        return photo.copy()
    shift = np.array([[1.0, 0.0, -x0], [0.0, 1.0, -y0]])
    drawn = warp(crop, compose(shift, inverse(m)), (int(x1 - x0), int(y1 - y0)))
    grid = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), axis=-1)
    inside = apply_matrix(m, grid)
    depth = np.minimum(inside + 0.5, edge - inside).min(axis=-1) / max(feather * side, 1e-6)
    ramp = np.clip(depth, 0.0, 1.0)
    weight = (ramp * ramp * (3.0 - 2.0 * ramp))[..., None]
    result = photo.copy()
    under = photo[y0:y1, x0:x1].astype(np.float64)
    result[y0:y1, x0:x1] = np.rint(under + weight * (drawn.astype(np.float64) - under)).astype(np.uint8)
    return result


def _checked(landmarks: ArrayLike) -> Points:
    points = np.asarray(landmarks, dtype=np.float64)
    if points.size != 10 or not np.isfinite(points).all():
        raise DataError(f"landmarks must be five finite points, got {points.tolist()}")
    return points.reshape(5, 2)


def _quarter_turn(vector: Points) -> Points:
    return np.array([-vector[1], vector[0]])


def _seen_part(image: Image, matrix: Matrix, width: int, height: int) -> tuple[Image, Matrix]:
    """The rectangle of the image that a warp reads, with a margin for its kernels, and the matrix from there."""
    corners = [(-0.5, -0.5), (width - 0.5, -0.5), (-0.5, height - 0.5), (width - 0.5, height - 0.5)]
    points = apply_matrix(inverse(matrix), corners)
    margin = MARGIN * max(1.0, 1.0 / _scale(matrix))
    sides = np.array(image.shape[1::-1])
    # At a multiple of 16, so that halving pairs the same pixels wherever the part begins.
    low = np.clip(np.floor((points.min(axis=0) - margin) / 16) * 16, 0, sides)
    high = np.clip(np.ceil(points.max(axis=0) + margin) + 1, 0, sides)
    reach = np.concatenate([low - (points.min(axis=0) - margin), points.max(axis=0) + margin - (high - 1)]).max()
    if (high - low).min() <= reach + margin:
        # The face stands mostly beyond the border: what is mirrored there may lie anywhere in the image.
        return image, matrix
    (x, y), (right, bottom) = low.astype(int), high.astype(int)
    return image[y:bottom, x:right], compose(matrix, [[1.0, 0.0, float(x)], [0.0, 1.0, float(y)]])


def _scale(matrix: Matrix) -> float:
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
