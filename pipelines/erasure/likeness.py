"""Whether a picture or film shows an erased person: its faces, found and embedded, against the person's. Of a film one
frame in a second is looked at.

In: the embeddings of the person's mean and faces, by embedder. Out: a function of a file. Where the detector or the
embedder is not here, pictures are not looked at, which is said.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.detect import Detector
from anchorface.faces.images import read_photo
from anchorface.identity_index.tombstones import FACE_LIMIT, limit_cosine
from anchorface.pipelines.erasure.selection import Selection
from anchorface.pipelines.sources.opening import open_file
from anchorface.records.decoding.film import Frames
from anchorface.records.errors import DataError, PhotoError, WeightsError
from anchorface.records.films import FilmLimits
from anchorface.records.kinds import kind_of

EVERY = 1.0
"""Seconds of a film from one look to the next (our choice)."""


def shows_person(selection: Selection, detector: str | None) -> tuple[Callable[[str], bool], str]:
    """The function, and why pictures are not looked at; empty where they are.

    Args:
        selection: of people; pictures of photographs alone are known by their names. detector: a weight's name, that
            of `find_faces` if None.
    """
    if not selection.codes:
        return lambda uri: False, ""
    from anchorface.faces.embed import embedder

    try:
        found = Detector(detector or "default")
        networks = {name: embedder(name) for name in selection.codes}
    except WeightsError as error:
        return lambda uri: False, str(error)
    same = float(np.cos(np.pi * (1.0 - FACE_LIMIT)))

    def shows(uri: str) -> bool:
        try:
            return any(holds(pixels) for pixels in _pictures(uri))
        except (PhotoError, DataError):
            return False

    def holds(pixels: NDArray[np.uint8]) -> bool:
        small = [warp(pixels, arcface_matrix(face.landmarks, 112), 112) for face in found.detect([pixels])[0]]
        if not small:
            return False
        for name, network in networks.items():
            units = network.embed(np.stack(small))[0]
            faces = selection.pictures[name][1] if name in selection.pictures else selection.codes[name]
            if (units @ selection.codes[name].T >= limit_cosine(name)).any() or (units @ faces.T >= same).any():
                return True
        return False

    return shows, ""


def _pictures(uri: str) -> Iterator[NDArray[np.uint8]]:
    """A picture, or a film's frames, one in EVERY seconds."""
    if kind_of(uri) != "film":
        yield read_photo(uri)[0]
        return
    with open_file(uri) as file:
        film = Frames(file, uri, FilmLimits())
        try:
            second = 0.0
            while (frame := film.next(second)) is not None:
                yield frame[1]
                second = frame[0] + EVERY
        finally:
            film.close()
