"""A film with zero or more references: faces tracked, restored along their tracks, and pasted back; its sound kept.

In: a film of any length, as a file. Out: a film of the same frames, size, times and sound, whose tracked faces are
restored; H.264 in MP4, or in Matroska where an MP4 does not take the sound. What is outside the faces is encoded anew,
at a quality at which that is hardly seen. The film is read twice: to find its tracks (restoration.film_faces), and to
restore them. What is held in memory are the frames of one clip, and what `film_faces` keeps of each frame.
"""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.align import apply_matrix, ffhq_matrix, paste_back, warp
from anchorface.faces.detect import Detection
from anchorface.faces.tracks import LinkSettings
from anchorface.models.ip_fvr.blending import BlendingSettings
from anchorface.records import ConfigurationError, DataError, PhotoError, derive
from anchorface.records.decoding.film import Frames, open_film_file
from anchorface.records.decoding.sound import Sound, copy_sound
from anchorface.records.film_writing import FilmWriter
from anchorface.records.films import FilmLimits
from anchorface.restoration.clips import Crop, restored_crops
from anchorface.restoration.film_faces import FaceTrack, Film, FilmFaces, find_tracks, with_owners
from anchorface.restoration.photo import FACES
from anchorface.restoration.restorer import Reference, Restorer
from anchorface.restoration.sampler_settings import SamplerSettings

LIMITS = FilmLimits(seconds=86_400.0)
QUALITY = 12
"""x264's constant rate factor of restored films (our choice)."""
PLAYED = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}
"""Sound that players take in an MP4."""
Detect = Callable[[Sequence[NDArray[np.uint8]]], Sequence[Sequence[Detection]]]


@dataclass(frozen=True, kw_only=True)
class RestoredFilm:
    """tracks: that were restored, the largest first. container: `mp4` or `matroska`. silent: why its sound was lost,
    or not all of it; empty where it was, or where it has none.
    """

    tracks: tuple[FaceTrack, ...]
    container: str
    silent: str


class OpenFilm:
    """A film's file, read from its beginning as often as asked.

    Args:
        file: opened for reading at any place in it; it stays open. uri: the name for errors.
    """

    def __init__(self, file: BinaryIO, uri: str) -> None:
        self.file, self.uri = file, uri

    @contextmanager
    def frames(self) -> Iterator[tuple[Frames, Film]]:
        """Its reader, and its frames.

        Raises:
            PhotoError: as records.decoding.film.Frames.
        """
        film = Frames(self.file, self.uri, LIMITS)
        try:
            yield film, iter(film.next, None)
        finally:
            film.close()


@contextmanager
def open_film(uri: str) -> Iterator[OpenFilm]:
    """A film by its address.

    Raises:
        PhotoError: `unreadable`.
    """
    with open_film_file(uri) as file:
        yield OpenFilm(file, uri)


def find_faces(restorer: Restorer, film: OpenFilm, detect: Detect, references: Sequence[Reference] = (), *,
               link: LinkSettings | None = None) -> FilmFaces:
    """A film's tracks, and which of them the references show.

    Args:
        detect: as Detector.detect.

    Raises:
        PhotoError: as restoration.film_faces.find_tracks.
    """
    with film.frames() as (_, frames):
        found = find_tracks(frames, detect, restorer.embedder, film.uri, link or LinkSettings())
    return replace(found, tracks=with_owners(found.tracks, restorer.raw_embeddings(references)))


