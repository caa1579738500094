"""Faces of a film's frames linked to tracks, and landmarks that do not shake along a track.

In: what a detector (and an embedder) saw of each frame, frame by frame. Out: tracks, which are one face through
neighbouring frames. A face goes to the track that it is nearest to by the overlap of boxes and by the cosine of
embeddings; frames in which it was not found are bridged. Nothing here reads a picture.

Source: linking by overlap in one assignment a frame (Bewley et al. 2016, SORT, without its motion model); the
embedding's part, the limits and the smoothing are our choice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from anchorface.faces.boxes import shared
from anchorface.records.errors import ConfigurationError, DataError

Floats = NDArray[np.float64]
REACH = 3.0
"""Standard deviations of the smoothing that a point looks away from its own time."""
MOVED = 0.03
"""Share of a face's size: on calm heads smoothing moves nine faces of ten by less than half of it, on a shaken one
every second by more than four times as much."""
SHAKE = 0.1
"""The smoothing's standard deviation in seconds: 2.5 frames at 25 a second."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """One face in one frame. frame: its number; seconds: of the film. box: x0, y0, x1, y1; landmarks: [5, 2], both in
    the film's pixels. embedding: unit [D], None where nothing looked.
    """

    frame: int
    seconds: float
    box: tuple[float, ...]
    landmarks: Floats
    embedding: NDArray[np.floating] | None = None


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """When two sightings are one face.

    overlap: intersection over union of their boxes from which they may be. likeness: cosine below which they are not,
    however they overlap. same: cosine from which they are without an overlap, if their centres lie less than `near`
    sides apart and neither is twice as large as the other. gap: seconds in which a face may go unseen.

    On 14 shared films (degraded ones among them; adaface_small) faces of one person in neighbouring frames have cosines
    of at least .72, and people of different films at most .47, 5 of 91 pairs above .4; each person is one track.
    """

    overlap: float = 0.3
    likeness: float = 0.4
    same: float = 0.6
    near: float = 1.0
    gap: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.overlap <= 1 and self.near >= 0 and self.gap >= 0 and -1 <= self.likeness <= self.same <= 1):
            raise ConfigurationError(f"{self}: overlap in (0, 1], likeness <= same in -1..1, near and gap from 0")


class Linker:
    """Gives each sighting its track's number, frame after frame; it remembers open tracks alone.

    Tracks are numbered from 0 in the order of their first sightings. The result is a function of the sightings.
    """

    def __init__(self, settings: LinkSettings = LinkSettings()) -> None:
        self._settings = settings
        self._open: dict[int, Sighting] = {}
        self._tracks, self._frame, self._seconds = 0, -1, float("-inf")

    def add(self, sightings: Sequence[Sighting]) -> list[int]:
        """The tracks of one frame's sightings, in their order.

        Raises:
            DataError: they are of several frames, or of one that is not later than the frame before.
        """
        if not sightings:
            return []
        frame, seconds = sightings[0].frame, sightings[0].seconds
        if any((one.frame, one.seconds) != (frame, seconds) for one in sightings):
            raise DataError(f"frame {frame}: the sightings are of several frames")
        if frame <= self._frame or seconds <= self._seconds:
            raise DataError(f"frame {frame} at {seconds} s: not later than frame {self._frame} at {self._seconds} s")
        self._frame, self._seconds = frame, seconds
        self._open = {track: last for track, last in self._open.items()
                      if seconds - last.seconds <= self._settings.gap or last.frame == frame - 1}
        found = [-1] * len(sightings)
        tracks = list(self._open)
        if tracks:
            fit = np.stack([self._fit(self._open[track], sightings) for track in tracks])
            for row, column in zip(*linear_sum_assignment(np.maximum(fit, 0.0), maximize=True), strict=True):
                if fit[row, column] > 0:
                    found[column] = tracks[row]
        for place, sighting in enumerate(sightings):
            if found[place] < 0:
                found[place], self._tracks = self._tracks, self._tracks + 1
            self._open[found[place]] = sighting
        return found

    def _fit(self, last: Sighting, sightings: Sequence[Sighting]) -> Floats:
        """How well each sighting continues a track, [N]; 0: it does not."""
        settings = self._settings
        boxes = np.array([one.box for one in sightings])
        overlap = shared(last.box, boxes)
        cosine = np.array([np.nan if last.embedding is None or one.embedding is None
                           else float(np.dot(last.embedding, one.embedding)) for one in sightings])
        side, sides = _side(np.array(last.box)), _side(boxes)
        apart = np.linalg.norm(_centre(boxes) - _centre(np.array(last.box)), axis=-1)
        beside = (cosine >= settings.same) & (apart <= settings.near * np.maximum(side, sides)) \
            & (np.maximum(side, sides) <= 2 * np.minimum(side, sides))
        may = ((overlap >= settings.overlap) & ~(cosine < settings.likeness)) | beside
        return np.where(may, overlap + np.nan_to_num(cosine) + 2.0, 0.0)


def link(sightings: Sequence[Sighting], settings: LinkSettings = LinkSettings()) -> list[tuple[int, ...]]:
    """A film's sightings as tracks.

    Args:
        sightings: in the order of their frames.

    Returns:
        The places of each track's sightings in the argument, rising; every sighting is in one track.

    Raises:
        DataError: their frames or times do not rise.
    """
    linker, tracks = Linker(settings), dict[int, list[int]]()
    for start, end in _frames(sightings):
        for place, track in enumerate(linker.add(sightings[start:end]), start=start):
            tracks.setdefault(track, []).append(place)
    return [tuple(places) for places in tracks.values()]


def smooth(seconds: ArrayLike, landmarks: ArrayLike, shake: float = SHAKE) -> Floats:
    """Landmarks along a track without their shaking: at each time, the line that fits the points around it best.

    Points are weighed by a Gaussian of their time. Steady motion stays as it is, at both ends too, and nothing lags.

    Args:
        seconds: [N], rising. landmarks: [N, 5, 2] pixels. shake: standard deviation of the Gaussian in seconds; 0: they
            stay as they are.

    Returns:
        float64 [N, 5, 2].

    Raises:
        DataError: lengths that do not fit, times that do not rise. ConfigurationError: a negative `shake`.

    Source: local linear regression (Cleveland 1979), not made robust.
    """
    times, points = np.asarray(seconds, np.float64), np.asarray(landmarks, np.float64)
    if points.shape != (len(times), 5, 2) or (np.diff(times) <= 0).any():
        raise DataError(f"{len(times)} rising times and landmarks [{len(times)}, 5, 2] are needed, not "
                        f"{list(points.shape)}")
    if shake < 0:
        raise ConfigurationError(f"shake {shake} s: from 0")
    if shake == 0:
        return points.copy()
    result = np.empty_like(points)
    starts = np.searchsorted(times, times - REACH * shake)
    ends = np.searchsorted(times, times + REACH * shake, side="right")
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        away = times[start:end] - times[place]
        weight = np.exp(-0.5 * (away / shake) ** 2)
        m0, m1, m2 = weight.sum(), weight @ away, weight @ away**2
        spread = m0 * m2 - m1 * m1
        at_zero = weight * (m2 - m1 * away) / spread if spread > 1e-12 * m0 * m0 * shake**2 else weight / m0
        result[place] = np.tensordot(at_zero, points[start:end], axes=1)
    return result


def steadied(seconds: ArrayLike, landmarks: ArrayLike, shake: float = SHAKE) -> Floats:
    """Landmarks along a track, smoothed where a detector shakes, and as they were found where a head moves faster than
    smoothing follows.

    Of the way d that smoothing would move a face (its five points' mean, as a share of their box's diagonal, the
    track's median), exp(-(d / MOVED)**2 / 2) is gone. Mean second difference of 256 px crops, in levels, as found,
    smoothed and steadied: a head shaken by up to 57 px a frame 10.9, 26.6, 10.9; two calm ones 3.0, 2.6, 2.6 and 2.7,
    1.6, 1.7.

    Args and Returns: as of `smooth`, whose errors it raises. Source: our choice.
    """
    points = np.asarray(landmarks, np.float64)
    away = smooth(seconds, points, shake) - points
    size = float(np.median(np.linalg.norm(np.ptp(points, axis=1), axis=-1)))
    moved = np.linalg.norm(away, axis=-1).mean(axis=-1) / max(size, 1e-6)
    return np.asarray(points + np.exp(-0.5 * (moved / MOVED) ** 2)[:, None, None] * away)


def bridge(frames: ArrayLike, landmarks: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """A track without gaps: every frame from its first to its last, and landmarks in a line across each gap.

    Args:
        frames: [N] numbers, rising. landmarks: [N, 5, 2].

    Returns:
        int64 [M] and float64 [M, 5, 2].
    """
    seen, points = np.asarray(frames, np.int64), np.asarray(landmarks, np.float64)
    every = np.arange(seen[0], seen[-1] + 1)
    lines = [np.interp(every, seen, values) for values in points.reshape(len(seen), 10).T]
    return every, np.stack(lines, axis=1).reshape(-1, 5, 2)


def _frames(sightings: Sequence[Sighting]) -> Iterator[tuple[int, int]]:
    """Where each frame's sightings begin and end."""
    start = 0
    for end in range(1, len(sightings) + 1):
        if end == len(sightings) or sightings[end].frame != sightings[start].frame:
            yield start, end
            start = end


def _side(boxes: Floats) -> Floats:
    """A box's side, as the root of its area."""
    return np.asarray(np.sqrt(np.maximum((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]), 0)))


def _centre(boxes: Floats) -> Floats:
    return np.asarray((boxes[..., :2] + boxes[..., 2:]) / 2)
