"""Faces in photographs: SCRFD networks with five landmarks.

In: photographs uint8 [H, W, 3] RGB of any sizes. Out: per photograph a list of Detection, best first,
boxes and landmarks in the photograph's pixels.

A photograph is fitted into a square of `size` pixels at the top left, the rest black; a batch is one array. SCRFD
files that fix their batch to one are run row by row, others in one run: the results are the same. Faces that fill
the picture are larger than the network's anchors at 640 px (half the close portraits were missed), so every
photograph is looked at in half that size too and the findings are merged.

Source: SCRFD (Guo et al., 2021): strides 8, 16, 32, two anchors a cell; box and point distances in strides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.runtime import Floats, run, session
from faces.weights import find
from records.errors import ConfigurationError, WeightsError

STRIDES = (8, 16, 32)
ANCHORS = 2
CHUNK = 16

Candidates = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One face. box: x0, y0, x1, y1; landmarks: float64 [5, 2], both in photo pixels; score: 0..1."""

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]
    score: float


class Detector:
    """An SCRFD network.

    Args:
        weights: an ONNX file's path, or a name of `faces.weights` (a pack's name means its detector).
        threshold: smallest score that counts.
        size: side in pixels of the square that photographs are fitted into, a multiple of 32.
        overlap: intersection over union above which the weaker of two boxes is dropped.
        threads: CPU threads of the session.

    Raises:
        WeightsError: missing, or not an SCRFD network with landmarks.
        ConfigurationError: a size that is not a multiple of 32.
    """

    def __init__(
        self, weights: str | Path = "scrfd_2.5g_kps", threshold: float = 0.5, size: int = 640, overlap: float = 0.4,
        threads: int = 1,
    ) -> None:
        if size % 32 or size <= 0:
            raise ConfigurationError(f"detector size {size}: must be a multiple of 32")
        path = Path(weights) if str(weights).endswith(".onnx") else find(str(weights), "detector")
        self.session = session(path, threads)
        self.threshold, self.overlap = threshold, overlap
        self.sizes = (size, max(32, size // 64 * 32))
        widths = [output.shape[-1] for output in self.session.get_outputs()]
        self.order = [i for width in (1, 4, 10) for i, w in enumerate(widths) if w == width]
        if len(self.order) != 9 or len(widths) != 9:
            raise WeightsError(f"{path}: not an SCRFD network with five landmarks (outputs of widths {widths})")

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """The faces of each photograph, best score first; an empty list where there is none."""
        found: list[list[Detection]] = []
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            per_size = [self._candidates(chunk, size) for size in self.sizes]
            found += [self._merge([one[row] for one in per_size]) for row in range(len(chunk))]
        return found

    def _candidates(self, images: Sequence[NDArray[np.uint8]], size: int) -> list[Candidates]:
        batch = np.stack([_fit(image, size) for image in images])
        outputs = run(self.session, (batch.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 128.0)
        ordered = [outputs[i] for i in self.order]
        return [
            _decode([output[row] for output in ordered], size, size / max(image.shape[:2]), self.threshold)
            for row, image in enumerate(images)
        ]

    def _merge(self, parts: list[Candidates]) -> list[Detection]:
        scores, boxes, points = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return [
            Detection(box=tuple(boxes[i].tolist()), landmarks=points[i], score=float(scores[i]))
            for i in _suppress(boxes, scores, self.overlap)
        ]


def _decode(outputs: list[Floats], size: int, scale: float, threshold: float) -> Candidates:
    """The anchors above the threshold: scores [N], boxes [N, 4], points [N, 5, 2] in photo pixels."""
    scores, boxes, points = [], [], []
    for level, stride in enumerate(STRIDES):
        score, distance, offset = (outputs[3 * part + level] for part in range(3))
        cells = size // stride
        kept = np.flatnonzero(score.reshape(-1) >= threshold)
        cell = kept // ANCHORS
        centre = np.stack([cell % cells, cell // cells], axis=1) * float(stride)
        reach = distance.reshape(-1, 4)[kept] * float(stride)
        scores.append(score.reshape(-1)[kept])
        boxes.append(np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], axis=1))
        points.append(centre[:, None] + offset.reshape(-1, 5, 2)[kept] * float(stride))
    # Pixel u of the fitted photo covers photo pixels around (u + 0.5) / scale - 0.5.
    box, point = ((np.concatenate(part) + 0.5) / scale - 0.5 for part in (boxes, points))
    return np.concatenate(scores), box, point


def _fit(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    rows, columns = image.shape[:2]
    scale = size / max(rows, columns)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((size, size, 3), np.uint8)
    canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=way)
    return canvas


def _suppress(boxes: NDArray[np.float64], scores: Floats, overlap: float) -> list[int]:
    """Greedy non-maximum suppression: indices kept, best first."""
    order = np.argsort(-scores, kind="stable")
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        order = rest[shared <= overlap * (area[best] + area[rest] - shared)]
    return kept
