import csv
from datetime import date

import cv2
import numpy as np
import pytest

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.attributes import (
    AgeNetwork,
    age_from_dates,
    brightness,
    clipped,
    hash_distance,
    light,
    perceptual_hash,
    sharpness,
    smile,
)
from anchorface.faces.images import decode_jpeg, encode_jpeg
from anchorface.faces.pose import GENERIC_HEAD, pose_from_landmarks
from anchorface.records.errors import DataError
from anchorface.synthetic import identity, render
from anchorface.synthetic.state import State


def seen(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The generic head turned in plain words (nose to the right, up, clockwise), drawn 20 m away, 3 px a mm."""
    a, b, c = np.radians([yaw, pitch, roll])
    points = np.asarray(GENERIC_HEAD)
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    shake = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (points @ nod.T @ shake.T @ tilt.T)[:, :2] * 3 + 300


def test_pose_signs_are_those_of_the_records() -> None:
    frontal, right, up, clockwise = seen(0, 0, 0), seen(25, 0, 0), seen(0, 20, 0), seen(0, 0, 30)
    middle = frontal[:2].mean(axis=0)
    assert right[2, 0] - right[:2].mean(axis=0)[0] > frontal[2, 0] - middle[0]
    assert up[2, 1] - up[:2].mean(axis=0)[1] < frontal[2, 1] - middle[1]
    assert clockwise[1, 1] > clockwise[0, 1]
    for points, expected in ((frontal, (0, 0, 0)), (right, (25, 0, 0)), (up, (0, 20, 0)), (clockwise, (0, 0, 30))):
        np.testing.assert_allclose(pose_from_landmarks(points, 600, 600), expected, atol=4)


@pytest.mark.parametrize("pose", [(30, 10, 0), (-35, -10, 15), (15, 15, -40), (-10, -20, 60)])
def test_pose_of_the_generic_head_is_recovered(pose: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(pose_from_landmarks(seen(*pose), 600, 600), pose, atol=6)


def test_a_crop_has_the_pose_of_its_photograph() -> None:
    points = seen(20, -5, 10)
    whole = pose_from_landmarks(points, 640, 480)
    np.testing.assert_allclose(pose_from_landmarks((points - 150) * 0.7, 300, 300), whole, atol=0.5)


def test_points_without_a_face_have_no_pose() -> None:
    with pytest.raises(DataError):
        pose_from_landmarks(np.full((5, 2), 7.0), 100, 100)


def test_age_is_years_between_birth_and_photograph() -> None:
    assert age_from_dates(date(1980, 6, 1), date(2020, 6, 1)) == pytest.approx(40, abs=0.01)
    assert age_from_dates(None, date(2020, 6, 1)) is None
    assert age_from_dates(date(2021, 1, 1), date(2020, 1, 1)) is None
    assert age_from_dates(date(1800, 1, 1), date(2020, 1, 1)) is None


def test_blur_lowers_sharpness_and_light_raises_brightness() -> None:
    y, x = np.mgrid[0:112, 0:112]
    crop = np.repeat(((x // 7 + y // 7) % 2 * 90 + 60).astype(np.uint8)[..., None], 3, axis=2)
    assert sharpness(cv2.GaussianBlur(crop, (0, 0), 2)) < 0.2 * sharpness(crop)
    assert brightness(crop + 50) == pytest.approx(brightness(crop) + 50)


def test_the_hash_stays_under_jpeg_and_light_and_changes_with_the_photograph(people) -> None:
    crops = [warp(p.pixels, arcface_matrix(p.landmarks), 112) for p in people[:12]]
    hashes = [perceptual_hash(crop) for crop in crops]
    assert all(0 <= value < 2**64 for value in hashes)
    for crop, value in zip(crops, hashes, strict=True):
        assert hash_distance(value, perceptual_hash(decode_jpeg(encode_jpeg(crop, 60)))) <= 6
        assert hash_distance(value, perceptual_hash((crop * 0.8).astype(np.uint8))) <= 6
    others = [hash_distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert np.median(others) > 12


def test_the_age_network_is_right_within_its_known_error(congress) -> None:
    late = congress[1:40:2]
    crops = np.stack([warp(p.pixels, arcface_matrix(p.landmarks), 112) for p in late])
    error = np.abs(AgeNetwork().ages(crops) - [float(p.row["age"]) for p in late])
    assert error.mean() < 12


def lit(person: int, azimuth: float, elevation: float) -> tuple[float, float]:
    state = State(light_azimuth=azimuth, light_elevation=elevation, background=person)
    shot = render(identity(person), state, 160)
    return light(warp(shot.image, arcface_matrix(shot.landmarks), 112))


def test_light_from_a_side_and_from_above_is_told_by_its_sign() -> None:
    for person in (400, 401, 402):
        from_right, from_left = lit(person, 60, 20), lit(person, -60, 20)
        assert from_right[0] > 0.08 and from_left[0] < -0.08
        assert lit(person, 0, 60)[1] < lit(person, 0, 5)[1]


def test_a_mirrored_face_is_lit_from_the_other_side(people) -> None:
    for portrait in people[:6]:
        crop = warp(portrait.pixels, arcface_matrix(portrait.landmarks), 112)
        (x, y), (mirrored_x, mirrored_y) = light(crop), light(crop[:, ::-1])
        assert mirrored_x == pytest.approx(-x, abs=0.03) and mirrored_y == pytest.approx(y, abs=0.03)


def test_a_smile_is_told_from_a_neutral_face(shared_data) -> None:
    with open(shared_data / "photos" / "london" / "index.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    wide = {role: np.array([smile(np.array(row["points"].split(), float).reshape(5, 2))
                            for row in rows if (row["role"] == "neutral") == (role == "neutral")])
            for role in ("neutral", "smiling")}
    assert len(wide["neutral"]) == len(wide["smiling"]) == 102
    assert (wide["smiling"][:, None] > wide["neutral"]).mean() > 0.93


def test_clipping_is_the_share_of_black_and_burnt_out_pixels() -> None:
    crop = np.full((112, 112, 3), 128, np.uint8)
    assert clipped(crop) == 0
    crop[:28], crop[-28:] = 0, 255
    assert clipped(crop) == pytest.approx(0.5)
