import cv2
import numpy as np
import pytest

from anchorface.faces.align import (
    ARCFACE_TEMPLATE,
    apply_matrix,
    arcface_matrix,
    compose,
    ffhq_matrix,
    halved,
    inverse,
    paste_back,
    warp,
)
from anchorface.records.errors import DataError
from anchorface.records.seeds import rng


def smooth_photo(height: int = 300, width: int = 400) -> np.ndarray:
    noise = rng(5, "smooth").integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
    return cv2.GaussianBlur(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), (0, 0), 2)


def turned(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    return points @ np.array([[c, s], [-s, c]]) + shift


FACE = np.array([[150.0, 120.0], [210.0, 118.0], [182.0, 155.0], [158.0, 188.0], [206.0, 186.0]])


def test_arcface_alignment_puts_a_moved_template_exactly_on_the_template() -> None:
    template = np.asarray(ARCFACE_TEMPLATE)
    for angle, scale, shift in ((0, 1, (0, 0)), (30, 2.5, (90, -20)), (-170, 0.3, (400, 300))):
        photo_points = turned(template, angle, scale, shift)
        np.testing.assert_allclose(apply_matrix(arcface_matrix(photo_points), photo_points), template, atol=1e-9)


def test_arcface_alignment_of_a_real_face_is_the_least_squares_similarity() -> None:
    template = np.asarray(ARCFACE_TEMPLATE)
    matrix = arcface_matrix(FACE)
    best = np.square(apply_matrix(matrix, FACE) - template).sum()
    for row, column in ((0, 2), (1, 2)):
        moved = matrix.copy()
        moved[row, column] += 0.1
        assert np.square(apply_matrix(moved, FACE) - template).sum() > best
    for factor in (0.99, 1.01):
        centre = template.mean(axis=0)
        scaled = (apply_matrix(matrix, FACE) - centre) * factor + centre
        assert np.square(scaled - template).sum() > best


def test_ffhq_crop_stands_upright_with_eyes_and_mouth_at_their_places() -> None:
    for angle, scale in ((0, 1.0), (40, 3.0), (-100, 0.5)):
        points = turned(FACE, angle, scale, (500, 500))
        placed = apply_matrix(ffhq_matrix(points, 512), points)
        np.testing.assert_allclose(placed, apply_matrix(ffhq_matrix(FACE, 512), FACE), atol=1e-6)
    eyes, mouth = placed[:2].mean(axis=0), placed[3:].mean(axis=0)
    assert abs(eyes[0] - 255.5) < 15 and 200 < eyes[1] < 260 and 330 < mouth[1] < 410
    assert placed[0][0] < eyes[0] < placed[1][0]


def test_ffhq_square_follows_the_published_formula() -> None:
    eyes, mouth, across = FACE[:2].mean(axis=0), FACE[3:].mean(axis=0), FACE[1] - FACE[0]
    down = mouth - eyes
    x = across - np.flipud(down) * [-1, 1]
    x *= max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8) / np.hypot(*x)
    y = np.flipud(x) * [-1, 1]
    centre = eyes + down * 0.1
    square = [[-0.5, -0.5], [-0.5, 511.5], [511.5, 511.5], [511.5, -0.5]]
    corners = apply_matrix(inverse(ffhq_matrix(FACE, 512)), square)
    np.testing.assert_allclose(corners, [centre - x - y, centre - x + y, centre + x + y, centre + x - y], atol=1e-9)


def test_photo_to_crop_and_pasted_back_is_the_photo() -> None:
    photo = smooth_photo()
    for angle in (0, 25):
        points = turned(FACE - FACE.mean(axis=0), angle, 0.8, (210.0, 150.0))
        matrix = ffhq_matrix(points, 512)
        back = paste_back(photo, warp(photo, matrix, 512), matrix)
        difference = np.abs(back.astype(int) - photo)
        assert difference.mean() < 0.5 and difference.max() <= 6


def test_paste_back_changes_no_byte_outside_the_crop_and_has_no_seam() -> None:
    photo = np.full((300, 400, 3), 100, np.uint8)
    matrix = ffhq_matrix((FACE - FACE.mean(axis=0)) * 0.5 + (200, 150), 128)
    pasted = paste_back(photo, np.full((128, 128, 3), 200, np.uint8), matrix)
    y, x = np.mgrid[0:300, 0:400]
    places = apply_matrix(matrix, np.stack([x, y], axis=-1))
    outside = ((places < -0.5) | (places > 127.5)).any(axis=-1)
    assert (pasted[outside] == 100).all()
    assert pasted[150, 200, 0] == 200
    assert np.abs(np.diff(pasted[..., 0].astype(int), axis=1)).max() < 30


def test_a_face_at_the_border_can_be_cropped_and_pasted() -> None:
    photo = smooth_photo()
    matrix = ffhq_matrix(FACE - (150, 110), 256)
    crop = warp(photo, matrix, 256)
    assert crop.shape == (256, 256, 3) and (crop.std(axis=(0, 1)) > 5).all()
    assert paste_back(photo, crop, matrix).shape == photo.shape
    far = ffhq_matrix(FACE + 5000, 256)
    np.testing.assert_array_equal(paste_back(photo, crop, far), photo)


@pytest.mark.parametrize("shrink", [2.0, 3.3, 7.0, 20.0])
def test_shrinking_averages_instead_of_aliasing(shrink: float) -> None:
    y, x = np.mgrid[0:1200, 0:1200]
    stripes = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = warp(stripes, [[1 / shrink, 0, 3], [0, 1 / shrink, 2]], int(1000 / shrink))
    assert np.abs(small[3:, 4:].astype(int) - 127).max() <= 10


def test_shrinking_does_not_move_the_picture() -> None:
    photo = smooth_photo(1200, 1200)
    for shrink in (1.5, 3.0, 9.0):
        matrix = np.array([[1 / shrink, 0, 0], [0, 1 / shrink, 0]])
        small = warp(photo, matrix, int(1200 / shrink)).astype(float)
        v, u = np.mgrid[5 : small.shape[0] - 5, 5 : small.shape[1] - 5]
        expected = cv2.remap(cv2.GaussianBlur(photo, (0, 0), shrink / 3), (u * shrink).astype(np.float32),
                             (v * shrink).astype(np.float32), cv2.INTER_LINEAR).astype(float)
        assert np.abs(small[5:-5, 5:-5] - expected).mean() < 2.5


def test_points_that_are_no_face_are_refused() -> None:
    for points in (np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2))):
        for function in (ffhq_matrix, arcface_matrix):
            with pytest.raises(DataError):
                function(points)


@pytest.mark.parametrize("place", [(10, 20), (700, 500), (1180, 860)])
def test_a_small_crop_of_a_large_photo_reads_only_its_place_and_sees_the_same(place: tuple[int, int]) -> None:
    """Inside the photo and at its borders: as if the whole photo had been halved."""
    photo = smooth_photo(900, 1200)
    matrix = compose([[1.0, 0.0, 20.0], [0.0, 1.0, 20.0]],
                     compose([[0.2, 0.03, 0.0], [-0.03, 0.2, 0.0]], [[1.0, 0.0, -place[0]], [0.0, 1.0, -place[1]]]))
    expected = warp(halved(photo), compose(matrix, [[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]]), 40)
    difference = np.abs(warp(photo, matrix, 40).astype(int) - expected)
    assert difference.mean() < 0.5 and difference.max() <= 4, "more than OpenCV's steps of 1/32 px"
