"""Faces out of photographs: what is filtered and why, and that a batch changes nothing."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from anchorface.faces.weights import find
from anchorface.identity_index.tombstones import bury
from anchorface.pipelines.faces.face_filters import FaceFilters, Measured, asked_filters
from anchorface.pipelines.find_faces import FaceSettings, find_faces
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import ConfigurationError
from anchorface.records.hashes import sha256
from anchorface.records.storage import list_files, read_table
from anchorface.synthetic import identity, render
from anchorface.synthetic.state import State

GOOD = Measured(
    side=300, largest=300, score=0.9, yaw=5, pitch=-5, sharpness=400, brightness=120, clipped=0.01,
)


def faces(out: Path) -> dict[str, dict]:
    rows = [row for uri in list_files(f"{out}/faces", (".parquet",)) for row in read_table(uri).to_pylist()]
    return {row["face_id"]: row for row in rows}


def causes(out: Path) -> dict[tuple[str, int], tuple[str, str]]:
    return {(row["uri"].rsplit("/", 1)[-1], row["row"]): (row["cause"], row["detail"])
            for row in dropped(str(out)).to_pylist()}


@pytest.mark.parametrize(("wrong", "limits", "cause"), [
    ({"side": 30.0}, {}, "face too small"),
    ({"brightness": 3.0}, {}, "under-exposed"),
    ({"brightness": 252.0}, {}, "over-exposed"),
    ({"clipped": 0.9}, {}, "clipped"),
    ({"side": 60.0, "sharpness": 12.0}, {}, "blurred bystander"),
    ({"score": 0.55}, {"smallest_score": 0.6}, "low score"),
    ({"sharpness": 20.0}, {"smallest_sharpness": 40.0}, "not sharp"),
    ({"yaw": -70.0}, {"largest_yaw": 60.0}, "extreme pose"),
    ({"pitch": 45.0}, {"largest_pitch": 40.0}, "extreme pose"),
])
def test_a_filter_names_itself_with_the_value_and_the_limit(wrong: dict, limits: dict, cause: str) -> None:
    filters = FaceFilters(**limits)
    assert filters.refuse(GOOD) is None
    said, detail = filters.refuse(replace(GOOD, **wrong)) or ("", "")
    assert said == cause
    value = abs(next(reversed(wrong.values())))
    assert f"{value:g}".rstrip("0") in detail and any(char.isdigit() for char in detail.split(";")[-1])


@pytest.mark.parametrize(("size", "refused"), [((111, 111), True), ((112, 20), False), ((20, 112), False)])
def test_the_longer_side_makes_a_thumbnail(size: tuple[int, int], refused: bool) -> None:
    said = FaceFilters().thumbnail(*size)
    assert (said is not None) == refused and FaceFilters(smallest_photo=None).thumbnail(*size) is None
    assert said is None or (said[0] == "photo too small" and "111 px; at least 112" in said[1])


def test_limits_that_are_off_refuse_nothing() -> None:
    off = FaceFilters(**dict.fromkeys(vars(FaceFilters())))
    worst = Measured(side=1, largest=500, score=0, yaw=90, pitch=90, sharpness=0, brightness=0, clipped=1)
    assert off.refuse(worst) is None


def test_a_blurred_face_alone_and_a_sharp_small_one_are_no_bystanders() -> None:
    assert FaceFilters().refuse(replace(GOOD, sharpness=5.0)) is None
    assert FaceFilters().refuse(replace(GOOD, side=60.0)) is None


def test_limits_that_cannot_be_are_refused() -> None:
    for wrong in ({"smallest_score": 1.5}, {"darkest": -1.0}, {"bystander_side": None}):
        with pytest.raises(ConfigurationError):
            FaceFilters(**wrong)


def test_limits_are_asked_for_by_name() -> None:
    assert asked_filters(()) == FaceFilters()
    assert asked_filters(["largest_yaw=60", "darkest=off"]) == FaceFilters(largest_yaw=60.0, darkest=None)
    for wrong in ("yaw=60", "largest_yaw", "largest_yaw=much"):
        with pytest.raises(ConfigurationError, match="face filter"):
            asked_filters([wrong])


@pytest.fixture(scope="module")
def heap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of many shapes; one of a person with a small blurred face behind, one of two equals, one in the
    dark. All landmarks are given."""
    folder = tmp_path_factory.mktemp("heap")
    rows = []

    def add(name: str, picture: np.ndarray, points: list[np.ndarray]) -> None:
        Image.fromarray(picture).save(folder / name, quality=95)
        rows.append({"file": name, "faces": [{"landmarks": place.tolist()} for place in points]})

    one, other = (render(identity(seed), State(), 320) for seed in (1, 2))
    small = cv2.GaussianBlur(cv2.resize(other.image, (80, 80), interpolation=cv2.INTER_AREA), (0, 0), 1.5)
    scene = one.image.copy()
    scene[:80, :80] = small
    behind = (np.asarray(other.landmarks) + 0.5) / 4 - 0.5
    add("bystander.jpg", scene, [one.landmarks, behind])
    add("equals.jpg", np.hstack([one.image, other.image]), [one.landmarks, other.landmarks + np.array([320, 0])])
    add("dark.jpg", (one.image * 0.02).astype(np.uint8), [one.landmarks])
    for number, (width, height) in enumerate(((200, 250), (320, 320), (250, 200), (333, 410), (160, 160))):
        shot = render(identity(10 + number), State(yaw=6.0 * number), 160)
        scale = np.array([width, height]) / 160
        add(f"{number}.jpg", cv2.resize(shot.image, (width, height)), [(shot.landmarks + 0.5) * scale - 0.5])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def out(heap: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("found") / "out"
    ingest(str(heap), str(out), concurrency=0)
    find_faces(str(out), detector="given", crop_size=128, concurrency=0)
    return out


def test_the_small_blurred_bystander_is_dropped_and_the_person_stays(out: Path) -> None:
    assert {key: cause for key, (cause, _) in causes(out).items()} == {
        ("bystander.jpg", 1): "blurred bystander", ("dark.jpg", 0): "under-exposed",
    }
    detail = causes(out)["bystander.jpg", 1][1]
    assert "0.28" in detail and "0.5" in detail and "30" in detail
    assert sum(row["uri"].endswith("equals.jpg") for row in faces(out).values()) == 2


def test_filters_are_settings_and_count_as_such(heap: Path, out: Path, tmp_path: Path) -> None:
    ingest(str(heap), str(tmp_path), concurrency=0)
    settings = FaceSettings(detector="given", crop_size=128, filters=FaceFilters(
        darkest=None, largest_clipped=None, bystander_side=None, bystander_sharpness=None))
    assert find_faces(str(tmp_path), settings=settings, concurrency=0)["faces"] == len(faces(out)) + 2
    strict = replace(settings, filters=FaceFilters(smallest_sharpness=1e9))
    assert find_faces(str(tmp_path), settings=strict, concurrency=0)["faces"] == 0


def test_a_face_is_the_same_bytes_alone_and_in_any_batch(heap: Path, out: Path, tmp_path: Path) -> None:
    together = faces(out)
    for name in ("0.jpg", "3.jpg", "equals.jpg"):
        alone = tmp_path / name
        (alone / "photos").mkdir(parents=True)
        (alone / "photos" / name).write_bytes((heap / name).read_bytes())
        (alone / "photos" / "metadata.jsonl").write_text(
            next(line for line in (heap / "metadata.jsonl").read_text().splitlines() if f'"{name}"' in line) + "\n"
        )
        ingest(str(alone / "photos"), str(alone / "out"), concurrency=0)
        find_faces(str(alone / "out"), detector="given", crop_size=128, concurrency=0)
        rows = faces(alone / "out")
        assert rows
        for face_id, row in rows.items():
            assert {**row, "uri": ""} == {**together[face_id], "uri": ""}


def test_a_detected_face_is_the_same_bytes_alone_and_in_any_batch(shared_data: Path, tmp_path: Path) -> None:
    """Photographs of several shapes and of one shape together, each alone, with detector and a network for persons."""
    names = []
    for folder in ("people", "congress"):
        with open(shared_data / "photos" / folder / "index.csv", newline="") as stream:
            names += [shared_data / "photos" / folder / row["file"] for row in list(csv.DictReader(stream))[:40:8]]
    settings = FaceSettings(detector="scrfd_500m_kps", embedder="mobilefacenet_y1_ms1m_112", crop_size=128)
    found = []
    for group in [names, *([name] for name in names[::3])]:
        place = tmp_path / str(len(found))
        (place / "photos").mkdir(parents=True)
        for path in group:
            (place / "photos" / f"{path.parent.name} {path.name}").write_bytes(path.read_bytes())
        ingest(str(place / "photos"), str(place / "out"), concurrency=0)
        find_faces(str(place / "out"), settings=settings, concurrency=0)
        found.append({face_id: {**row, "uri": ""} for face_id, row in faces(place / "out").items()})
    assert len({row["photo_id"] for row in found[0].values()}) == len(names)
    for alone in found[1:]:
        assert alone and alone.items() <= found[0].items()


def test_an_erased_person_stays_out(heap: Path, out: Path, tmp_path: Path) -> None:
    ingest(str(heap), str(tmp_path), concurrency=0)
    gone = next(row for row in faces(out).values() if row["uri"].endswith("/3.jpg"))
    vector = np.asarray(gone["embedding"], np.float32)[None]
    bury(str(tmp_path), "e1", photos=(), people=[(gone["embedder"], sha256(find(gone["embedder"])), vector)],
         salt=bytes(32))
    find_faces(str(tmp_path), detector="given", crop_size=128, concurrency=0)
    assert causes(tmp_path)["3.jpg", 0][0] == "erased"
    assert gone["face_id"] not in faces(tmp_path)


def test_a_gpu_that_is_not_there_is_said(out: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigurationError, match="no GPU"):
        find_faces(str(out), detector="given", crop_size=128, concurrency=0, num_gpus=1)
