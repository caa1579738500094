"""Known data sets, small ones made as they are published: who is on the pictures, and on which side they are."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.sources import LAYOUTS, find_layout, find_sources, published_splits
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import ConfigurationError, DataError
from anchorface.records.storage import list_files, read_table


def save(path, seed: int, side: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), seed, np.uint8)).save(path)


@pytest.fixture
def ffhq(tmp_path):
    """Six pictures of 64 px where the metadata counts in 1,024, with FFHQ-Ref's lists: 0, 1 and 1001 are one person."""
    root, about = tmp_path / "ffhq", {}
    points = [[100.0 + n, 200.0 + 2 * n] for n in range(68)]
    for number in (0, 1, 2, 3, 1000, 1001):
        place = f"{number // 1000 * 1000:05d}/{number:05d}.png"
        save(root / "images1024x1024" / place, number % 251, 64)
        save(root / "thumbnails128x128" / place, number % 251, 16)
        about[str(number)] = {
            "category": "training",
            "metadata": {"author": "Zoë", "photo_url": f"https://photos/{number}", "license": "Attribution License"},
            "image": {"file_path": f"images1024x1024/{place}", "pixel_size": [1024, 1024], "face_landmarks": points},
        }
    (root / "ffhq-dataset-v2.json").write_text(json.dumps(about))
    save(root / "test_images" / "severe_degrad" / "00002.png", 9)
    lists = root / "reference_mapping"
    lists.mkdir()
    rows = {"train": [("00000.png", ["00001.png", "01001.png"])], "val": [], "test": [("00002.png", ["00003.png"])]}
    for split, here in rows.items():
        with open(lists / f"{split}_references.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("gt_image", "ref_image"), *((gt, str(references)) for gt, references in here)])
    (root / "id_based_ffhq_split").mkdir()
    (root / "id_based_ffhq_split" / "val_image.txt").write_text("01000.png\n")
    (root / "id_based_ffhq_split" / "train_image.txt").write_text("00000.png\n00001.png\n01001.png\n")
    return root


def test_ffhq_is_known_by_its_files_and_says_who_where_and_under_which_licence(ffhq, tmp_path):
    assert find_layout(str(ffhq)).name == "ffhq" and find_layout(str(ffhq)).why == "ffhq-dataset-v2.json"
    out = str(tmp_path / "out")
    counts = ingest(str(ffhq), out, concurrency=0)
    assert counts["photos"] == 6 and counts["duplicates"] == 0
    rows = [row for uri in list_files(f"{out}/photos") for row in read_table(uri).to_pylist()]
    said = {row["uri"].rpartition("/")[2]: row for row in rows}
    assert {row["licence"] for row in rows} == {"Attribution License"}
    assert said["00001.png"]["source"] == "Zoë, https://photos/1"
    (face,) = said["00001.png"]["given_faces"]
    eye = ((100 + 38.5 + 0.5) / 16 - 0.5, (200 + 77 + 0.5) / 16 - 0.5)
    assert face["landmarks"][:2] == pytest.approx(eye, abs=1e-3)
    assert face["landmarks"][4:6] == pytest.approx((130.5 / 16 - 0.5, 260.5 / 16 - 0.5), abs=1e-3)
    beside = [row["uri"] for row in dropped(out).to_pylist() if row["cause"] == "beside the layout"]
    assert len(beside) == 7 == counts["dropped"]


def test_published_references_become_persons_and_sides(ffhq):
    subjects = {file.place.rpartition("/")[2]: file.metadata.get("subject") for file in find_sources(str(ffhq))[0]}
    assert subjects == {
        "00000.png": "ref-0", "00001.png": "ref-0", "01001.png": "ref-0", "00002.png": "ref-2", "00003.png": "ref-2",
        "01000.png": "ref-1000",
    }
    assert published_splits(str(ffhq)) == {"ref-0": "train", "ref-2": "test", "ref-1000": "val"}
    with open(ffhq / "reference_mapping" / "test_references.csv", "a") as file:
        file.write("01001.png,\"['00003.png']\"\n")
    with pytest.raises(DataError, match=r"ref-0 is in \w+ and, with picture .* no person may stand on two sides"):
        published_splits(str(ffhq))


def test_without_metadata_ffhq_is_known_by_its_folders(tmp_path):
    save(tmp_path / "00000" / "00007.png", 1)
    assert find_layout(str(tmp_path)).name == "ffhq"
    assert find_sources(str(tmp_path))[0][0].metadata == {}


def test_celeba_hq_says_who_is_on_a_picture_through_the_original_file(tmp_path):
    for number in range(3):
        save(tmp_path / "CelebAMask-HQ" / "CelebA-HQ-img" / f"{number}.jpg", number)
    save(tmp_path / "CelebAMask-HQ" / "CelebAMask-HQ-mask-anno" / "0" / "00000_hair.png", 1)
    lines = "idx  orig_idx  orig_file\n0  119613  119614.jpg\n1  99094  099095.jpg\n2  200121  200122.jpg\n"
    (tmp_path / "CelebAMask-HQ" / "CelebA-HQ-to-CelebA-mapping.txt").write_text(lines)
    (tmp_path / "identity_CelebA.txt").write_text("119614.jpg 2880\n099095.jpg 2880\n200122.jpg 17\n000001.jpg 5\n")
    (tmp_path / "list_eval_partition.txt").write_text("119614.jpg 0\n099095.jpg 0\n200122.jpg 2\n000001.jpg 1\n")
    files, left_out = find_sources(str(tmp_path))
    assert find_layout(str(tmp_path)).name == "celeba-hq"
    assert [(file.place[-5:], file.metadata["subject"]) for file in files] == [
        ("0.jpg", "celeba-2880"), ("1.jpg", "celeba-2880"), ("2.jpg", "celeba-17"),
    ]
    assert [row.cause for row in left_out] == ["beside the layout"]
    assert published_splits(str(tmp_path)) == {"celeba-2880": "train", "celeba-17": "test", "celeba-5": "val"}


def test_celeba_itself_is_known_by_its_identity_file(tmp_path):
    for number in (1, 2):
        save(tmp_path / "img_align_celeba" / f"{number:06d}.jpg", number)
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n")
    subjects = [file.metadata["subject"] for file in find_sources(str(tmp_path))[0]]
    assert subjects == ["celeba-2880", "celeba-2937"]
    assert all("subject" not in file.metadata for file in find_sources(str(tmp_path), labels=False)[0])


def test_vggface2_has_a_folder_for_each_person(tmp_path):
    for person in (1, 2):
        save(tmp_path / "train" / f"n{person:06d}" / "0001_01.jpg", person)
    save(tmp_path / "train" / "n000001" / "montage.png", 3)
    table = 'Class_ID, Name, Sample_Num, Flag, Gender\nn000001, "A_B", 424, 0, m\nn000002, "C,_D", 315, 1, f\n'
    (tmp_path / "identity_meta.csv").write_text(table)
    files, left_out = find_sources(str(tmp_path))
    assert [file.metadata["subject"] for file in files] == ["n000001", "n000002"]
    assert [row.cause for row in left_out] == ["beside the layout"]
    assert published_splits(str(tmp_path)) == {"n000001": "test", "n000002": "train"}
    (tmp_path / "identity_meta.csv").unlink()
    assert find_layout(str(tmp_path)).name == "vggface2" and published_splits(str(tmp_path)) == {}


def test_a_sidecar_wins_over_the_layout(tmp_path):
    save(tmp_path / "n000001" / "0001_01.jpg", 1)
    (tmp_path / "metadata.csv").write_text("file_name,person,license\nn000001/0001_01.jpg,somebody,CC0\n")
    (file,) = find_sources(str(tmp_path))[0]
    assert file.metadata == {"subject": "somebody", "licence": "CC0"}


def test_an_unknown_layout_is_refused_with_the_known_ones(tmp_path):
    save(tmp_path / "1.jpg", 1)
    with pytest.raises(ConfigurationError, match="auto, plain, ffhq, celeba-hq, vggface2") as raised:
        ingest(str(tmp_path), str(tmp_path / "out"), layout="lfw", concurrency=0)
    assert "lfw" in str(raised.value) and not (tmp_path / "out").exists()
    for name in LAYOUTS:
        assert find_layout(str(tmp_path), name).name == name
    assert find_layout(str(tmp_path)).name == "plain"


def test_damaged_lists_name_themselves(ffhq):
    (ffhq / "reference_mapping" / "val_references.csv").write_text("gt_image,ref_image\n1.png,[broken\n")
    with pytest.raises(DataError, match=r"val_references\.csv, row 0"):
        find_sources(str(ffhq))
    (ffhq / "reference_mapping" / "val_references.csv").unlink()
    (ffhq / "ffhq-dataset-v2.json").write_text('{"0": {"metadata": ')
    with pytest.raises(DataError, match="not the metadata of FFHQ"):
        find_sources(str(ffhq))
