"""One output against one true film, frame by frame: a row of numbers, the likeness over time, and a strip to look at.

In: what is known of the true film, and the output's file. Out: a row of `schema`. An output that cannot be judged keeps
its row, with the cause: `missing`, unreadable, another size, another number of frames, no face. Two frames of the
output and two of the truth are in memory at a time, and the strip.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import pyarrow as pa

from anchorface.evaluation.films.folder import frames
from anchorface.evaluation.films.known import BLOCK, NO_FACE, Eyes, Known
from anchorface.evaluation.metrics import Opened, films, psnr, ssim
from anchorface.evaluation.metrics.catalogue import Values
from anchorface.evaluation.stored import STRIP
from anchorface.faces.images import encode_jpeg
from anchorface.records import DROPPED_SCHEMA, PhotoError

SHOWN, SIDE = 48, 224
"""Frames of a strip, and their longer side in px, at most."""
ROOM = 2.2
"""From the points' middle to the side of a strip's window, in distances between the outermost points."""
PER_FILM = ("faces", "judge_target", "judge_mean", "truth_mean", "surplus", "drift_slope", "drift_spread", "jump",
            "vidd", "warping", "tof", "flicker", "akd", "psnr", "ssim")


def schema(metrics: Sequence[Opened]) -> pa.Schema:
    """The columns of a condition's rows: `number` and `identity` are the film's, `seconds` and `likeness` have a value
    a frame, `dropped` says what of the truth cannot be used.
    """
    keys = (*PER_FILM, *(o.metric.key for o in metrics if o.values))
    return pa.schema([
        ("condition", pa.string()), ("number", pa.int32()), ("identity", pa.string()), ("frames", pa.int32()),
        ("flow", pa.string()), *((key, pa.float64()) for key in keys), ("seconds", pa.list_(pa.float64())),
        ("likeness", pa.list_(pa.float64())), ("cause", pa.string()),
        ("dropped", pa.list_(pa.struct(list(DROPPED_SCHEMA)))), (STRIP, pa.binary()),
    ])


@dataclass(frozen=True, kw_only=True)
class Measurer:
    """Measures outputs. clip: frames from the start of one clip to the next."""

    eyes: Eyes
    metrics: Sequence[Opened] = ()
    clip: int = 24

    def row(self, known: Known, file: str | None) -> dict[str, Any]:
        """The numbers of an output, None where it is missing."""
        if file is None:
            return {"cause": "missing"}
        try:
            return self._row(known, file)
        except PhotoError as error:
            return {"cause": error.cause}

    def _row(self, known: Known, file: str) -> dict[str, Any]:
        count = len(known.seconds)
        values: dict[str, list[float]] = {}
        units, waiting, seen, strip = [], [], np.zeros(count, dtype=bool), Strip(known)
        before: tuple[np.ndarray, np.ndarray] | None = None
        flows = known.truth.flows() if known.truth is not None else None
        for number, truth, output in _pairs(known, file):
            points = self.eyes.points(output, known.landmarks[number])
            seen[number] = bool(np.isfinite(points).all()) or self.eyes.detector is None
            waiting.append((output, known.landmarks[number] if seen[number] else np.full((5, 2), np.nan)))
            if len(waiting) == BLOCK or number == count - 1:
                units.append(self.eyes.unit(*zip(*waiting, strict=True)))
                waiting = []
            found = self._of_frame(output, truth) | {"akd": films.landmark_distance(points, known.detected[number])}
            if before is not None:
                found |= _of_step(*before, output, truth, next(flows) if flows is not None else None)
            for key, value in found.items():
                values.setdefault(key, []).append(value)
            strip.add(number, output)
            before = output, truth
        row: dict[str, Any] = {key: _mean(of) for key, of in values.items()}
        row |= self._of_person(known, np.concatenate(units), seen)
        row |= {"frames": count, "flow": "exact" if known.truth is not None else "estimated",
                "seconds": known.seconds.tolist(), STRIP: strip.jpeg()}
        return row

    def _of_frame(self, output: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        one, other = output[None], truth[None]
        found = {"psnr": psnr(one, other), "ssim": ssim(one, other)}
        found |= {o.metric.key: cast(Values, o.values)(one, other) for o in self.metrics
                  if o.values and min(truth.shape[:2]) >= o.metric.smallest}
        return {key: float(value[0]) for key, value in found.items()}

    def _of_person(self, known: Known, units: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
        """Who the judge sees, over the frames in which truth and output show a face."""
        faces = np.isfinite(known.units).all(axis=1)
        likeness = films.likenesses(units, known.units)
        found: dict[str, Any] = {"faces": float(seen[faces].mean()),
                                 "likeness": [float(v) if np.isfinite(v) else None for v in likeness]}
        if not seen[faces].any():
            return found | {"cause": NO_FACE}
        parts = films.clips(len(units), self.clip)
        drift = films.drift(likeness, known.seconds, parts)
        found |= {"judge_target": _mean(likeness), "drift_slope": _known(drift.slope),
                  "drift_spread": _known(drift.spread), "jump": _known(films.jump(units, parts)),
                  "vidd": _known(films.identity_distance(units))}
        if len(known.references):
            both = np.isfinite(likeness)
            own, truth = ((of @ known.references.T).mean(axis=1)[both] for of in (units, known.units))
            found |= {"judge_mean": _mean(own), "truth_mean": _mean(truth), "surplus": _mean(own - truth)}
        return found


def _pairs(known: Known, file: str) -> Generator[tuple[int, np.ndarray, np.ndarray], None, None]:
    """Number, true frame and output frame, as long as both go on.

    Raises:
        PhotoError: another size or number of frames, or a cause of `frames`.
    """
    with closing(frames(file)) as output, closing(frames(known.case.film)) as truths:
        for number, (_, truth) in enumerate(truths):
            following = next(output, None)
            if following is None:
                raise PhotoError(f"{number} frames, not {len(known.seconds)}", file)
            if following[1].shape != truth.shape:
                height, width = following[1].shape[:2]
                raise PhotoError(f"{width} x {height} px, not {known.shape[1]} x {known.shape[0]}", file)
            yield number, truth, following[1]
        if next(output, None) is not None:
            raise PhotoError(f"more than {len(known.seconds)} frames", file)


def _of_step(output: np.ndarray, truth: np.ndarray, next_output: np.ndarray, next_truth: np.ndarray,
             exact: np.ndarray | None) -> dict[str, float]:
    """What a step from one frame to the next says; the true flow where it is known, or the truth's estimated one."""
    own = films.optical_flow(truth, next_truth)
    if exact is None:
        flow, visible = own, films.seen_again(own, films.optical_flow(next_truth, truth))
    else:
        flow, visible = exact, np.isfinite(exact).all(axis=2)
    return {"warping": films.warping_error(output, next_output, flow, visible),
            "tof": films.flow_difference(films.optical_flow(output, next_output), own),
            "flicker": films.flicker(output, next_output, truth, next_truth)}


