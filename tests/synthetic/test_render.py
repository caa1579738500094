"""Promises about a synthetic photograph: bytes, landmarks, signs of the angles, identity."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from anchorface.synthetic import State, draw_state, group_photo, identity, render, sheet

ROOT = Path(__file__).parents[2]
PLAIN = State(age=30.0, ambient=0.9, background=5)
PRINT = """
import hashlib
from anchorface.synthetic import State, identity, render
print(hashlib.sha256(render(identity(11), State(yaw=25.0, smile=0.4, age=61.0), 96).image.tobytes()).hexdigest())
"""


@pytest.fixture(autouse=True)
def _one_thread():
    cv2.setNumThreads(1)


def _open_eyed(seed: int):
    """A person whose iris is bright green, so that it can be found in the picture; no hair may hang over it."""
    return replace(identity(seed), iris=(0.05, 0.75, 0.05), eye_open=0.09, hair_style="bald", beard_style="none",
                   eye_depth=0.05)  # fmt: skip


def test_same_arguments_give_the_same_bytes_in_another_process():
    here = render(identity(11), State(yaw=25.0, smile=0.4, age=61.0), 96).image
    there = subprocess.run([sys.executable, "-c", PRINT], cwd=ROOT, capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONHASHSEED": "77"})  # fmt: skip
    assert there.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()


@pytest.mark.parametrize("size", [64, 201, 256])
def test_shapes_and_types_are_as_promised(size):
    shot = render(identity(2), PLAIN, size)
    assert shot.image.shape == (size, size, 3)
    assert shot.image.dtype == np.uint8
    assert shot.landmarks.shape == (5, 2)
    assert shot.landmarks.dtype == np.float32
    assert shot.box.shape == (4,)
    assert (shot.age, shot.yaw) == (30.0, 0.0)


def test_a_picture_too_small_for_a_face_is_refused():
    with pytest.raises(ValueError, match="size"):
        render(identity(2), PLAIN, 8)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (22, 0, 0), (-22, 8, 0), (0, -12, 14), (15, 12, -18)])
def test_eye_landmarks_lie_on_the_irises_to_a_pixel(yaw, pitch, roll):
    """The green irises are found by colour and their centres compared with the stated eyes."""
    for seed in (1, 9):
        head = _open_eyed(seed)
        shot = render(head, replace(PLAIN, yaw=yaw, pitch=pitch, roll=roll, brow_raise=1.0), 256)
        image = shot.image.astype(np.float32)
        green = (image[..., 1] > 1.5 * image[..., 0]) & (image[..., 1] > 1.5 * image[..., 2])
        for eye in shot.landmarks[:2]:
            rows, columns = np.mgrid[0:256, 0:256] + 0.5
            near = green & (np.hypot(columns - eye[0], rows - eye[1]) < 10)
            assert near.sum() > 8
            middle = np.array([columns[near].mean(), 0.5 * (rows[near].min() + rows[near].max())])
            # the upper lid hides a part of the iris, so the height is looser than the width
            assert abs(middle[0] - eye[0]) < 1.0
            assert abs(middle[1] - eye[1]) < 2.0


def _moved(change: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    head = identity(5)
    return render(head, PLAIN, 128).landmarks, render(head, replace(PLAIN, **change), 128).landmarks


def test_positive_yaw_points_the_nose_to_the_right_of_the_picture():
    before, after = _moved({"yaw": 30.0})
    assert after[2, 0] - after[:2, 0].mean() > before[2, 0] - before[:2, 0].mean() + 5


def test_positive_pitch_looks_up():
    before, after = _moved({"pitch": 20.0})
    assert after[2, 1] - after[:2, 1].mean() < before[2, 1] - before[:2, 1].mean() - 3


def test_positive_roll_is_clockwise():
    _, after = _moved({"roll": 20.0})
    slope = np.degrees(np.arctan2(after[1, 1] - after[0, 1], after[1, 0] - after[0, 0]))
    assert slope == pytest.approx(20.0, abs=0.5)


def test_a_smile_moves_the_mouth_corners_out_and_up():
    before, after = _moved({"smile": 1.0})
    assert after[4, 0] - after[3, 0] > 1.1 * (before[4, 0] - before[3, 0])
    assert after[3, 1] < before[3, 1]


def test_landmarks_scale_with_the_picture():
    head = identity(21)
    state = replace(PLAIN, yaw=-20.0, pitch=5.0)
    small, large = render(head, state, 128).landmarks, render(head, state, 384).landmarks
    assert np.abs(large / 3.0 - small).max() < 0.35


def test_the_box_holds_the_landmarks_and_most_of_the_picture_height():
    for seed in range(4):
        shot = render(identity(seed), PLAIN, 128)
        assert (shot.landmarks >= shot.box[:2]).all()
        assert (shot.landmarks <= shot.box[2:]).all()
        assert 0.40 < (shot.box[3] - shot.box[1]) / 128 < 0.68


def test_age_whitens_the_hair_in_the_picture():
    head = replace(identity(4), hair_style="short", hair_colour=(0.17, 0.11, 0.08), recession=0.0, grey_age=50.0)
    young, aged = (render(head, replace(PLAIN, age=age), 128) for age in (20.0, 84.0))
    top = slice(int(young.box[1]) - 14, int(young.box[1]) - 6)
    assert aged.image[top, 54:74].mean() > young.image[top, 54:74].mean() + 50


def _aligned(shot) -> np.ndarray:
    """Eyes and mouth at fixed places, 24 by 24 pixels, mean brightness removed."""
    target = np.array([(8, 9), (16, 9), (12, 18)], np.float32)
    source = np.stack([shot.landmarks[0], shot.landmarks[1], shot.landmarks[3:].mean(axis=0)])
    warp = cv2.getAffineTransform(source.astype(np.float32), target)
    crop = cv2.warpAffine(cv2.GaussianBlur(shot.image, (0, 0), 2.0), warp, (24, 24)).astype(np.float32)
    return crop / crop.mean()


def test_people_differ_more_than_their_photographs_do():
    rng = np.random.default_rng(3)
    crops = []
    for seed in range(8):
        states = [draw_state(rng, age) for age in (30.0, 36.0, 42.0)]
        states = [replace(s, yaw=0.3 * s.yaw, glasses=False, ambient=0.8, mouth_open=0.0) for s in states]
        crops.append([_aligned(render(identity(seed), state, 96)) for state in states])
    crops = np.array(crops)
    within = np.abs(crops[:, 0] - crops[:, 1]).mean()
    between = np.mean([np.abs(crops[i, 0] - crops[j, 1]).mean() for i in range(8) for j in range(8) if i != j])
    assert between > 1.25 * within


def test_several_people_stand_in_one_photograph():
    people = [(identity(k), replace(PLAIN, yaw=10.0 * k, age=30.0 + k)) for k in range(3)]
    shot = group_photo(people, 96)
    assert shot.image.shape[0] == 96
    assert shot.image.shape[1] > 2 * 96
    assert shot.landmarks.shape == (3, 5, 2)
    assert shot.boxes.shape == (3, 4)
    assert shot.age == (30.0, 31.0, 32.0)
    assert (np.diff(shot.boxes[:, 0]) > 40).all()
    # the skin at each nose is that person's own
    for (head, _), points in zip(people, shot.landmarks, strict=True):
        x, y = points[2].astype(int)
        assert shot.image[y, x].argmax() == np.argmax(head.skin)


def test_a_group_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        group_photo([], 64)


def test_a_sheet_has_a_row_per_person_and_a_column_per_state():
    assert sheet([identity(1), identity(2)], [PLAIN, replace(PLAIN, yaw=30.0), PLAIN], 48).shape == (96, 144, 3)
