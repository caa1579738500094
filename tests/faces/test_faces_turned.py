"""Faces that do not stand in the middle: turned, filling the frame, with landmarks that cannot be theirs."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anchorface.faces.detect import Detection, Detector, _fits
from anchorface.faces.images import read_photo

Portrait = tuple[NDArray[np.uint8], Detection]


@pytest.fixture(scope="module")
def portraits(shared_data: Path, detector: Detector) -> list[Portrait]:
    """One photograph of each of eleven people, and its best face."""
    folder = shared_data / "photos" / "people"
    with open(folder / "index.csv", encoding="utf-8") as file:
        first = {row["person"]: row["file"] for row in reversed(list(csv.DictReader(file))) if row["points"]}
    images = [read_photo(str(folder / first[person]))[0] for person in sorted(first)[::2]]
    return [(image, faces[0]) for image, faces in zip(images, detector.detect(images), strict=True)]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_photograph_shows_the_same_face(portraits: list[Portrait], detector: Detector, turns: int) -> None:
    found = detector.detect([np.ascontiguousarray(np.rot90(image, turns)) for image, _ in portraits])
    right = 0
    for (image, face), faces in zip(portraits, found, strict=True):
        points, (height, width) = face.landmarks, image.shape[:2]
        for _ in range(turns):
            points, height, width = np.stack([points[:, 1], width - 1 - points[:, 0]], axis=1), width, height
        eyes = max(30.0, float(np.linalg.norm(points[0] - points[1])))
        right += bool(faces) and float(np.abs(faces[0].landmarks - points).max()) < 0.25 * eyes
        assert all(_fits(one) for one in faces)
    assert right >= len(portraits) - 1


def test_a_face_that_fills_the_frame_is_found(
    portraits: list[Portrait], detector: Detector, shared_data: Path
) -> None:
    image, _ = read_photo(str(shared_data / "trouble" / "curate_close_up" / "close_up.jpg"))
    assert len(detector.detect([image])[0]) == 1
    closer = []
    for image, face in portraits:
        x0, y0, x1, y1 = (round(max(0.0, value)) for value in face.box)
        closer.append(np.ascontiguousarray(image[y0:y1, x0:x1]))
    found = detector.detect(closer)
    assert sum(len(faces) == 1 for faces in found) == len(portraits)


def test_landmarks_that_do_not_fit_their_box_are_no_face(portraits: list[Portrait]) -> None:
    _, face = portraits[0]
    assert _fits(face)
    middle = face.landmarks.mean(axis=0)
    for points in (middle + 3 * (face.landmarks - middle), middle + 0.3 * (face.landmarks - middle),
                   face.landmarks + 200, np.repeat(middle[None], 5, axis=0), face.landmarks[[4, 3, 2, 0, 1]] * [2, 1]):
        assert not _fits(Detection(box=face.box, landmarks=points, score=0.9))


def test_a_picture_without_a_face_has_none_however_it_is_turned(detector: Detector) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    waves = np.repeat((127 + 120 * np.sin(np.mgrid[0:200, 0:300].sum(axis=0) / 9))[..., None], 3, axis=2)
    flat = np.full((200, 300, 3), 90, np.uint8)
    assert detector.detect([noise, waves.astype(np.uint8), flat]) == [[], [], []]
