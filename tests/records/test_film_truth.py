"""A film's truth in a file: read as it was written, and refused by name where it is something else."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from anchorface.records import DataError, StorageError
from anchorface.records.film_truth import FilmTruth, write_truth


def written(path: Path, flow: np.ndarray, landmarks: np.ndarray) -> str:
    with path.open("wb") as file:
        write_truth(file, flow, (len(landmarks), *flow.shape[1:3]), landmarks)
    return str(path)


def test_a_truth_is_read_as_it_was_written_by_us_and_by_numpy(tmp_path: Path) -> None:
    flow = np.arange(2 * 3 * 5 * 2, dtype=np.float32).reshape(2, 3, 5, 2)
    flow[1, 2, 4] = np.nan
    landmarks = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    uri = written(tmp_path / "a.npz", flow, landmarks)
    truth = FilmTruth.open(uri)
    assert (truth.frames, truth.height, truth.width) == (3, 3, 5)
    assert np.array_equal(truth.landmarks, landmarks)
    assert np.array_equal(np.stack(list(truth.flows())), flow, equal_nan=True)
    with np.load(uri, allow_pickle=False) as loaded:
        assert np.array_equal(loaded["flow"], flow, equal_nan=True)
    np.savez(tmp_path / "b.npz", flow=flow, landmarks=landmarks)
    assert np.array_equal(np.stack(list(FilmTruth.open(str(tmp_path / "b.npz")).flows())), flow, equal_nan=True)
    assert written(tmp_path / "again.npz", flow, landmarks) and (
        (tmp_path / "again.npz").read_bytes() == (tmp_path / "a.npz").read_bytes())


@pytest.mark.parametrize("what", ["text", "pickle", "shape", "kind", "lacks", "short", "cut"])
def test_another_file_is_refused_with_its_name(tmp_path: Path, what: str) -> None:
    flow, landmarks = np.zeros((2, 3, 5, 2), np.float32), np.zeros((3, 5, 2), np.float32)
    path = tmp_path / "odd.npz"
    if what == "text":
        path.write_text("no archive")
    elif what == "pickle":
        np.savez(path, flow=np.array([{}], dtype=object), landmarks=landmarks)
    elif what == "shape":
        np.savez(path, flow=flow, landmarks=landmarks[:2])
    elif what == "kind":
        np.savez(path, flow=flow.astype(np.float64), landmarks=landmarks)
    elif what == "lacks":
        np.savez(path, flow=flow)
    elif what == "cut":
        path.write_bytes(Path(written(tmp_path / "whole.npz", flow, landmarks)).read_bytes()[:-40])
    else:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (2, 3, 5, 2)})
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("flow.npy", head.getvalue() + bytes(8))
            whole = io.BytesIO()
            np.save(whole, landmarks)
            packed.writestr("landmarks.npy", whole.getvalue())
    with pytest.raises(DataError, match=r"odd\.npz"):
        list(FilmTruth.open(str(path)).flows())
    with pytest.raises(StorageError):
        FilmTruth.open(str(tmp_path / "absent.npz"))
