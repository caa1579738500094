"""The synthetic half of what the carried networks learn from, and who of it is for whom.

In: folders that `synthetic.write_corpus` wrote (seed 20261121, six photographs of each identity, 256 px): JPEG files
and `metadata.jsonl`. Out: `Faces` as in `people`, cached as `faces.npz` beside the photographs.
Identity numbers decide the use; the demo's corpus and the tests' corpora have other seeds, so nobody in them is known
to any carried network.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from anchorface.faces.images import read_photo
from anchorface.records import DataError
from anchorface.training.small_networks.people import Faces, concatenate, wide_crop

CORPUS_SEED = 20261121
PHOTOS_EACH = 6
PHOTO_SIDE = 256
ADAFACE_IDENTITIES = (0, 600)
JUDGE_IDENTITIES = (600, 840)
HELD_OUT_IDENTITIES = (840, 920)
"""First number and the number after the last. Autoencoder and base learn from the first two ranges together."""


def read_folder(folder: Path) -> Faces:
    """The faces of one corpus folder; the second reading takes the cache.

    Raises:
        DataError: the folder has no `metadata.jsonl`.
    """
    cache = folder / "faces.npz"
    if cache.is_file():
        with np.load(cache) as stored:
            return Faces(stored["images"], stored["landmarks"], stored["person"], stored["role"])
    listing = folder / "metadata.jsonl"
    if not listing.is_file():
        raise DataError(f"{listing}: not there; write the corpus with synthetic.write_corpus first")
    images, landmarks, persons, roles = [], [], [], []
    for line in listing.read_text().splitlines():
        row = json.loads(line)
        photo, _ = read_photo(str(folder / row["file"]))
        for face in row["faces"]:
            image, inside = wide_crop(photo, np.array(face["landmarks"]))
            images.append(image)
            landmarks.append(inside)
            persons.append(face["subject"])
            roles.append(f"{face['yaw']:.0f}")
    faces = Faces(np.stack(images), np.stack(landmarks), np.array(persons), np.array(roles))
    draft = folder / "faces.part.npz"
    np.savez(draft, images=faces.images, landmarks=faces.landmarks, person=faces.person, role=faces.role)
    draft.rename(cache)
    return faces


def read_corpus(root: Path, identities: tuple[int, int]) -> Faces:
    """The faces of the identities `first <= k < last` from all corpus folders under `root`.

    Raises:
        DataError: there are none.
    """
    cv2.setNumThreads(1)
    parts = []
    for listing in sorted(root.glob("*/metadata.jsonl")):
        faces = read_folder(listing.parent)
        number = np.array([int(person[1:]) for person in faces.person])
        rows = (number >= identities[0]) & (number < identities[1])
        if rows.any():
            parts.append(faces.select(rows))
    if not parts:
        raise DataError(f"{root}: no synthetic identities {identities[0]} to {identities[1] - 1} there")
    return concatenate(parts)
