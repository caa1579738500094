"""SCRFD: faces with five landmarks by one network in ONNX.

In: looks float32 [B, 3, H, W], RGB as (x - 127.5) / 128, sides multiples of 32. Out: for each scores [N], boxes [N, 4]
and points [N, 5, 2], both in the look's pixels.

Source: Guo et al., "Sample and Computation Redistribution for Efficient Face Detection" (2021): strides 8, 16, 32, two
anchors a cell; box and point distances in strides.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.runtime import Floats, run, session
from anchorface.records.errors import WeightsError

STRIDES = (8, 16, 32)
ANCHORS = 2

Candidates = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]
"""Scores [N], boxes [N, 4], points [N, 5, 2]."""


class SCRFD:
    """An SCRFD network. path: an ONNX file. threads: CPU threads of the session.

    Raises:
        WeightsError: missing, or not an SCRFD network with landmarks.
    """

    threshold: float = 0.5
    weak: float = 0.73
    sure: float = 0.6
    overturned: tuple[int, ...] = (2,)
    """See `faces.detect.Network`."""

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.session = session(path, threads)
        widths = [output.shape[-1] for output in self.session.get_outputs()]
        self.order = [i for width in (1, 4, 10) for i, w in enumerate(widths) if w == width]
        if len(self.order) != 9 or len(widths) != 9:
            raise WeightsError(f"{path}: not an SCRFD network with five landmarks (outputs of widths {widths})")

    def look(self, batch: Floats, least: float) -> list[Candidates]:
        """The anchors of each look whose score is at least so much; several of a face."""
        outputs = run(self.session, batch)
        return [_decode([outputs[i][row] for i in self.order], batch.shape[3], least) for row in range(len(batch))]


def _decode(outputs: list[Floats], width: int, least: float) -> Candidates:
    scores, boxes, points = [], [], []
    for level, stride in enumerate(STRIDES):
        score, distance, offset = (outputs[3 * part + level] for part in range(3))
        cells = width // stride
        kept = np.flatnonzero(score.reshape(-1) >= least)
        cell = kept // ANCHORS
        centre = np.stack([cell % cells, cell // cells], axis=1) * float(stride)
        reach = distance.reshape(-1, 4)[kept] * float(stride)
        scores.append(score.reshape(-1)[kept])
        boxes.append(np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], axis=1))
        points.append(centre[:, None] + offset.reshape(-1, 5, 2)[kept] * float(stride))
    return np.concatenate(scores), np.concatenate(boxes), np.concatenate(points)