def restore_film(restorer: Restorer, film: OpenFilm, found: FilmFaces, out: Callable[[str], Any],
                 references: Sequence[Reference] = (), *, faces: str = "all", seed: int = 42,
                 settings: SamplerSettings | None = None, blending: BlendingSettings | None = None,
                 progress: Callable[[float], None] = lambda share: None) -> RestoredFilm:
    """Restore the faces of one film.

    References go to the tracks of the person that they show; other tracks are restored without.

    Args:
        found: from `find_faces`. out: container to a context that gives a file to write to, which takes its place when
            the context ends well (records.storage.writing).
        faces: `all`, or `largest` for the track that covers most pixels in all.
        seed: of the film; a track draws its noise from (seed, its number). blending: as restoration.clips.blending_of.
        progress: takes the share that is done, 0..1.

    Raises:
        PhotoError: whatever reading raises; the file is not put in its place then. ConfigurationError: an unknown
            choice of faces, or what restoration.clips says.
    """
    if faces not in FACES:
        raise ConfigurationError(f"faces {faces!r}: one of {', '.join(FACES)}")
    tracks = sorted(found.tracks, key=lambda track: -track.side**2 * track.seen)
    tracks = tracks[:1] if faces == "largest" else tracks
    with film.frames() as (reader, frames), tempfile.TemporaryFile() as apart:
        ahead = _Ahead(frames, film.uri)
        ahead[0]
        sound, silent = _sound(film, apart, reader.look.begins)
        container = "mp4" if sound is None or set(sound.codecs) <= PLAYED else "matroska"
        with out(container) as file:
            try:
                writer = _writer(file, found, reader, sound, container)
            except DataError as error:
                silent = str(error)
                file.seek(0)
                file.truncate()
                writer = _writer(file, found, reader, None, container)
            with writer:
                drawn = {track.number: restored_crops(
                    restorer, _crops(ahead, track, restorer.size), references if track.owner else (),
                    seed=derive(seed, "track", track.number), length=track.length, likeness=track.likeness or 0.0,
                    settings=settings or SamplerSettings(), blending=blending) for track in tracks}
                for frame in range(len(found.seconds)):
                    second, picture = ahead[frame]
                    here = [track for track in tracks if track.first <= frame < track.stop]
                    for track in sorted(here, key=lambda track: track.side):
                        # All crops come before any paste: `ahead` keeps the pictures as they were.
                        picture = paste_back(picture, next(drawn[track.number]), _matrix(track, frame, restorer.size))
                    writer.add(picture, second)
                    ahead.let_go(frame)
                    progress((frame + 1) / len(found.seconds))
    return RestoredFilm(tracks=tuple(tracks), container=container, silent=silent or writer.silent)


class _Ahead:
    """A film's frames by their number, read as far as somebody asks, and kept until they are let go."""

    def __init__(self, frames: Film, uri: str) -> None:
        self._frames, self._uri, self._first = frames, uri, 0
        self._kept: deque[tuple[float, NDArray[np.uint8]]] = deque()

    def __getitem__(self, frame: int) -> tuple[float, NDArray[np.uint8]]:
        while frame >= self._first + len(self._kept):
            if (found := next(self._frames, None)) is None:
                raise PhotoError("unreadable", self._uri, f"it ends before frame {frame}, which was there a moment ago")
            self._kept.append((found[0], found[1].copy()))  # the memory of the original is filled again
        return self._kept[frame - self._first]

    def let_go(self, frame: int) -> None:
        """Forget the frames up to this one."""
        while self._first <= frame:
            self._kept.popleft()
            self._first += 1


def _writer(file: IO[bytes], found: FilmFaces, reader: Frames, sound: Sound | None, container: str) -> FilmWriter:
    return FilmWriter(file, found.size, reader.rate, look=reader.look, sound=sound, container=container,
                      quality=QUALITY)


def _sound(film: OpenFilm, into: IO[bytes], begins: float) -> tuple[Sound | None, str]:
    """The film's sound, and why there is none where it cannot be read."""
    try:
        return copy_sound(film.file, film.uri, into, begins, LIMITS), ""
    except PhotoError as error:
        return None, error.detail or error.cause


def _matrix(track: FaceTrack, frame: int, size: int) -> NDArray[np.float64]:
    return ffhq_matrix(track.at(frame), size)


def _crops(ahead: _Ahead, track: FaceTrack, size: int) -> Iterator[Crop]:
    """A track's faces, cut out of the film as they are asked for."""
    for frame in range(track.first, track.stop):
        matrix = _matrix(track, frame, size)
        yield Crop(frame, warp(ahead[frame][1], matrix, size), apply_matrix(matrix, track.at(frame)))
