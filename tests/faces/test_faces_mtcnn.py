"""MTCNN from its package's files: which detector is taken, what its file may hold, and that it moves nothing."""

import os
import pickle
import shutil
import sys
from pathlib import Path

import joblib
import lz4.frame
import numpy as np
import pytest

from anchorface.faces.detect import Detector, default_detector
from anchorface.faces.mtcnn import MTCNN
from anchorface.faces.weights import REPOSITORY, find, survey
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.ingest import ingest
from anchorface.records.errors import WeightsError
from anchorface.records.storage import read_table

NAMES = ("pnet", "rnet", "onet")


class Evil:
    """Runs a command where a pickle is read without care."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


def copied(folder: Path) -> Path:
    """The package's files in a folder of the test's own."""
    for name in NAMES:
        (folder / f"{name}.lz4").write_bytes((find("mtcnn") / f"{name}.lz4").read_bytes())
    return folder


def test_the_detector_that_is_installed_is_taken_where_no_better_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path
) -> None:
    assert default_detector() == "scrfd_2.5g_kps"
    monkeypatch.setattr("anchorface.faces.weights.folders", lambda: (tmp_path,))
    assert default_detector() == "mtcnn" and Detector().name == "mtcnn"
    assert {row.weight.name: row.state for row in survey()}["mtcnn"] == "verified"


def test_nothing_of_its_package_is_imported() -> None:
    Detector("mtcnn")
    assert "mtcnn" not in sys.modules and "tensorflow" not in sys.modules


def test_files_of_other_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mtcnn"
    (package / "assets" / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    content = copied(package / "assets" / "weights") / "onet.lz4"
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find("mtcnn") == content.parent
    content.write_bytes(content.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="SHA-256"):
        Detector("mtcnn")


def test_a_file_that_asks_for_code_is_refused_and_none_runs(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "rnet.lz4").write_bytes(lz4.frame.compress(pickle.dumps([Evil(f"touch {tmp_path}/ran")])))
    with pytest.raises(WeightsError, match=r"asks for posix\.system"):
        MTCNN(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("content", "said"), [
    (b"", "not a file of arrays"), (b"\x04\x22\x4d\x18 cut", "not a file of arrays"),
    (lz4.frame.compress(pickle.dumps({"a": 1})), "no list of arrays"),
    (lz4.frame.compress(b"\x80\x04" + b"\xff" * 40), "not a file of arrays"),
])
def test_damaged_files_are_told(tmp_path: Path, content: bytes, said: str) -> None:
    (copied(tmp_path) / "pnet.lz4").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"pnet\.lz4.*{said}"):
        MTCNN(tmp_path)


def test_arrays_of_other_shapes_or_numbers_are_told(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for arrays in ([np.zeros((3, 3, 3, 10), np.float32)], [np.zeros((3, 3, 3, 28), np.float32)] * 20):
        joblib.dump(arrays, folder / "rnet.lz4", compress=("lz4", 3))
        with pytest.raises(WeightsError, match="not the weights of MTCNN's rnet"):
            MTCNN(folder)


def test_a_face_moves_with_its_picture_and_grows_with_it(people) -> None:
    network = Detector("mtcnn")
    portrait = next(p for p in people if abs(float(p.row["yaw"])) < 10)
    pixels = portrait.pixels[: portrait.pixels.shape[0] // 2 * 2, : portrait.pixels.shape[1] // 2 * 2]
    (face,), (below,) = network.detect([pixels, np.pad(pixels, ((64, 0), (32, 0), (0, 0)))])
    eyes = np.hypot(*(face.landmarks[1] - face.landmarks[0]))
    assert np.abs(below.landmarks - [32, 64] - face.landmarks).max() < 0.06 * eyes
    (double,) = network.detect([np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1)])[0]
    assert np.abs((double.landmarks + 0.5) / 2 - 0.5 - face.landmarks).max() < 0.06 * eyes
    (mirrored,) = network.detect([np.ascontiguousarray(pixels[:, ::-1])])[0]
    swapped = mirrored.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [pixels.shape[1] - 1, 0]
    assert np.abs(swapped - face.landmarks).max() < 0.1 * eyes


def test_photographs_are_curated_without_another_detector(tmp_path: Path, shared_data: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The verb itself, on a machine that has what is installed and what is carried."""
    monkeypatch.setattr("anchorface.faces.weights.folders", lambda: (REPOSITORY / "weights",))
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((shared_data / "photos" / "london").rglob("*.jpg"))[:4]:
        shutil.copy(path, photos / path.name)
    ingest(str(photos), str(tmp_path / "work"), concurrency=0)
    assert find_faces(str(tmp_path / "work"), crop_size=128, concurrency=0)["faces"] == 4
    (part,) = (tmp_path / "work" / "faces").glob("part-*")
    rows = read_table(str(part)).to_pylist()
    assert len(rows) == 4 and all(row["score"] > 0.6 for row in rows)
