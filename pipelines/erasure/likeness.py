"""Whether a picture shows an erased person: its faces, found and embedded, against the person's.

In: the embeddings of the person's mean and faces, by embedder. Out: a function of a file. Where the detector or the
embedder is not here, pictures are not looked at, which is said.
"""

from collections.abc import Callable

import numpy as np

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.detect import Detector
from anchorface.faces.images import read_photo
from anchorface.faces.weights import find
from anchorface.identity_index.tombstones import FACE_LIMIT, limit_cosine
from anchorface.pipelines.erasure.find_person import DETECTOR
from anchorface.pipelines.erasure.selection import Selection
from anchorface.records.errors import DataError, PhotoError, WeightsError


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
        found = Detector(find(detector or DETECTOR, "detector"))
        networks = {name: embedder(name) for name in selection.codes}
    except WeightsError as error:
        return lambda uri: False, str(error)
    same = float(np.cos(np.pi * (1.0 - FACE_LIMIT)))

    def shows(uri: str) -> bool:
        try:
            pixels, _ = read_photo(uri)
            small = [warp(pixels, arcface_matrix(face.landmarks, 112), 112) for face in found.detect([pixels])[0]]
        except (PhotoError, DataError):
            return False
        if not small:
            return False
        for name, network in networks.items():
            units = network.embed(np.stack(small))[0]
            faces = selection.pictures[name][1] if name in selection.pictures else selection.codes[name]
            if (units @ selection.codes[name].T >= limit_cosine(name)).any() or (units @ faces.T >= same).any():
                return True
        return False

    return shows, ""