class Strip:
    """The first frames of a film around its face, one below the other, as one JPEG."""

    def __init__(self, known: Known) -> None:
        points = known.landmarks[:SHOWN]
        points = points[np.isfinite(points).all(axis=(1, 2))].reshape(-1, 2)
        low, high, size = np.zeros(2), np.array(known.shape[::-1], float), np.array(known.shape[::-1], float)
        if len(points):
            middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
            half = ROOM * np.ptp(points, axis=0).max()
            low, high = np.maximum(middle - half, 0), np.minimum(middle + half, size)
        self._left, self._top = (int(v) for v in low)
        self._right, self._bottom = (int(np.ceil(v)) for v in high)
        wide, tall = self._right - self._left, self._bottom - self._top
        scale = min(1.0, SIDE / max(wide, tall))
        self.width, self.height = max(1, round(scale * wide)), max(1, round(scale * tall))
        self._frames: list[np.ndarray] = []

    def add(self, number: int, frame: np.ndarray) -> None:
        """Take a frame, if it is among those shown."""
        if number < SHOWN:
            cut = frame[self._top:self._bottom, self._left:self._right]
            self._frames.append(cv2.resize(cut, (self.width, self.height), interpolation=cv2.INTER_AREA))

    def jpeg(self) -> bytes:
        return encode_jpeg(np.concatenate(self._frames), 88)


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def rows_table(rows: Sequence[Mapping[str, Any]], metrics: Sequence[Opened]) -> pa.Table:
    """Rows as a table of `schema`."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema(metrics))
