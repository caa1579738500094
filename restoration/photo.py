"""One photograph with zero or more reference photographs: detect, align, restore, paste back.

In: photographs uint8 [H, W, 3] RGB of any size (or their URIs). Out: the photograph with its faces restored, and
what was done to each face. Landmarks that are already known (a sidecar's) take the detector's place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from anchorface.faces.align import arcface_matrix, ffhq_matrix, paste_back, warp
from anchorface.faces.detect import Detection, Detector
from anchorface.faces.images import read_photo
from anchorface.models.anchor import anchor
from anchorface.records import ConfigurationError, PhotoError, derive
from anchorface.restoration.restorer import EMBEDDING_SIZE, Reference, Restorer
from anchorface.restoration.sampler_settings import SamplerSettings

FACES = ("all", "largest")


@dataclass(frozen=True, kw_only=True)
class RestoredFace:
    """One face of a photograph.

    detection: where it stood. matrix: [2, 3] photo to crop. before, after: uint8 [S, S, 3]. references: how many
    were used. enlarged: the face's side in the photo over the side the network works at; above 1, the photograph
    had more pixels than the network, and the pasted face is softer than its surroundings can be. likeness: the degraded
    face's cosine with the references' anchor, trust: how far they were believed, 0..1; None without references.
    """

    detection: Detection
    matrix: np.ndarray
    before: np.ndarray
    after: np.ndarray
    references: int
    enlarged: float
    likeness: float | None = None
    trust: float | None = None


@dataclass(frozen=True, kw_only=True)
class RestoredPhoto:
    """image: uint8 [H, W, 3], equal to the input outside the faces. faces: from the largest to the smallest."""

    image: np.ndarray
    faces: tuple[RestoredFace, ...]


def restore_photo(restorer: Restorer, photo: np.ndarray, references: Sequence[Reference] = (), *,
                  detector: Detector | None = None, detections: Sequence[Detection] | None = None,
                  faces: str = "all", seed: int = 42, settings: SamplerSettings | None = None,
                  uri: str = "photo") -> RestoredPhoto:
    """Restore the faces of one photograph.

    All references show one person. In a photograph of several faces they go to the face that is nearest to them
    for the embedder; the others are restored without references.

    Args:
        photo: uint8 [H, W, 3].
        references: from `open_references`.
        detector: finds the faces, unless `detections` are given.
        faces: `all`, or `largest` for the largest face alone.
        seed: of the photograph; face n (from the largest) draws its noise from (seed, n).
        uri: the name for errors.

    Raises:
        PhotoError: `no face`.
        ConfigurationError: neither detector nor detections, or an unknown choice of faces.
    """
    if faces not in FACES:
        raise ConfigurationError(f"faces {faces!r}: one of {', '.join(FACES)}")
    found = sorted(_find(photo, detector, detections, uri), key=lambda d: -_area(d))
    found = found[:1] if faces == "largest" else found
    matrices = [ffhq_matrix(d.landmarks, restorer.size) for d in found]
    crops = np.stack([warp(photo, matrix, restorer.size) for matrix in matrices])
    landmarks = np.stack([d.landmarks @ m[:, :2].T + m[:, 2] for d, m in zip(found, matrices, strict=True)])
    owner = _owner(restorer, photo, found, references)
    shown = [tuple(references) if number == owner else () for number in range(len(found))]
    restored = restorer.restore_aligned(crops, shown, landmarks=landmarks, settings=settings,
                                        seeds=[derive(seed, "face", number) for number in range(len(found))])
    image, told = photo, []
    for number in reversed(range(len(found))):
        image = paste_back(image, restored[number], matrices[number])
        likeness = trust = None
        if number == owner:
            raw = restorer.embed([crops[number]], [landmarks[number]])[0]
            likeness = float(raw @ _anchor(restorer, references) / np.linalg.norm(raw))
            trust = restorer.trusted(likeness, settings or SamplerSettings())
        told.append(RestoredFace(
            detection=found[number], matrix=matrices[number], before=crops[number], after=restored[number],
            references=len(shown[number]), enlarged=1 / float(np.sqrt(np.linalg.det(matrices[number][:, :2]))),
            likeness=likeness, trust=trust))
    return RestoredPhoto(image=image, faces=tuple(reversed(told)))


def open_references(restorer: Restorer, uris: Sequence[str], detector: Detector) -> list[Reference]:
    """Reference photographs as aligned references: the largest face of each.

    Raises:
        PhotoError: a photograph that cannot be read, or `no face` in it.
    """
    result = []
    for uri in uris:
        photo, _ = read_photo(uri)
        largest = max(_find(photo, detector, None, uri), key=_area)
        result.append(make_reference(restorer, photo, largest.landmarks))
    return result


def make_reference(restorer: Restorer, photo: np.ndarray, landmarks: np.ndarray) -> Reference:
    """One reference from a photograph uint8 [H, W, 3] and its face's landmarks [5, 2]; embedded at full detail."""
    unit, norm = restorer.embedder.embed(warp(photo, arcface_matrix(landmarks), EMBEDDING_SIZE)[None])
    return Reference(image=warp(photo, ffhq_matrix(landmarks, restorer.size), restorer.size),
                     raw_embedding=unit[0] * norm[0])


def _find(photo: np.ndarray, detector: Detector | None, detections: Sequence[Detection] | None,
          uri: str) -> Sequence[Detection]:
    if detections is None:
        if detector is None:
            raise ConfigurationError(f"{uri}: give a detector or the faces' landmarks (detections)")
        detections = detector.detect([photo])[0]
    if not detections:
        raise PhotoError("no face", uri, "no face was found; if one is there, give its landmarks or a cleaner picture")
    return detections


def _owner(restorer: Restorer, photo: np.ndarray, found: Sequence[Detection], references: Sequence[Reference]) -> int:
    """Which face the references show: the nearest one by embedding; -1 without references."""
    if not references:
        return -1
    if len(found) == 1:
        return 0
    crops = np.stack([warp(photo, arcface_matrix(d.landmarks), EMBEDDING_SIZE) for d in found])
    return int(np.argmax(restorer.embedder.embed(crops)[0] @ _anchor(restorer, references)))


def _anchor(restorer: Restorer, references: Sequence[Reference]) -> np.ndarray:
    """The anchor of references as the restorer's run weighs them, unit [D]."""
    raw, encoders = torch.from_numpy(restorer.raw_embeddings(references)), restorer.encoders
    return np.asarray(anchor(raw.double()[None], encoders.temperature, encoders.quality)[0].numpy())


def _area(detection: Detection) -> float:
    x0, y0, x1, y1 = detection.box
    return (x1 - x0) * (y1 - y0)
