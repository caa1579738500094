"""Look-alikes of the published test sets: synthetic faces in the same folders and lists, a dozen pictures each."""

import csv
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from anchorface.degradation import apply, draw
from anchorface.faces.align import ffhq_matrix, warp
from anchorface.records import rng
from anchorface.synthetic import album, render, seed_of


@cache
def face(person: int, number: int, size: int = 128) -> np.ndarray:
    """One aligned synthetic face, uint8 [size, size, 3] RGB."""
    *_, one = album(seed_of(11, person), number + 1)
    shot = render(one.head, one.state, 200)
    return warp(shot.image, ffhq_matrix(shot.landmarks, size), size)


def degraded(picture: np.ndarray, number: int) -> np.ndarray:
    return apply(picture, draw("refldm-moderate", rng(number, "look-alike"), size=len(picture)))


def write(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1])
    return path


def ffhq_ref(root: Path, people: int = 3, level: str = "moderate") -> Path:
    """ReF-LDM's FFHQ-Ref: two targets and a third picture a person, each other's references."""
    rows = []
    for person in range(people):
        names = [f"{person:03d}{n:02d}.png" for n in range(3)]
        for n, name in enumerate(names):
            picture = face(person, n)
            write(root / "images512x512" / name, picture)
            if n < 2:
                write(root / "FFHQ-Ref" / "test_images" / f"{level}_degrad" / name, degraded(picture, person))
                rows.append({"gt_image": name, "lq_image": name, "ref_image": str([o for o in names if o != name])})
    table(root / "FFHQ-Ref" / "reference_mapping" / "test_references.csv", rows)
    return root


def celeba_test_ref(root: Path, people: int = 3) -> Path:
    rows = []
    base = root / "CelebA-Test-Ref"
    for person in range(people):
        picture, name = face(person, 0), f"{person:05d}.png"
        write(base / "celeba_test_images" / "img_test_HQ" / name, picture)
        write(base / "celeba_test_images" / "img_test_LQ" / name, degraded(picture, person))
        write(root / "CelebA-HQ-img" / f"{person}.jpg", face(person, 1))
        rows.append({"gt_image": name, "lq_image": name, "ref_image": str([f"{person}.jpg"])})
    table(base / "test_references.csv", rows)
    return root


def celeba_hq(root: Path, people: int = 3) -> Path:
    """Identity folders of four pictures; one of a single picture, which cannot be judged."""
    for person in range(people):
        for n in range(4):
            write(root / f"id{person}" / f"{n}.jpg", face(person, n))
    write(root / "id9" / "0.jpg", face(9, 0))
    return root


def own(root: Path, people: int = 4) -> Path:
    """The folder that `write_inputs` makes."""
    for person in range(people):
        picture, name = face(person, 0), f"case{person}"
        write(root / "gt" / f"{name}.png", picture)
        write(root / "lq" / f"{name}.png", degraded(picture, person))
        write(root / "references" / name / "0.png", face(person, 1))
    return root


def ntire(root: Path, each: int = 2) -> Path:
    """The challenge's five folders with their table of landmarks (where the mean face's lie)."""
    from anchorface.evaluation.protocols.ntire import POINTS, SETS
    from anchorface.restoration import mean_landmarks

    points = mean_landmarks(512)
    rows = []
    for place, name in enumerate(SETS):
        for n in range(each):
            stem = f"{place}{n}"
            write(root / "test" / name / f"{stem}.png", degraded(face(place * each + n, 0, 512), n))
            rows.append({"filename": stem, "dataset": name,
                         **{f"{p}_{axis}": float(points[k][a]) for k, p in enumerate(POINTS)
                            for a, axis in enumerate("xy")}})
    table(root / "test_2026_face.csv", rows)
    return root


def table(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
