"""Folders as people have them: references meant for one photograph, OUT among the photographs, any format and name."""

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from anchorface.degradation.files import Settings, degrade_files
from anchorface.faces.detect import Detector
from anchorface.faces.images import read_photo
from anchorface.records import ConfigurationError, StorageError, storage
from anchorface.restoration import Restorer, SamplerSettings, restore_folder
from anchorface.restoration.belonging import belonging
from anchorface.restoration.keeping import png_bytes
from tests.conftest import SHARED
from tests.restoration.micro import micro_checkpoint

QUICK = SamplerSettings(steps=1)
MODEL = SHARED / "models" / "scrfd_500m_kps.onnx"
FACE = SHARED / "trouble" / "restore_single_file" / "srgb.png"


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Restorer:
    folder, finder = micro_checkpoint(tmp_path_factory.mktemp("micro"))
    return Restorer(folder, weight_finder=finder)


def restored(restorer: Restorer, photos: Path, out: Path, references: Path | None = None, **options: object) -> Counter:
    return Counter(restore_folder(
        restorer, str(photos), str(out), detector=Detector(MODEL), settings=QUICK,
        references=None if references is None else str(references), **options))


def causes(out: Path) -> dict[str, str]:
    rows = storage.read_table(str(out / "dropped" / "restore.parquet")).to_pylist()
    return {row["uri"].rpartition("/")[2]: row["cause"] for row in rows}


def used(out: Path) -> dict[str, int]:
    return {row["photo"]: row["references"] for row in storage.read_table(str(out / "restored.parquet")).to_pylist()}


