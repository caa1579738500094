"""How a restored film holds through time: who is in it, frame by frame, and how it moves.

In: a judge's unit embeddings [T, D], likenesses [T], or pairs of neighbouring frames uint8 [H, W, 3] RGB with flow
float32 [H, W, 2], (x, y) in pixels: where each pixel of the first frame goes in the second. Out: one number a film or a
pair. NaN marks a frame of which nothing is known: it is left out. A number that nothing is left for is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

DIS = "OpenCV DIS flow, preset medium"
FEWEST = 3
"""Frames of a clip from which its line can be told apart from its spread."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How likeness changes within clips: slope, per second, of the line of least squares, and the root of the mean
    square of what lies off that line; means over clips.
    """

    slope: float
    spread: float


def likenesses(units: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of each frame with another film's same frame, or with one embedding: float64 [T].

    Args:
        units: [T, D]; a row of NaN where no face was seen. other: [T, D] or [D].
    """
    return np.asarray((units * other).sum(axis=-1), dtype=np.float64)


def clips(frames: int, length: int) -> tuple[slice, ...]:
    """The clips of a film that starts a new one every `length` frames; the last may be shorter."""
    return tuple(slice(start, min(start + length, frames)) for start in range(0, frames, length))


def drift(values: np.ndarray, seconds: np.ndarray, parts: Sequence[slice]) -> Drift:
    """Slope and spread of a film's likeness within its clips; clips with fewer than three known frames do not count.

    Args:
        values: likeness [T]. seconds: of each frame [T]. parts: its clips. Source: our choice.
    """
    slopes, spreads = [], []
    for part in parts:
        known = np.isfinite(values[part])
        y, t = values[part][known], np.asarray(seconds, dtype=np.float64)[part][known]
        if len(y) < FEWEST or not np.ptp(t):
            continue
        t = t - t.mean()
        slope = float(t @ y / (t @ t))
        slopes.append(slope)
        spreads.append(float(np.sqrt(np.mean((y - y.mean() - slope * t) ** 2))))
    return Drift(slope=_mean(slopes), spread=_mean(spreads))


def identity_distance(units: np.ndarray) -> float:
    """VIDD: mean over neighbouring frames of 1 minus their cosine.

    Args:
        units: [T, D], NaN where no face was seen. Source: Chen et al. 2022 (VIDD), with this judge in ArcFace's place.
    """
    return _mean(_steps(units))


def jump(units: np.ndarray, parts: Sequence[slice]) -> float:
    """How much further apart in identity neighbours are across a border of clips than inside clips, on average; 0 where
    a border cannot be seen. Source: our choice.
    """
    steps = _steps(units)
    across = np.zeros(len(steps), dtype=bool)
    across[[part.start - 1 for part in parts if part.start > 0]] = True
    return _mean(steps[across]) - _mean(steps[~across])


def warped(frame: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A frame brought back along the flow to the frame before it: float32 [H, W, 3], bilinear."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(frame.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REPLICATE))


def warping_error(frame: np.ndarray, following: np.ndarray, flow: np.ndarray, visible: np.ndarray) -> float:
    """Mean square difference, in levels of 0..1, between a frame and the following one brought back along the flow.

    Args:
        flow: of the truth. visible: bool [H, W], the pixels that count. Source: Lai et al., ECCV 2018.
    """
    apart = (warped(following, np.where(visible[..., None], flow, 0)) - frame) / 255
    return float(np.square(apart[visible], dtype=np.float64).mean()) if visible.any() else float("nan")


def optical_flow(frame: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Flow estimated by OpenCV's DIS on luminance, float32 [H, W, 2]. Source: Kroeger et al., ECCV 2016."""
    one, other = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (frame, following))
    return np.asarray(cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(one, other, None))  # type: ignore[call-overload]


def seen_again(forth: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where going along `forth` and then along `back` comes home, bool [H, W]: elsewhere the point is hidden.

    Source: Ruder et al., GCPR 2016, as Lai et al. use it.
    """
    height, width = forth.shape[:2]
    home = forth + warped(back, forth)
    far = np.square(forth).sum(axis=2) + np.square(warped(back, forth)).sum(axis=2)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    inside = ((x + forth[..., 0] >= 0) & (x + forth[..., 0] <= width - 1)
              & (y + forth[..., 1] >= 0) & (y + forth[..., 1] <= height - 1))
    return np.asarray(inside & (np.square(home).sum(axis=2) <= 0.01 * far + 0.5))


def flow_difference(flow: np.ndarray, truth: np.ndarray) -> float:
    """tOF: mean distance, in pixels, between an output's flow and the truth's, both estimated alike.

    Source: Chu et al., SIGGRAPH 2020 (TecoGAN), with DIS in the place of Farneback's method.
    """
    return float(np.linalg.norm(flow.astype(np.float64) - truth, axis=2).mean())


def flicker(frame: np.ndarray, following: np.ndarray, truth: np.ndarray, truth_following: np.ndarray) -> float:
    """Mean difference, in 8-bit levels, between how an output and the truth change from frame to frame: the truth's own
    motion does not count. Source: our choice.
    """
    change = following.astype(np.float32) - frame
    return float(np.abs(change - (truth_following.astype(np.float32) - truth)).mean(dtype=np.float64))


def landmark_distance(points: np.ndarray, truth: np.ndarray) -> float:
    """AKD of five points [5, 2]: mean distance in per cent of the distance between the truth's eyes (our choice)."""
    return float(100 * np.linalg.norm(points - truth, axis=1).mean() / np.linalg.norm(truth[0] - truth[1]))


def _steps(units: np.ndarray) -> np.ndarray:
    """1 minus the cosine of each frame with the next: [T - 1]."""
    return 1 - likenesses(units[:-1], units[1:])


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")
