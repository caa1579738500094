"""Detectors side by side on the shared photographs: `python benchmarks/detectors.py [NAME ...]`.

For each collection: portraits in which a face is found; mean distance of its five points to those of the first
detector (by default SCRFD 2.5g), in distances of the eyes, median and 95 %; milliseconds of CPU time a photograph, one
thread, in turns with the first one. Then faces found in the same portraits turned by 90, 180 and 270 degrees and with
points there (within a quarter of the eyes' distance), faces in degraded pictures, and false ones: in portraits without
their faces (what lies left, right and below of them, so clothes, rooms and skies) and in what scikit-image and
scikit-learn carry without people.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
from numpy.typing import NDArray

from anchorface.faces.detect import Detection, Detector
from anchorface.faces.images import read_photo

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
CHUNK, EMPTY_SIDE = 16, 96
"""Photographs at once; smallest side of a part of a portrait, px."""
THINGS = ("brick", "clock", "coffee", "coins", "grass", "gravel", "horse", "hubble_deep_field", "moon", "page",
          "rocket", "text", "cell", "chelsea", "immunohistochemistry")
"""Pictures of scikit-image without people."""
Image = NDArray[np.uint8]


def portraits(name: str) -> list[Image]:
    """A collection's photographs."""
    with open(PHOTOS / name / "index.csv", newline="", encoding="utf-8") as file:
        return [read_photo(str(PHOTOS / name / row["file"]))[0] for row in csv.DictReader(file)]


def looked(detector: Detector, images: Sequence[Image]) -> list[list[Detection]]:
    """All answers."""
    return [faces for first in range(0, len(images), CHUNK) for faces in detector.detect(images[first : first + CHUNK])]


def apart(one: Detection, other: Detection) -> float:
    """Mean distance of two faces' points, in distances of the first one's eyes."""
    eyes = float(np.hypot(*(one.landmarks[1] - one.landmarks[0])))
    return float(np.hypot(*(one.landmarks - other.landmarks).T).mean()) / eyes


def turned(points: NDArray[np.float64], image: Image, turns: int) -> NDArray[np.float64]:
    """Points after quarter turns to the left."""
    wide, high = image.shape[1], image.shape[0]
    for _ in range(turns):
        points, wide, high = np.stack([points[:, 1], wide - 1 - points[:, 0]], axis=1), high, wide
    return points


def without_faces(images: Sequence[Image], found: Sequence[list[Detection]]) -> Iterator[Image]:
    """What lies left, right and below of the faces, where it is large enough."""
    for image, faces in zip(images, found, strict=True):
        if not faces:
            continue
        boxes = np.array([face.box for face in faces])
        margin = 0.35 * float(np.max(boxes[:, 2:] - boxes[:, :2]))
        left, below = int(boxes[:, 0].min() - margin), int(boxes[:, 3].max() + margin)
        right = int(boxes[:, 2].max() + margin)
        for part in (image[:, : max(left, 0)], image[:, right:], image[below:]):
            if min(part.shape[:2]) >= EMPTY_SIDE:
                yield np.ascontiguousarray(part)


def things() -> list[Image]:
    """Pictures without people that two libraries carry."""
    found = []
    for name in THINGS:
        try:
            image = getattr(skimage.data, name)()
        except (ModuleNotFoundError, OSError):  # not in this machine's copy
            continue
        pixels = image.astype(np.float64) / max(1.0, float(image.max())) * 255
        found.append(np.repeat(pixels.round().astype(np.uint8)[..., None], 3, axis=2) if image.ndim == 2
                     else pixels.round().astype(np.uint8)[..., :3])
    return [*found, *(sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["scrfd_2.5g_kps", "mtcnn"])
    names = parser.parse_args().names
    if not PHOTOS.exists():
        print("skipped: needs the shared photographs beside the checkout")
        return
    detectors = [Detector(name) for name in names]
    empty = things()
    for heap in ("people", "congress", "london"):
        images, times = portraits(heap), dict[str, list[float]]()
        answers: list[list[list[Detection]]] = [[] for _ in names]
        for first in range(0, len(images), CHUNK):
            for name, detector, answer in zip(names, detectors, answers, strict=True):
                began = time.process_time()
                answer += detector.detect(images[first : first + CHUNK])
                times.setdefault(name, []).append(time.process_time() - began)
        empty += without_faces(images, answers[0])
        for name, answer in zip(names, answers, strict=True):
            both = [min(apart(one[0], face) for face in other) for one, other in zip(answers[0], answer, strict=True)
                    if one and other]
            print(f"{heap:<10}{name:<16}{sum(map(bool, answer)):>4} of {len(images)} portraits, "
                  f"{sum(map(len, answer))} faces; points apart {np.median(both):.3f} ({np.quantile(both, 0.95):.3f}); "
                  f"{1000 * sum(times[name]) / len(images):.0f} ms "
                  f"({statistics.median(np.divide(times[name], times[names[0]])):.1f} of the first)", flush=True)
        for name, detector in zip(names, detectors, strict=True):
            told = []
            for turns in (1, 2, 3):
                some = list(zip(images, answers[0], strict=True))[::3]
                found = looked(detector, [np.ascontiguousarray(np.rot90(image, turns)) for image, _ in some])
                right = sum(
                    any(np.hypot(*(face.landmarks - turned(one[0].landmarks, image, turns)).T).max()
                        < 0.25 * np.hypot(*(one[0].landmarks[1] - one[0].landmarks[0])) for face in faces[:1])
                    for (image, one), faces in zip(some, found, strict=True))
                told.append(f"{90 * turns} degrees {right}")
            print(f"{heap:<10}{name:<16}turned, of {len(some)}: {', '.join(told)}", flush=True)
    degraded = [read_photo(str(path))[0] for path in sorted((PHOTOS / "degraded").rglob("*")) if path.suffix in
                (".jpg", ".jpeg", ".png")]
    for name, detector in zip(names, detectors, strict=True):
        false = looked(detector, empty)
        scores = ", ".join(f"{face.score:.2f}" for faces in false for face in faces)
        print(f"{name:<16}degraded: a face in {sum(map(bool, looked(detector, degraded)))} of {len(degraded)}; without "
              f"people: {sum(map(len, false))} faces in {len(empty)} pictures ({scores})", flush=True)


if __name__ == "__main__":
    main()
