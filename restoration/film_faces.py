"""Whose faces stand where in a film: its first pass, which makes tracks, and decides which of them the references show.

A frame is let go once it was looked at. What stays is its time, 44 bytes for each face in it, and an embedding for each
track.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from anchorface.faces.align import arcface_matrix, ffhq_matrix, warp
from anchorface.faces.detect import Detection
from anchorface.faces.embed import Embedder
from anchorface.faces.tracks import SHAKE, Linker, LinkSettings, Sighting, bridge, steadied
from anchorface.models.anchor import anchor
from anchorface.records import PhotoError
from anchorface.restoration.restorer import EMBEDDING_SIZE

LEAST = 3
"""Frames in which a face must be seen to have a track; what a detector sees once or twice is often none (our choice).
"""
LIKENESS = 0.2
"""Cosine below which a track and references may be of different people (our choice). It depends on the embedder: with
adaface_small a third of the pairs of different people in the shared films lie above, so who is said to be a stranger
most likely is one, and a stranger may go unsaid."""
Film = Iterator[tuple[float, NDArray[np.uint8]]]
"""Times in seconds, rising, and frames uint8 [H, W, 3]."""


@dataclass(frozen=True, kw_only=True)
class FaceTrack:
    """One face through a film.

    number: of the track. first: its first frame; landmarks: float32 [N, 5, 2] pixels in it and in the N - 1 frames
    after it, smoothed, and in a line where it was not seen. box: in its first frame. side: root of its mean area in
    pixels. seen: in how many frames. embedding: unit [D], the mean over them; length: the mean of the raw embeddings'.
    likeness: its cosine with the references' anchor, None without any. owner: whether the references are taken for this
    person's.
    """

    number: int
    first: int
    landmarks: NDArray[np.float32]
    box: tuple[float, ...]
    side: float
    seen: int
    embedding: NDArray[np.floating]
    length: float
    likeness: float | None = None
    owner: bool = False

    @property
    def stop(self) -> int:
        """The frame behind its last."""
        return self.first + len(self.landmarks)

    def enlarged(self, size: int) -> float:
        """The largest side of its crops in the film over `size`, the side that the network works at."""
        return max(1 / float(np.sqrt(np.linalg.det(ffhq_matrix(points, size)[:, :2]))) for points in self.landmarks)

    def at(self, frame: int) -> NDArray[np.float32]:
        """Landmarks [5, 2] in a frame."""
        return self.landmarks[frame - self.first]


@dataclass(frozen=True, kw_only=True)
class FilmFaces:
    """seconds: float64 [T], of all frames. size: width and height. tracks: in the order of their first frames. alone:
    sightings in no track.
    """

    seconds: NDArray[np.float64]
    size: tuple[int, int]
    tracks: tuple[FaceTrack, ...]
    alone: int


class _Growing:
    """A track that is being made."""

    def __init__(self, box: tuple[float, ...]) -> None:
        self.box, self.area, self.length = box, 0.0, 0.0
        self.frames, self.points = array("l"), array("f")
        self.total: NDArray[np.floating] | float = 0.0

    def add(self, sighting: Sighting, embedding: NDArray[np.floating], length: float) -> None:
        x0, y0, x1, y1 = sighting.box
        self.area += (x1 - x0) * (y1 - y0)
        self.frames.append(sighting.frame)
        self.points.extend(sighting.landmarks.ravel().tolist())
        self.total = self.total + embedding
        self.length += length


def find_tracks(film: Film, detect: Callable[[Sequence[NDArray[np.uint8]]], Sequence[Sequence[Detection]]],
                embedder: Embedder, uri: str, link: LinkSettings, shake: float = SHAKE) -> FilmFaces:
    """Look at a whole film.

    Args:
        detect: frames to the faces in each, as Detector.detect. uri: the name for errors. shake: as
            faces.tracks.smooth.

    Raises:
        PhotoError: `size changes`, `no face`, `no track` where no face is seen in LEAST frames that follow each other,
            and whatever reading raises.
    """
    linker, growing, seconds = Linker(link), dict[int, _Growing](), array("d")
    size: tuple[int, ...] = ()
    for frame, (second, picture) in enumerate(film):
        if size and picture.shape != size:
            raise PhotoError("size changes", uri, f"from {list(size[:2])} to {list(picture.shape[:2])}; cut it there")
        size = picture.shape
        seconds.append(second)
        found = detect([picture])[0]
        if not found:
            continue
        crops = np.stack([warp(picture, arcface_matrix(one.landmarks), EMBEDDING_SIZE) for one in found])
        embeddings, lengths = embedder.embed(crops)
        sightings = [Sighting(frame=frame, seconds=second, box=one.box, landmarks=one.landmarks, embedding=embedding)
                     for one, embedding in zip(found, embeddings, strict=True)]
        for track, *one in zip(linker.add(sightings), sightings, embeddings, lengths.tolist(), strict=True):
            growing.setdefault(track, _Growing(one[0].box)).add(*one)
    if not growing:
        raise PhotoError("no face", uri, "no face was found in any frame")
    kept = [one for one in growing.values() if len(one.frames) >= LEAST]
    alone = sum(len(one.frames) for one in growing.values() if len(one.frames) < LEAST)
    if not kept:
        raise PhotoError("no track", uri, f"{alone} face(s), but none in {LEAST} neighbouring frames: restore single "
                                          "frames as photographs")
    times = np.array(seconds)
    return FilmFaces(seconds=times, size=(size[1], size[0]), alone=alone,
                     tracks=tuple(_whole(number, one, times, shake) for number, one in enumerate(kept)))


def _whole(number: int, track: _Growing, seconds: NDArray[np.float64], shake: float) -> FaceTrack:
    frames, points = np.array(track.frames), np.array(track.points).reshape(-1, 5, 2)
    every, landmarks = bridge(frames, steadied(seconds[frames], points, shake))
    embedding = np.asarray(track.total / max(float(np.linalg.norm(track.total)), 1e-12))
    return FaceTrack(number=number, first=int(every[0]), landmarks=landmarks.astype(np.float32), box=track.box,
                     side=float(np.sqrt(track.area / len(frames))), seen=len(frames), embedding=embedding,
                     length=track.length / len(frames))


def with_owners(tracks: Sequence[FaceTrack], references: NDArray[np.floating]) -> tuple[FaceTrack, ...]:
    """The tracks, with what the references say: all show one person, who stands in a frame once.

    The nearest track is theirs, whatever its likeness, as with photographs; then, in the order of likeness, every
    track of at least LIKENESS that shares no frame with one that is theirs already.

    Args:
        references: raw embeddings [R, D]; R may be 0.
    """
    if not len(references):
        return tuple(tracks)
    person = anchor(torch.from_numpy(np.asarray(references)).float()[None])[0].numpy()
    told = [replace(track, likeness=float(track.embedding @ person)) for track in tracks]
    owners: list[FaceTrack] = []
    for track in sorted(told, key=lambda one: -(one.likeness or 0.0)):
        apart = all(track.stop <= other.first or other.stop <= track.first for other in owners)
        if not owners or (apart and (track.likeness or 0.0) >= LIKENESS):
            owners.append(track)
    numbers = {track.number for track in owners}
    return tuple(replace(track, owner=track.number in numbers) for track in told)


def strangers(tracks: Sequence[FaceTrack], references: NDArray[np.floating]) -> dict[int, float]:
    """References that may show another person than the film does: their places, and each's largest cosine with a track
    that they were taken for.
    """
    owners = [track.embedding for track in tracks if track.owner]
    if not owners:
        return {}
    unit = references / np.maximum(np.linalg.norm(references, axis=1, keepdims=True), 1e-12)
    nearest = (unit @ np.stack(owners).T).max(axis=1)
    return {place: float(cosine) for place, cosine in enumerate(nearest) if cosine < LIKENESS}
