"""From a photograph to the restored photograph, and a folder of them, with real files and synthetic people."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchorface.faces.detect import Detection, Detector
from anchorface.faces.embed import embedder
from anchorface.models.checkpoint import read_description, write_description
from anchorface.records import ConfigurationError, PhotoError, StorageError, storage
from anchorface.restoration import (
    Restorer,
    SamplerSettings,
    make_reference,
    open_references,
    restore_folder,
    restore_photo,
)
from anchorface.synthetic import album, group_photo, render, seed_of
from tests.restoration.micro import EMBEDDER, micro_checkpoint

QUICK = SamplerSettings(steps=2)


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> Restorer:
    folder, finder = micro_checkpoint(tmp_path_factory.mktemp("micro"))
    return Restorer(folder, weight_finder=finder)


@pytest.fixture(scope="module")
def detector(shared_data: Path) -> Detector:
    return Detector(shared_data / "models" / "scrfd_500m_kps.onnx")


def shots(person: int, count: int = 2) -> list:
    return [render(one.head, one.state, 200) for one in album(seed_of(3, person), count)]


def detection(shot: object) -> Detection:
    return Detection(box=tuple(map(float, shot.box)), landmarks=shot.landmarks.astype(float), score=1.0)


def test_pixels_outside_the_face_stay_untouched(restorer: Restorer) -> None:
    shot = shots(0)[0]
    before = shot.image.copy()
    result = restore_photo(restorer, shot.image, detections=[detection(shot)], settings=QUICK)
    changed = np.abs(result.image.astype(int) - before).max(axis=-1) > 0
    corners = np.array([[-0.5, -0.5], [63.5, -0.5], [63.5, 63.5], [-0.5, 63.5]])
    matrix = result.faces[0].matrix
    square = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    low, high = square.min(axis=0), square.max(axis=0)
    rows, columns = np.nonzero(changed)
    assert len(rows) > 100
    assert columns.min() >= low[0] - 1 and columns.max() <= high[0] + 1
    assert rows.min() >= low[1] - 1 and rows.max() <= high[1] + 1
    np.testing.assert_array_equal(shot.image, before)


def test_references_go_to_the_face_they_show(restorer: Restorer) -> None:
    people = [next(iter(album(seed_of(3, number), 1))) for number in (1, 2)]
    photo = group_photo([(one.head, one.state) for one in people], 200)
    found = [Detection(box=tuple(map(float, photo.boxes[n])), landmarks=photo.landmarks[n].astype(float), score=1.0)
             for n in range(2)]
    for owner in range(2):
        single = render(people[owner].head, people[owner].state, 200)
        shown = [make_reference(restorer, single.image, single.landmarks)]
        result = restore_photo(restorer, photo.image, shown, detections=found, settings=QUICK)
        used = {tuple(face.detection.box): face.references for face in result.faces}
        assert used[tuple(found[owner].box)] == 1
        assert used[tuple(found[1 - owner].box)] == 0
    largest = restore_photo(restorer, photo.image, detections=found, faces="largest", settings=QUICK)
    assert len(largest.faces) == 1


def test_a_reference_is_embedded_at_full_detail(restorer: Restorer) -> None:
    shot = shots(4)[0]
    made = make_reference(restorer, shot.image, shot.landmarks)
    assert made.image.shape == (64, 64, 3)
    assert made.raw_embedding.shape == (embedder(EMBEDDER).dimension,)


def test_a_photo_without_a_face_is_a_clear_error(restorer: Restorer, detector: Detector, tmp_path: Path) -> None:
    grass = np.full((120, 160, 3), (60, 140, 50), np.uint8)
    with pytest.raises(PhotoError, match="no face") as caught:
        restore_photo(restorer, grass, detector=detector, uri="grass.png")
    assert caught.value.uri == "grass.png"
    Image.fromarray(grass).save(tmp_path / "grass.png")
    with pytest.raises(PhotoError, match="no face"):
        open_references(restorer, [str(tmp_path / "grass.png")], detector)
    with pytest.raises(ConfigurationError, match="detector"):
        restore_photo(restorer, grass)
    with pytest.raises(ConfigurationError, match="largest"):
        restore_photo(restorer, grass, detector=detector, faces="some")


def test_references_that_look_like_somebody_else_are_said_and_not_believed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, detector: Detector
) -> None:
    checkpoint, finder = micro_checkpoint(tmp_path_factory.mktemp("trusting"))
    people = [shots(person)[0].image for person in range(2)]
    (tmp_path / "photos").mkdir()
    Image.fromarray(people[0]).save(tmp_path / "photos" / "one.png")
    outs = {}
    for name, image, trusted in (("own", people[0], 0.0), ("other", people[1], 0.0), ("all the same", people[1], 1.0)):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "r.png")
        described = read_description(checkpoint)
        write_description(checkpoint, replace(described, extra={"trust": {
            "middle": 0.9, "slope": 40.0, "pictures": 9, "auc": 0.9}}))
        lines: list[str] = []
        out = tmp_path / f"out {name}"
        restore_folder(Restorer(checkpoint, weight_finder=finder), str(tmp_path / "photos"), str(out),
                       detector=detector, references=str(tmp_path / name), progress=lines.append,
                       settings=replace(QUICK, trust=trusted or None))
        (row,) = storage.read_table(str(out / "restored.parquet")).to_pylist()
        causes = [row["cause"] for row in storage.read_table(str(out / "dropped" / "restore.parquet")).to_pylist()]
        outs[name] = row["likeness"], row["trust"], causes, "another person" in lines[-1]
    assert outs["own"][0] > 0.95 and outs["own"][1] > 0.5 and outs["own"][2:] == ([], False)
    assert outs["other"][0] < 0.8 and outs["other"][1] < 0.5
    assert outs["other"][2:] == (["references: of another person?"], True)
    assert outs["all the same"][1:] == (1.0, [], False)


def test_a_folder_survives_bad_photos_and_a_rerun_does_what_is_left(
    restorer: Restorer, detector: Detector, shared_data: Path, tmp_path: Path
) -> None:
    photos, references, out = tmp_path / "photos", tmp_path / "references", str(tmp_path / "out")
    (photos / "deep").mkdir(parents=True)
    references.mkdir()
    people = sorted((shared_data / "photos" / "people").rglob("p01*.jpg"))
    if len(people) < 3:
        people = sorted((shared_data / "photos" / "people").rglob("*.jpg"))
    for target, source in zip((photos / "one.jpg", photos / "deep" / "two.jpg", references / "r.jpg"), people,
                              strict=False):
        target.write_bytes(source.read_bytes())
    (photos / "text.jpg").write_text("not a photograph")
    (photos / "cut.jpg").write_bytes(people[0].read_bytes()[:3000])
    (references / "text.png").write_text("nor this")
    lines: list[str] = []
    counts = restore_folder(restorer, str(photos), out, detector=detector, references=str(references),
                            settings=QUICK, progress=lines.append)
    assert counts == {"photos": 4, "restored": 2, "done before": 0, "dropped": 2, "left out": 0}
    assert len(lines) == 4
    dropped = {row["uri"].rsplit("/", 1)[-1]: row["cause"] for row in
               storage.read_table(storage.join(out, "dropped", "restore.parquet")).to_pylist()}
    assert dropped["text.jpg"] == "not an image" and dropped["cut.jpg"] == "truncated"
    assert dropped["text.png"] == "reference: not an image"
    rows = storage.read_table(storage.join(out, "restored.parquet")).to_pylist()
    assert {row["photo"] for row in rows} == {"one.jpg", "deep/two.jpg"}
    assert all(row["references"] <= 1 for row in rows) and any(row["references"] == 1 for row in rows)
    first = (tmp_path / "out" / "one.jpg.png").read_bytes()
    again = restore_folder(restorer, str(photos), out, detector=detector, references=str(references), settings=QUICK)
    assert again == {"photos": 4, "restored": 0, "done before": 2, "dropped": 2, "left out": 0}
    assert storage.read_table(storage.join(out, "restored.parquet")).num_rows == len(rows)
    (tmp_path / "out" / "one.jpg.json").unlink()
    redone = restore_folder(restorer, str(photos), out, detector=detector, references=str(references), settings=QUICK)
    assert redone["restored"] == 1 and (tmp_path / "out" / "one.jpg.png").read_bytes() == first
    assert json.loads((tmp_path / "out" / "one.jpg.json").read_text())["faces"]


def test_folders_that_do_not_exist_are_named(restorer: Restorer, detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        restore_folder(restorer, str(tmp_path / "nowhere"), str(tmp_path / "out"), detector=detector)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="no photographs"):
        restore_folder(restorer, str(tmp_path / "empty"), str(tmp_path / "out"), detector=detector)
