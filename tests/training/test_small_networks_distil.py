"""Distillation: invented pictures, teachers and their cache, the parts of the loss, and a run over several sittings."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anchorface.faces.align import arcface_matrix
from anchorface.records import DataError, WeightsError, rng
from anchorface.training.small_networks import teachers
from anchorface.training.small_networks.augment import PROFILES, SINGLE, damaged
from anchorface.training.small_networks.distil import (
    Batch,
    Chooser,
    DistilRecipe,
    Student,
    centred,
    correlation,
    parts_of,
    train,
)
from anchorface.training.small_networks.people import SIDE, Faces
from anchorface.training.small_networks.run import Budget
from anchorface.training.small_networks.teachers import BLOCK, TEACHERS, Pictures, Teachers, make_block, read_pictures
from anchorface.training.small_networks.variety import BORDER, PICTURE, VIEWS, Head, Inventor, Variety, photographed

POINTS = np.array([(68, 76), (108, 76), (88, 100), (72, 122), (104, 122)], np.float32)


def _faces(persons: int, seed: int = 0) -> Faces:
    g = rng(seed, "distil test faces")
    images = [cv2.GaussianBlur(g.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), (0, 0), 5)
              for _ in range(2 * persons)]
    return Faces(np.stack(images), np.repeat(POINTS[None], 2 * persons, axis=0),
                 np.repeat([f"p{k}" for k in range(persons)], 2), np.array(["early", "late"] * persons))


def _pictures(count: int = 40) -> Pictures:
    """Pictures with codes that are random, but one for each person."""
    inventor, g = Inventor(_faces(6), Variety(own=0.4)), rng(4, "codes")
    drawn = [inventor.picture(number) for number in range(count)]
    images = np.zeros((BLOCK, PICTURE, PICTURE, 3), np.uint8)
    images[:count] = [picture.image for picture in drawn]
    codes = {name: np.repeat(g.standard_normal((count // VIEWS, size), np.float32), VIEWS, axis=0)
             for name, size in TEACHERS.items()}
    return Pictures((images,), np.stack([picture.landmarks for picture in drawn]),
                    np.array([picture.person for picture in drawn]), codes)


RECIPE = DistilRecipe(architecture="small", batch=9, own=2, synthetic=3, budget=Budget(steps=3, minutes=1e6))


def test_a_picture_depends_on_its_number_alone_and_its_views_share_a_person() -> None:
    inventor, again = Inventor(_faces(6), Variety()), Inventor(_faces(6), Variety())
    for number in (0, 5, 9):
        one, two = inventor.picture(number), again.picture(number)
        assert np.array_equal(one.image, two.image) and one.person == two.person
        assert one.image.shape == (PICTURE, PICTURE, 3)
    views = [inventor.picture(VIEWS + view) for view in range(VIEWS)]
    assert len({view.person for view in views}) == 1
    assert not np.array_equal(views[0].image, views[1].image)
    persons = {inventor.picture(VIEWS * k).person for k in range(50)}
    assert 0 < len([person for person in persons if not person.startswith("invented")]) <= 6


def test_a_face_at_rest_is_the_aligned_photograph_and_its_landmarks_follow_a_turn() -> None:
    image = _faces(1).images[0]
    still, points = photographed(image, POINTS, np.zeros((6, 6, 2)), np.zeros(2), np.zeros(2))
    matrix = arcface_matrix(POINTS)
    matrix[:, 2] += BORDER
    plain = cv2.warpAffine(image, matrix, (PICTURE, PICTURE), borderMode=cv2.BORDER_REFLECT_101)
    assert np.abs(still.astype(int) - plain)[8:-8, 8:-8].mean() < 1.0
    assert np.allclose(arcface_matrix(points), [[1, 0, -BORDER], [0, 1, -BORDER]], atol=1e-3)
    head, turn = Head(POINTS), np.radians([25.0, -8.0])
    there = head.turned(POINTS.astype(float), turn)
    assert np.abs(head.turned_back(there, turn) - POINTS).max() < 1.0
    assert there[2, 0] - there[:2, 0].mean() > 5.0, "the nose stands out, so it moves past the eyes"


def test_damage_of_every_kind_is_a_function_of_its_generator() -> None:
    crop = cv2.resize(_faces(1).images[0], (112, 112))
    losses = []
    for k in range(60):
        worse, again = damaged(crop, rng(1, "damage", k)), damaged(crop, rng(1, "damage", k))
        assert worse.shape == crop.shape and worse.dtype == np.uint8 and np.array_equal(worse, again)
        losses.append(float(np.abs(worse.astype(int) - crop).mean()))
    assert min(losses) < 3.0 < 15.0 < max(losses)
    assert len(PROFILES) + len(SINGLE) == 10


def test_a_missing_or_wrong_teacher_says_so_and_how_to_get_it(tmp_path: Path) -> None:
    for named in (None, tmp_path / "dlib.dat"):
        with pytest.raises(WeightsError, match=r"not there; .*face-recognition-models==0\.3\.0"):
            Teachers(named)
    (tmp_path / "dlib.dat").write_bytes(b"another file")
    with pytest.raises(WeightsError, match=r"its SHA-256 is .* has 55533b28.*--dlib"):
        Teachers(tmp_path / "dlib.dat")


def _colours(images: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """A picture's mean colour as its code."""
    colour = images.mean((1, 2), dtype=np.float32)
    return {name: np.resize(colour, (len(images), size)) for name, size in TEACHERS.items()}


