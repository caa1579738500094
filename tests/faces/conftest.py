"""The shared photographs as (pixels, index row, landmarks), read once."""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from anchorface.faces.detect import Detection, Detector
from anchorface.faces.images import read_photo


@dataclass(frozen=True)
class Portrait:
    """pixels: uint8 [H, W, 3]; row: the line of index.csv; landmarks: [5, 2] as the index names them."""

    pixels: np.ndarray
    row: dict[str, str]
    landmarks: np.ndarray


def portraits(shared_data: Path, folder: str, step: int = 1) -> list[Portrait]:
    """Every `step`-th clean photograph of a shared folder."""
    root = shared_data / "photos" / folder
    with open(root / "index.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["role"] != "degraded"][::step]
    return [
        Portrait(read_photo(str(root / row["file"]))[0], row,
                 np.array(row["points"].split(), dtype=float).reshape(5, 2))
        for row in rows
    ]


@pytest.fixture(scope="session")
def people(shared_data: Path) -> list[Portrait]:
    cv2.setNumThreads(1)
    return portraits(shared_data, "people", 4)


@pytest.fixture(scope="session", params=["scrfd_2.5g_kps", "mtcnn"])
def detector(request: pytest.FixtureRequest, shared_data: Path) -> Detector:
    return Detector(request.param)


@pytest.fixture(scope="session")
def found(people: list[Portrait], detector: Detector) -> list[list[Detection]]:
    return detector.detect([portrait.pixels for portrait in people])


@pytest.fixture(scope="session")
def congress(shared_data: Path) -> list[Portrait]:
    """Both photographs of each of forty persons, ten years apart."""
    return portraits(shared_data, "congress")[:80]
