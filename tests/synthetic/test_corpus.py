"""Promises about albums and the corpus on disk."""

import hashlib
import json
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest

from anchorface import synthetic
from anchorface.synthetic import album, seed_of, write_corpus


def _prints(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_one_and_two_workers_write_the_same_files(tmp_path):
    counts = [
        write_corpus(tmp_path / str(workers), 2, 2, seed=5, size=64, group_photos=1, workers=workers)
        for workers in (1, 2)
    ]
    assert counts == [5, 5]
    assert _prints(tmp_path / "1") == _prints(tmp_path / "2")


def test_a_person_does_not_depend_on_how_many_others_there_are(tmp_path):
    write_corpus(tmp_path / "many", 3, 1, seed=5, size=64)
    write_corpus(tmp_path / "one", 1, 1, seed=5, size=64, first_identity=2)
    name = "s000002/000.jpg"
    assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_every_row_names_a_readable_picture_with_its_faces(tmp_path):
    write_corpus(tmp_path, 4, 1, seed=8, size=64, group_photos=2)
    rows = _rows(tmp_path)
    assert [row["subject"] for row in rows] == ["s000000", "s000001", "s000002", "s000003", None, None]
    for row in rows:
        picture = cv2.imread(str(tmp_path / row["file"]))
        assert picture.shape[0] == 64
        assert (row["licence"], row["consent"], row["source"]) == ("CC0-1.0", "synthetic", "anchorface synthetic")
        for face in row["faces"]:
            assert np.array(face["landmarks"]).shape == (5, 2)
            assert len(face["box"]) == 4
        if row["subject"]:
            years = (date.fromisoformat(row["taken"]) - date.fromisoformat(row["birth_date"])).days / 365.25
            assert row["faces"][0]["age"] == pytest.approx(years, abs=0.002)
            assert row["faces"][0]["subject"] == row["subject"]


def test_a_group_photograph_holds_different_people(tmp_path):
    write_corpus(tmp_path, 6, 0, seed=2, size=64, group_photos=2)
    for row in _rows(tmp_path):
        names = [face["subject"] for face in row["faces"]]
        assert len(set(names)) == len(names)
    assert max(len(row["faces"]) for row in _rows(tmp_path)) >= 2


def test_seeds_of_different_corpora_and_people_differ():
    assert len({seed_of(s, k) for s in range(5) for k in range(50)}) == 250


def test_an_album_spans_many_years_in_order():
    spans = []
    for seed in range(20):
        photos = list(album(seed, 12))
        taken = [photo.taken for photo in photos]
        assert taken == sorted(taken)
        assert len({photo.born for photo in photos}) == 1
        assert taken[-1] <= date(2026, 1, 1)
        assert all(18 <= photo.state.age <= 85 for photo in photos)
        spans.append(photos[-1].state.age - photos[0].state.age)
    assert np.median(spans) > 18


def test_a_corpus_of_nobody_is_refused(tmp_path):
    with pytest.raises(ValueError, match="identities"):
        write_corpus(tmp_path, 0, 1, seed=1)


def test_public_names_are_exactly_the_promised_ones():
    assert set(synthetic.__all__) == {
        "Frame", "Head", "Person", "Rendered", "State", "album", "draw_state", "film", "group_photo", "identity",
        "motion", "render", "seed_of", "sheet", "write_corpus", "write_films",
    }  # fmt: skip
