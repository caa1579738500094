"""Which photographs there are, and what sidecars say about them."""

import json
from datetime import date

import pytest

from anchorface.pipelines.sources import find_sources, parse_date


@pytest.fixture
def tree(tmp_path):
    for name in ("a/1.jpg", "a/2.JPG", "a/deep/3.png", "b/4.jpeg", "b/notes.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "a" / "metadata.jsonl").write_text(json.dumps({
        "file": "1.jpg", "subject": 7, "birth_date": "1980-02", "taken": 2001, "consent": "signed",
        "faces": [{"landmarks": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]], "age": 21.5, "yaw": -3}],
    }) + "\n")
    (tmp_path / "index.csv").write_text(
        "person,file,points,yaw,age,birth_date,year_taken,licence,source\n"
        "p1,b/4.jpeg,1 2 3 4 5 6 7 8 9 10,33,NA,1970-01-02,1999,CC BY 4.0,here\n"
        "p9,a/1.jpg,,,,,,CC0,there\n"
    )
    return tmp_path


def places(source):
    return [file.place for file in find_sources(str(source))[0]]


def test_folders_globs_and_single_files(tree):
    assert places(tree) == ["a/1.jpg", "a/2.JPG", "a/deep/3.png", "b/4.jpeg"]
    assert places(f"{tree}/*/*.jp*g") == ["a/1.jpg", "b/4.jpeg"]
    assert places(f"{tree}/**/*.png") == ["a/deep/3.png"]
    assert places(f"file://{tree}/a") == ["1.jpg", "2.JPG", "deep/3.png"]
    (one,) = find_sources(str(tree / "a" / "1.jpg"))[0]
    assert one.uri == str(tree / "a" / "1.jpg") and one.byte_size == 7


def test_the_nearer_sidecar_has_the_last_word(tree):
    said = {file.place: file.metadata for file in find_sources(str(tree))[0]}
    assert said["a/1.jpg"]["subject"] == "7" and said["a/1.jpg"]["licence"] == "CC0"
    assert said["a/1.jpg"]["taken"] == "2001-07-15" and said["a/1.jpg"]["birth_date"] == "1980-02-15"
    assert said["a/1.jpg"]["faces"][0]["yaw"] == -3.0
    assert said["b/4.jpeg"]["subject"] == "p1" and said["b/4.jpeg"]["taken"] == "1999-07-15"
    assert said["b/4.jpeg"]["faces"] == [{"landmarks": [float(n) for n in range(1, 11)]}]


def test_without_labels_who_and_where_are_not_read(tree):
    said = {file.place: file.metadata for file in find_sources(str(tree), labels=False)[0]}
    assert said["a/1.jpg"]["faces"] == [{"age": 21.5}] and said["a/1.jpg"]["consent"] == "signed"
    assert not any("subject" in metadata for metadata in said.values())
    assert said["b/4.jpeg"]["licence"] == "CC BY 4.0" and "faces" not in said["b/4.jpeg"]


def test_dates():
    assert parse_date("1999-12-31T10:00") == date(1999, 12, 31)
    assert parse_date(1999) == date(1999, 7, 15) and parse_date("") is None
    with pytest.raises(ValueError):
        parse_date("last summer")