def save(path: Path) -> None:
    """A photograph of a face."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(FACE, path)


@pytest.mark.parametrize(("photos", "references", "own", "doubtful", "unused"), [
    (["a.jpg", "b.jpg"], ["a/1.jpg", "top.jpg"], {"a.jpg": ["a/1.jpg"], "b.jpg": ["top.jpg"]}, (), ()),
    (["anna/1.jpg", "bert/1.jpg"], ["1/x.jpg"], {}, ("anna/1.jpg", "bert/1.jpg"), ("1/x.jpg",)),
    (["anna/1.jpg"], ["1/x.jpg"], {}, ("anna/1.jpg",), ("1/x.jpg",)),
    (["anna/1.jpg", "bert/1.jpg"], ["anna/1/x.jpg", "bert/y.jpg"],
     {"anna/1.jpg": ["anna/1/x.jpg"], "bert/1.jpg": ["bert/y.jpg"]}, (), ()),
    (["a.jpg", "a.png"], ["a/x.jpg"], {}, ("a.jpg", "a.png"), ("a/x.jpg",)),
    (["a.jpg", "a.png"], ["a.jpg/x.jpg"], {"a.jpg": ["a.jpg/x.jpg"]}, (), ()),
    (["a.jpg", "a/b.jpg"], ["a/x.jpg", "t.jpg"], {}, ("a.jpg", "a/b.jpg"), ("a/x.jpg",)),
    (["1.jpg", "x/1.jpg"], ["1/r.jpg", "t.jpg"], {"1.jpg": ["1/r.jpg"], "x/1.jpg": ["t.jpg"]}, (), ()),
    (["a.jpg"], ["b/x.jpg"], {}, (), ("b/x.jpg",)),
    (["a.jpg"], ["a/deep/x.jpg"], {"a.jpg": ["a/deep/x.jpg"]}, (), ()),
    (["M\u00fcller.jpg"], ["Mu\u0308ller/x.jpg"], {"M\u00fcller.jpg": ["Mu\u0308ller/x.jpg"]}, (), ()),
])
def test_references_belong_where_they_are_meant_and_a_doubt_is_told(
    photos: list[str], references: list[str], own: dict, doubtful: tuple, unused: tuple
) -> None:
    found = belonging(photos, references)
    assert found.own == {photo: tuple(own.get(photo, ())) for photo in photos}
    assert tuple(found.doubtful) == doubtful and tuple(found.unused) == unused
    assert all("might be meant" in why for why in found.doubtful.values())


def test_nobody_is_restored_with_anothers_references(restorer: Restorer, tmp_path: Path) -> None:
    for name in ("photos/anna/1.png", "photos/bert/1.png", "photos/carl/2.png", "refs/1/r.png", "refs/carl/r.png"):
        save(tmp_path / name)
    lines: list[str] = []
    counts = restored(restorer, tmp_path / "photos", tmp_path / "out", tmp_path / "refs", progress=lines.append)
    assert counts == Counter({"photos": 3, "restored": 3})
    assert used(tmp_path / "out") == {"anna/1.png": 0, "bert/1.png": 0, "carl/2.png": 1}
    assert causes(tmp_path / "out") == {"1.png": "references not clear", "r.png": "reference: of no photograph"}
    assert sum("not clear" in line for line in lines) == 2


def test_out_among_the_photographs_is_never_a_source(restorer: Restorer, shared_data: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(shared_data / "trouble" / "restore_out_inside_photos" / "srgb.png", photos)
    os_link = tmp_path / "link"
    os_link.symlink_to(photos / "out")
    for out, before in ((photos / "out", 0), (photos / "out", 1), (os_link, 1)):
        counts = restored(restorer, photos, out)
        assert counts == Counter({"photos": 1, "restored": 1 - before, "done before": before})
    assert {path.name for path in (photos / "out").iterdir()} == {"srgb.png.png", "srgb.png.json", "restored.parquet",
                                                                  "dropped"}
    assert restored(restorer, photos, tmp_path)["restored"] == 1, "a folder above the photographs may be OUT"
    (tmp_path / "other").symlink_to(photos)
    for same in (photos, photos / ".", tmp_path / "other"):
        with pytest.raises(ConfigurationError, match="folder of the photographs"):
            restored(restorer, photos, same)
    with pytest.raises(ConfigurationError, match="folder of the sources"):
        degrade_files([str(photos)], str(photos), read=lambda uri: read_photo(uri)[0], settings=Settings())


def test_a_single_file_is_restored_and_is_a_reference(restorer: Restorer, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "trouble" / "restore_single_file"
    counts = restored(restorer, folder / "p3.png", tmp_path / "out", folder / "srgb.png")
    assert counts == Counter({"photos": 1, "restored": 1}) and used(tmp_path / "out") == {"p3.png": 1}
    assert (tmp_path / "out" / "p3.png.png").exists() and not list((tmp_path / "out").glob(".*"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        restored(restorer, folder, tmp_path / "file")


def test_phones_formats_are_restored_and_the_totals_count_what_was_there(
    restorer: Restorer, shared_data: Path, tmp_path: Path
) -> None:
    trouble = shared_data / "trouble" / "restore_heic_jfif_silent"
    photos = tmp_path / "photos"
    shutil.copytree(trouble, photos, ignore=shutil.ignore_patterns("srgb"))
    save(photos / "srgb.png")
    for name in ("notes.txt", "old.psd", "raw.cr2"):
        (photos / name).write_bytes(b"none")
    shutil.copytree(trouble / "srgb", tmp_path / "refs" / "srgb")
    counts = restored(restorer, photos, tmp_path / "out", tmp_path / "refs")
    there = sum(path.is_file() for path in photos.rglob("*"))
    assert counts == Counter({"photos": 3, "restored": 3, "left out": 3}) and there == 6
    assert used(tmp_path / "out") == {"phone.heic": 0, "phone2.JFIF": 0, "srgb.png": 1}
    assert causes(tmp_path / "out")["raw.cr2"] == "raw" and causes(tmp_path / "out")["old.psd"] == "format not read"


def test_any_name_is_restored_and_degraded_or_told_and_stops_nothing(
    restorer: Restorer, shared_data: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names"
    shutil.copytree(shared_data / "trouble" / "degrade_long_name_stops_all" / "names", names)
    pictures = [path for path in names.iterdir() if not path.name.startswith(".")]
    counts = degrade_files([str(names)], str(tmp_path / "worse"), read=lambda uri: read_photo(uri)[0],
                           settings=Settings(size=32), progress=print)
    assert counts["made"] == len(pictures) - 1
    assert "name too long" in (tmp_path / "worse" / "dropped.jsonl").read_text()
    lines: list[str] = []
    found = restored(restorer, names, tmp_path / "out", progress=lines.append)
    assert found["photos"] == found["restored"] + found["dropped"] and found["restored"] > 5
    assert found["photos"] + found["left out"] == len(list(names.iterdir()))
    assert "name too long" in causes(tmp_path / "out").values()
    assert not any("\n" in line for line in lines)


def test_what_is_restored_keeps_date_camera_and_dots_and_leaves_the_place(restorer: Restorer, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[Base.Orientation], exif[Base.Make], exif[Base.Model] = 6, "Maker", "Model"
    exif[Base.ImageDescription] = "x" * 5000
    exif.get_ifd(IFD.Exif).update({Base.DateTimeOriginal: "2011:05:06 07:08:09", Base.LensModel: "50 mm",
                                   Base.MakerNote: b"\x00" * 99, Base.FNumber: 2.8})
    exif.get_ifd(IFD.GPSInfo).update({GPS.GPSLatitudeRef: "N"})
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    with Image.open(FACE) as face:
        face.crop((0, 0, 256, 240)).rotate(90, expand=True).save(path, exif=exif, dpi=(300, 300))
    restored(restorer, path.parent, tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.jpg.png") as made:
        said = made.getexif()
        of_exposure = said.get_ifd(IFD.Exif)
        assert made.size == (256, 240) and made.mode == "RGB" and made.info["icc_profile"]
        assert said[Base.Orientation] == 1 and said[Base.Make] == "Maker" and said[Base.Model] == "Model"
        assert of_exposure[Base.DateTimeOriginal] == "2011:05:06 07:08:09" and of_exposure[Base.LensModel] == "50 mm"
        assert of_exposure[Base.FNumber] == pytest.approx(2.8) and of_exposure[Base.ColorSpace] == 1
        assert made.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert Base.ImageDescription not in said and Base.MakerNote not in of_exposure
        assert not said.get_ifd(IFD.GPSInfo)
    pixels, info = read_photo(str(tmp_path / "out" / "a.jpg.png"))
    assert str(info.taken) == "2011-05-06" and pixels.shape == (240, 256, 3)


@pytest.mark.parametrize("original", [b"", b"\xff\xd8\xff nonsense", b"\x89PNG\r\n\x1a\n"])
def test_an_original_that_says_nothing_costs_nothing(original: bytes) -> None:
    image = np.full((20, 30, 3), 77, np.uint8)
    made = png_bytes(image, original)
    assert made == png_bytes(image, original)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(made))), image)


def test_a_damaged_marker_is_no_end_and_its_photograph_is_restored_again(restorer: Restorer, tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.png")
    restored(restorer, tmp_path / "photos", tmp_path / "out")
    marker = tmp_path / "out" / "a.png.json"
    whole = marker.read_bytes()
    for damaged in (b"", b"[]", whole[:40], b'{"made_from": 3}', whole.replace(b'"face": 0', b'"face": "x"')):
        marker.write_bytes(damaged)
        assert restored(restorer, tmp_path / "photos", tmp_path / "out")["restored"] == 1
        assert marker.read_bytes() == whole