def test_blocks_of_pictures_are_made_once_and_checked_when_read(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "BLOCK", 8)
    inventor = Inventor(_faces(5), Variety())
    for block in (0, 1):
        make_block(inventor, _colours, tmp_path, block)
    first = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sorted(first) == ["00000.npy", "00000.npz", "00001.npy", "00001.npz"]
    make_block(inventor, _colours, tmp_path, 0)
    assert first == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    found = read_pictures(tmp_path, 16, Variety())
    assert len(found) == 16 and np.array_equal(found.image(11), inventor.picture(11).image)
    assert {name: code.shape for name, code in found.codes.items()} == {"dlib": (16, 128), "mobileface": (16, 256)}
    with pytest.raises(DataError, match=r"00002\.npz.*24 pictures are needed"):
        read_pictures(tmp_path, 24, Variety())
    with pytest.raises(DataError, match="made by other settings"):
        read_pictures(tmp_path, 16, Variety(yaw=3.0))


def test_a_batch_depends_on_its_step_alone_and_holds_pictures_then_synthetic_persons() -> None:
    chooser = Chooser(_pictures(), _faces(7, seed=2), RECIPE)
    one, again, other = chooser.batch(3), chooser.batch(3), chooser.batch(4)
    assert np.array_equal(one.crops, again.crops) and not np.array_equal(one.crops, other.crops)
    assert one.crops.shape == (18, 112, 112, 3) and len(one.numbers) == 6
    assert one.labels[0] == one.labels[1] >= 7, "two views of a training person"
    assert (one.labels[2:6] == -1).all() and (one.numbers[2:6:2] // VIEWS == one.numbers[3:6:2] // VIEWS).all()
    assert (one.labels[6:] >= 0).all() and (one.labels[6:] < 7).all()


def test_the_loss_has_its_parts_and_the_norm_is_ranked_by_correlation() -> None:
    torch.manual_seed(0)
    pictures = _pictures()
    chooser = Chooser(pictures, _faces(7, seed=2), RECIPE)
    student = Student(RECIPE, chooser.classes, tuple(TEACHERS.values())).train()
    batch = Batch(*(torch.from_numpy(part) for part in chooser.batch(0)))
    codes = tuple(centred(code)[batch.numbers] for code in pictures.codes.values())
    parts = parts_of(student, batch, codes, RECIPE, 0.0)
    assert set(parts) == {"likeness", "certainty", "relations", "quality", "identity"}
    assert all(torch.isfinite(value) and value > 0 for value in parts.values())
    late = parts_of(student, batch, codes, RECIPE, 0.9)
    assert late["identity"] > parts["identity"]
    quality = torch.tensor([1.0, 0.8, 0.3, 0.1])
    assert correlation(3 * quality + 5, quality) == pytest.approx(1.0)
    assert correlation(-quality, quality) == pytest.approx(-1.0)
    assert torch.isfinite(correlation(torch.ones(4), quality))


def test_centred_codes_are_unit_and_have_no_common_part() -> None:
    g = rng(6, "codes")
    codes = centred(g.standard_normal((400, 8)) + 5.0)
    assert torch.allclose(codes.norm(dim=1), torch.ones(400))
    assert codes.mean(0).norm() < 0.1


def test_a_run_in_many_sittings_ends_at_the_very_weights_of_one(tmp_path: Path) -> None:
    pictures, synthetic = _pictures(), _faces(7, seed=2)
    whole = train(RECIPE, pictures, synthetic, tmp_path / "whole").state_dict()
    short = replace(RECIPE, budget=replace(RECIPE.budget, sitting=0.0))
    for _ in range(RECIPE.budget.steps - 1):
        with pytest.raises(SystemExit) as ended:
            train(short, pictures, synthetic, tmp_path / "cut")
        assert ended.value.code == 0
    cut = train(short, pictures, synthetic, tmp_path / "cut").state_dict()
    for name, value in whole.items():
        assert torch.equal(value, cut[name]), name
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["adaface_small.state.pt"]
