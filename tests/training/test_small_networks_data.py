"""What the carried networks learned from: held-out persons, invented persons, augmentation, synthetic folders."""

import csv
from pathlib import Path

import numpy as np
import pytest

from anchorface.records import DataError, rng
from anchorface.training.small_networks.augment import Augmentation, augmented, plain
from anchorface.training.small_networks.composites import invent
from anchorface.training.small_networks.corpus import (
    ADAFACE_IDENTITIES,
    HELD_OUT_IDENTITIES,
    JUDGE_IDENTITIES,
    read_corpus,
)
from anchorface.training.small_networks.people import SIDE, SOURCES, Faces, held_out, read_people, split

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/data")


def _faces(persons: int, seed: int = 0) -> Faces:
    g = rng(seed, "test faces")
    points = np.array([(62, 76), (114, 76), (88, 104), (68, 128), (108, 128)], np.float32)
    return Faces(
        g.integers(0, 256, (2 * persons, SIDE, SIDE, 3), dtype=np.uint8), np.repeat(points[None], 2 * persons, axis=0),
        np.repeat([f"p{k}" for k in range(persons)], 2), np.array(["early", "late"] * persons),
    )


@needs_photos
def test_a_quarter_of_the_real_persons_is_held_out_of_training() -> None:
    people = [row["person"] for source in SOURCES
              for row in csv.DictReader((PHOTOS / source / "index.csv").open(encoding="utf-8"))]
    share = np.mean([held_out(person) for person in set(people)])
    assert 0.2 < share < 0.3


@needs_photos
def test_held_out_persons_are_in_no_training_list_and_in_no_invented_person() -> None:
    learn, kept = split(read_people(PHOTOS, ("london",)))
    assert len(learn) + len(kept) == 204
    assert not set(learn.person) & set(kept.person)
    assert all(held_out(person) for person in kept.person) and not any(held_out(person) for person in learn.person)
    # an invented face's landmarks are a training person's own
    known = {points.tobytes() for points in learn.landmarks}
    assert all(points.tobytes() in known for points in invent(learn, 5, seed=1).landmarks)


def test_synthetic_identities_of_the_uses_do_not_overlap() -> None:
    ranges = [range(*ends) for ends in (ADAFACE_IDENTITIES, JUDGE_IDENTITIES, HELD_OUT_IDENTITIES)]
    numbers = [k for one in ranges for k in one]
    assert len(numbers) == len(set(numbers))


def test_invented_persons_have_four_pictures_and_depend_on_the_seed_alone() -> None:
    faces = _faces(6)
    first, again, other = invent(faces, 4, seed=2), invent(faces, 4, seed=2), invent(faces, 4, seed=3)
    assert len(first) == 16 and len(np.unique(first.person)) == 4
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


def test_augmentation_is_a_function_of_its_generator() -> None:
    faces = _faces(1)
    crops = [augmented(faces.images[0], faces.landmarks[0], Augmentation(), rng(1, "augment", k)) for k in (0, 0, 1)]
    assert crops[0].shape == (112, 112, 3) and crops[0].dtype == np.uint8
    assert np.array_equal(crops[0], crops[1]) and not np.array_equal(crops[0], crops[2])
    assert plain(faces.images[0], faces.landmarks[0]).shape == (112, 112, 3)


def test_a_missing_corpus_or_photo_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no synthetic identities 0 to 599"):
        read_corpus(tmp_path, ADAFACE_IDENTITIES)
    with pytest.raises(DataError, match=r"index\.csv"):
        read_people(tmp_path)
