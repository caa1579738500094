from pathlib import Path

import cv2
import numpy as np
import pytest

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.detect import Detection, Detector
from anchorface.faces.embed import embedder
from anchorface.faces.pose import pose_from_landmarks
from anchorface.records.errors import ConfigurationError, WeightsError
from anchorface.records.seeds import rng


def test_clean_portraits_give_a_face_with_landmarks_near_the_index(people, found: list[list[Detection]]) -> None:
    near = 0
    for portrait, faces in zip(people, found, strict=True):
        between_eyes = np.hypot(*(portrait.landmarks[1] - portrait.landmarks[0]))
        distances = [np.abs(face.landmarks - portrait.landmarks).max() / between_eyes for face in faces]
        near += bool(distances) and min(distances) < 0.15
    assert near >= 0.95 * len(people)


def test_a_batch_finds_what_single_photographs_find(people, detector: Detector, found: list[list[Detection]]) -> None:
    for number in (0, 5, 11):
        (alone,) = detector.detect([people[number].pixels])
        assert len(alone) == len(found[number])
        for one, other in zip(alone, found[number], strict=True):
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
            assert one.score == other.score and one.box == other.box


def test_two_people_in_one_photograph_are_two_faces_and_nobody_is_none(people, found, detector: Detector) -> None:
    upright = [p.pixels for p, faces in zip(people, found, strict=True) if len(faces) == 1]
    left, right = (cv2.resize(pixels, (300, 300)) for pixels in (upright[2], upright[-2]))
    noise = rng(3, "noise").integers(0, 256, (300, 300, 3), dtype=np.uint8)
    one, other, both, nobody, flat = detector.detect(
        [left, right, np.hstack([left, right]), noise, np.full((200, 300, 3), 90, np.uint8)]
    )
    assert len(one) == len(other) == 1
    assert len(both) == 2
    assert nobody == flat == []


def test_a_face_that_fills_the_picture_is_found(people, detector: Detector) -> None:
    portrait = max(people, key=lambda p: np.ptp(p.landmarks, axis=0).max() / max(p.pixels.shape))
    (faces,) = detector.detect([portrait.pixels])
    assert faces and faces[0].score > 0.5


def test_faces_that_fill_pictures_of_any_size_are_found_beside_small_ones(people, detector: Detector) -> None:
    portrait = next(p for p in people if abs(float(p.row["yaw"])) < 10)
    middle, half = portrait.landmarks.mean(axis=0), 0.52 * float(portrait.row["face_h"])
    (x0, y0), (x1, y1) = np.maximum((middle - half).astype(int), 0), (middle + half).astype(int)
    close = portrait.pixels[y0:y1, x0:x1]
    sizes = (100, 320, 352, 400, 512, 640, 1200)
    pictures = [cv2.resize(close, (size, size), interpolation=cv2.INTER_CUBIC) for size in sizes]
    for size, faces in zip(sizes, detector.detect(pictures), strict=True):
        centres = [face.landmarks.mean(axis=0) / size for face in faces]
        assert any(np.abs(centre - 0.5).max() < 0.1 for centre in centres), size
    small = np.pad(cv2.resize(portrait.pixels, (120, 120)), ((0, 280), (0, 0), (0, 0)))
    row = np.hstack([pictures[3], small])
    (both,) = detector.detect([row])
    assert len(both) == 2


def test_a_detector_of_another_size_or_kind_is_refused(shared_data: Path) -> None:
    with pytest.raises(ConfigurationError, match="32"):
        Detector("scrfd_2.5g_kps", size=600)
    with pytest.raises(WeightsError, match="not an SCRFD"):
        Detector(shared_data / "models" / "mobileface_mit_112.onnx")


def test_yaw_from_landmarks_agrees_with_the_estimates_of_a_network(people) -> None:
    # The index's yaw (a pose network's) is positive to the left of the picture, ours to the right.
    ours = np.array([pose_from_landmarks(p.landmarks, *p.pixels.shape[1::-1]) for p in people])
    yaw, pitch = (np.array([float(p.row[name]) for p in people]) for name in ("yaw", "pitch"))
    assert np.corrcoef(ours[:, 0], -yaw)[0, 1] > 0.95
    assert 0.8 < np.polyfit(-yaw, ours[:, 0], 1)[0] < 1.2
    assert np.corrcoef(ours[:, 1], pitch)[0, 1] > 0.6


def auc(same: np.ndarray, different: np.ndarray) -> float:
    return float((same[:, None] > different).mean())


def test_detect_align_embed_tells_persons_apart_ten_years_later(congress, detector: Detector) -> None:
    faces = detector.detect([portrait.pixels for portrait in congress])
    crops = np.stack([
        warp(portrait.pixels, arcface_matrix(found[0].landmarks), 112)
        for portrait, found in zip(congress, faces, strict=True)
    ])
    person = np.array([portrait.row["person"] for portrait in congress])
    pairs = np.triu_indices(len(person), 1)
    same = (person[:, None] == person)[pairs]
    # The second network is the weaker one: 0.988 here, also with the index's own landmarks.
    for name, least in (("mobilefacenet_y1_ms1m_112", 0.99), ("mobileface_mit_112", 0.97)):
        unit, norm = embedder(name).embed(crops)
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
        assert (norm > 1).all()
        cosine = (unit @ unit.T)[pairs]
        assert auc(cosine[same], cosine[~same]) >= least


@pytest.mark.parametrize("name", ["mobilefacenet_y1_ms1m_112", "mobileface_mit_112"])
def test_a_batch_never_changes_an_embedding(name: str, congress) -> None:
    crops = np.stack([warp(p.pixels, arcface_matrix(p.landmarks), 112) for p in congress[:8]])
    network = embedder(name)
    together, lengths = network.embed(crops)
    for number in (0, 3, 7):
        alone, length = network.embed(crops[number : number + 1])
        np.testing.assert_allclose(alone[0], together[number], atol=1e-5)
        assert length[0] == pytest.approx(lengths[number], rel=1e-4)
