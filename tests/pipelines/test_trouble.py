"""What people really have: the shared cases of trouble, and their kind. Each file is a photograph or is told."""

import csv
import io
import json
import shutil
import unicodedata
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.sources import find_sources
from anchorface.pipelines.sources.sidecars import normal, said_rows
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import DataError, StorageError
from anchorface.records.seeds import rng
from anchorface.records.storage import list_files, read_table


@pytest.fixture
def trouble(shared_data: Path, tmp_path: Path):
    """Copies a case into a folder of its own."""

    def copied(case: str) -> Path:
        return Path(shutil.copytree(shared_data / "trouble" / case, tmp_path / "in" / case.rpartition("/")[2]))

    return copied


def curated(source: Path, out: Path) -> tuple[dict[str, dict], dict[str, tuple[str, str]]]:
    """Photographs by their place (a film's by its file), and what was left out: place -> cause, detail."""
    ingest(str(source), str(out), concurrency=0)
    photos = [row for uri in list_files(f"{out}/photos") for row in read_table(uri).to_pylist()]
    start = len(str(source)) + 1
    return ({row["uri"][start:].partition("#t=")[0]: row for row in photos},
            {row["uri"][start:]: (row["cause"], row["detail"]) for row in dropped(str(out)).to_pylist()})


def photo(path: Path, number: int = 0, exif: Image.Exif | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng(number, "trouble").integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", **({"exif": exif} if exif else {}))


def test_every_known_ending_is_a_photograph_or_has_a_row(trouble, tmp_path):
    photos, rows = curated(trouble("curate_unknown_formats_silent/unknown"), tmp_path / "out")
    assert photos.keys() == {"known.jpg", "camcorder.mts", "old.flv", "old.wmv"} - rows.keys()
    assert "camcorder.mts" in photos
    causes = {place: cause for place, (cause, _) in rows.items()}
    assert causes | {"old.flv": "", "old.wmv": ""} == {
        "naked.jxl": "format not read", "phone.jxl": "format not read", "old.tga": "format not read",
        "work.psd": "format not read", "raw.cr3": "raw", "raw.raf": "raw", "old.flv": "", "old.wmv": "",
    }
    assert "JPEG XL" in rows["phone.jxl"][1]


def test_a_raw_photograph_is_not_read_as_its_thumbnail(trouble, tmp_path):
    photos, rows = curated(trouble("curate_dng_thumbnail"), tmp_path / "out")
    assert not photos and rows["IMG_0042.DNG"][0] == "raw"


def test_trash_and_thumbnails_are_passed_over_with_a_row_for_each_folder(trouble, tmp_path):
    photos, rows = curated(trouble("curate_nas_trash/nas"), tmp_path / "out")
    assert photos.keys() == {"2019/IMG_0.jpg", "2019/IMG_1.jpg", "2019/IMG_2.jpg"}
    assert {place: cause for place, (cause, _) in rows.items()} == {
        "2019/@eaDir": "thumbnails", ".thumbnails": "thumbnails", "#recycle": "recycle bin",
        ".Trash-1000": "recycle bin", "": "other files",
    }
    assert rows[""][1].startswith("3 that are no photographs")
    alone, _ = curated(tmp_path / "in" / "nas" / ".thumbnails", tmp_path / "alone")
    assert alone.keys() == {"1234.jpg"}, "a folder that is named as the source is meant"


@pytest.mark.parametrize(("case", "said"), [
    ("utf16", {"one.jpg": "carl"}), ("semicolon", {"one.jpg": "anna", "two.jpg": "bert"}),
    ("capital", {"one.jpg": "ida"}), ("header", {"one.jpg": "hans"}),
])
def test_sidecars_are_read_as_people_write_them(trouble, tmp_path, case, said):
    photos, rows = curated(trouble(f"curate_sidecar_silent/{case}"), tmp_path / "out")
    assert {place: row["subject"] for place, row in photos.items()} == said and not rows


@pytest.mark.parametrize(("case", "said"), [
    ("nfd", {"Müller.jpg": "müller"}), ("windows", {"sub/one.jpg": "erik"}), ("latin1", {"José.jpg": "José"}),
    ("case", {"IMG_0001.JPG": "frida"}), ("absolute", {"one.jpg": "jane"}),
])
def test_names_in_sidecars_meet_their_files(trouble, tmp_path, case, said):
    source = trouble(f"curate_sidecar_names/{case}")
    if case == "absolute":
        (source / "metadata.csv").write_text(f"file,subject\n{source}/one.jpg,jane\n")
    photos, rows = curated(source, tmp_path / "out")
    found = {unicodedata.normalize("NFC", place): row["subject"] for place, row in photos.items()}
    assert found == said and not rows


def test_a_name_that_means_several_files_is_told_and_taken_for_none(tmp_path):
    for number, name in enumerate(("A.jpg", "a.jpg", "b.jpg")):
        photo(tmp_path / "in" / name, number)
    rows = [{"file": "a.JPG", "subject": "x"}, {"file": "a.jpg", "subject": "y"}, {"file": "../b.jpg", "subject": "z"}]
    (tmp_path / "in" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files, left_out = find_sources(str(tmp_path / "in"))
    assert {file.place: file.metadata.get("subject") for file in files} == {"A.jpg": None, "a.jpg": "y", "b.jpg": None}
    assert [row.cause for row in left_out] == ["listed but not there", "unreadable metadata"]
    assert "A.jpg, a.jpg" in left_out[0].detail and "leads out" in left_out[1].detail


def test_a_bad_field_costs_the_field_and_never_the_consent_beside_it(tmp_path):
    row = {"subject": "anna", "licence": "CC0", "birth_date": "last summer", "taken": "2099-01-01",
           "faces": [{"landmarks": [1, 2], "age": "old", "yaw": 3}, "no face"]}
    for number, (name, consent) in enumerate((("one.jpg", "signed"), ("two.jpg", "withdrawn"))):
        photo(tmp_path / "in" / name, number)
        with (tmp_path / "in" / "metadata.jsonl").open("a") as lines:
            lines.write(json.dumps(row | {"file": name, "consent": consent}) + "\n")
    photos, rows = curated(tmp_path / "in", tmp_path / "out")
    assert rows["two.jpg"][0] == "consent withdrawn" and "two.jpg" not in photos
    assert (photos["one.jpg"]["consent"], photos["one.jpg"]["subject"]) == ("signed", "anna")
    assert photos["one.jpg"]["licence"] == "CC0" and photos["one.jpg"]["given_faces"][0]["yaw"] == 3
    cause, detail = rows["metadata.jsonl"]
    assert cause == "unreadable metadata"
    for field in ("birth_date", "taken", "faces[0].landmarks", "faces[0].age", "faces[1]"):
        assert f"{field} is not read" in detail


def test_a_table_without_a_column_of_files_names_the_columns_it_has():
    ((number, error),) = said_rows("metadata.csv", io.BytesIO(b"who;when\nanna;2001\n"))
    assert number == -1 and isinstance(error, ValueError) and str(error).endswith("columns: who, when")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_usual_form_of_a_table_says_the_same(separator, encoding, end):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerows([["File Name", "Person", "Date-of-Birth", "License", "Age"],
                      ["Josés, 1.jpg", "a;b|c", "1950", "n/a", "33,5"]])
    ((_, row),) = said_rows("Metadata.CSV", io.BytesIO(text.getvalue().encode(encoding)))
    says, problems = normal(row)
    assert row["file"] == "Josés, 1.jpg" and not problems
    assert says == {"subject": "a;b|c", "birth_date": "1950-07-15", "faces": [{"age": 33.5}]}


def test_a_line_without_end_is_told_and_holds_no_memory():
    for name in ("metadata.csv", "metadata.jsonl"):
        rows = list(said_rows(name, io.BytesIO(b'file,subject\n"' + (b"%63s\n" % b"a,") * 2**16 + bytes(2**22))))
        assert len(rows) < 2**16 + 3 and any("more than" in str(row) or "field" in str(row) for _, row in rows)


def test_a_clock_that_was_never_set_says_nothing_and_splits_no_person(trouble, tmp_path):
    photos, rows = curated(trouble("curate_camera_clock/clock"), tmp_path / "out")
    taken = {place[:2]: row["taken"] for place, row in photos.items() if place.startswith("c")}
    unknown = dict.fromkeys(("c1", "c2", "c3", "c4"))
    assert taken == {"c0": date(2012, 5, 6), "c5": date(2007, 2, 19), **unknown} and not rows


def test_the_second_exif_date_is_tried_and_a_date_before_birth_is_doubted(tmp_path):
    for number, (first, second) in enumerate((
        ("2012:05:06 10:00:00", "2013:01:01 00:00:00"), ("1980:01:01 00:00:00", "2013:02:03 00:00:00"),
        ("", "2013-02-03 00:00:00"), ("garbage", "1904:01:01 00:00:00"), ("1950:02:03 00:00:00", ""),
    )):
        exif = Image.Exif()
        exif[0x8769] = {tag: text for tag, text in ((0x9003, first), (0x9004, second)) if text}
        photo(tmp_path / "in" / f"{number}.jpg", number, exif)
    rows = [{"file": f"{number}.jpg", "birth_date": "1960-03-01"} for number in range(5)]
    (tmp_path / "in" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    photos, told = curated(tmp_path / "in", tmp_path / "out")
    assert [photos[f"{number}.jpg"]["taken"] for number in range(5)] == [
        date(2012, 5, 6), date(2013, 2, 3), date(2013, 2, 3), None, None,
    ]
    assert told == {"4.jpg": ("date before birth", "taken 1950-02-03, born 1960-03-01: the date taken is left unknown")}


def test_dates_that_sidecars_say_are_doubted_alike():
    tomorrow = (date.today() + timedelta(days=400)).isoformat()
    for when in ("1970-01-01", "1904-01-01", "0001-01-01", "1799-05-05", tomorrow):
        says, (problem,) = normal({"taken": when, "consent": "granted"})
        assert says == {"consent": "granted"} and problem.startswith("taken is not read")
    assert normal({"taken": "1970:01:02 10:00:00", "birth_date": "1970-01-01"}) == (
        {"taken": "1970-01-02", "birth_date": "1970-01-01"}, ())
    assert normal({"birth_date": tomorrow})[0] == {}


def test_brackets_in_a_path_are_brackets(tmp_path):
    photo(tmp_path / "holiday [backup]" / "one.jpg", 1)
    photo(tmp_path / "holiday [backup]" / "deep [2]" / "two*.jpg", 2)
    photo(tmp_path / "elsewhere" / "three.jpg", 3)
    (tmp_path / "elsewhere" / "broken.jpg").symlink_to("nothing.jpg")
    named = str(tmp_path / "holiday [backup]")
    assert [file.place for file in find_sources(named)[0]] == ["deep [2]/two*.jpg", "one.jpg"]
    assert [file.place for file in find_sources(f"{named}/*.jpg")[0]] == ["one.jpg"]
    assert [file.place for file in find_sources(f"{named}/**/t*.jpg")[0]] == ["deep [2]/two*.jpg"]
    with pytest.raises(DataError, match="no such folder or file, and as a pattern it matches no photograph"):
        find_sources(str(tmp_path / "holidays [backup]"))
    with pytest.raises(StorageError, match="nor a folder"):
        find_sources(str(tmp_path / "nowhere" / "[a]" / "*.jpg"))


def test_a_pattern_opens_only_folders_that_can_lead_to_a_match(tmp_path):
    photo(tmp_path / "a" / "one.jpg", 1)
    photo(tmp_path / "b" / "deep" / "two.jpg", 2)
    closed = tmp_path / "b" / "deep" / "closed"
    closed.mkdir()
    (tmp_path / "b" / "deep" / "broken.jpg").symlink_to("nothing.jpg")
    rows = [{"file": "a/one.jpg", "subject": "x"}, {"file": "b/deep/two.jpg", "subject": "y"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files, left_out = find_sources(f"{tmp_path}/[a-c]/*.jpg")
    assert [(file.place, file.metadata["subject"]) for file in files] == [("a/one.jpg", "x")] and not left_out
