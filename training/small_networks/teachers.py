"""Teachers of the identity network: freely licensed networks that stay out of the repository, and what they say of
invented pictures, computed once.

    pip install --no-deps --target <folder> face-recognition-models==0.3.0
    python -m anchorface.training.small_networks pictures --corpus <corpus> --dlib <folder>/<the first teacher's file>

In: pictures by number from `variety`. Out: `<work>/pictures/<block>.npy` (uint8 [500, 144, 144, 3]) and
`<block>.npz` (landmarks, persons, one code a picture and teacher), which is written last and marks a finished block.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from anchorface.faces.align import warp
from anchorface.faces.dlib_resnet import CHIP, chip_matrix, read_network
from anchorface.faces.embed import OnnxEmbedder
from anchorface.faces.weights import weight
from anchorface.records import DataError, WeightsError
from anchorface.records.hashes import sha256
from anchorface.training.small_networks.augment import plain
from anchorface.training.small_networks.run import half_precision
from anchorface.training.small_networks.variety import PICTURE, Inventor, Variety

DLIB_SHA256 = weight("dlib_resnet_v1").sha256
SECOND = "mobileface_mit_112"
TEACHERS = {"dlib": 128, "mobileface": 256}
"""Name -> numbers of its code."""
BLOCK = 500
_HOW = ("it is in the public domain: `pip install --no-deps --target <folder> face-recognition-models==0.3.0` puts it "
        "into <folder>/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat; name it with --dlib")


class Teachers:
    """Both teachers.

    Args:
        dlib: `dlib_face_recognition_resnet_model_v1.dat`; the second teacher is looked for by its weight's name.
        device: of the first, the costly one.

    Raises:
        WeightsError: a file that is missing or of another hash; says how to get it.
    """

    def __init__(self, dlib: Path | None, device: str = "cpu") -> None:
        if dlib is None or not dlib.is_file():
            raise WeightsError(f"{dlib or 'no file named'}: the first teacher, dlib's network, is not there; {_HOW}")
        if sha256(dlib) != DLIB_SHA256:
            raise WeightsError(f"{dlib}: its SHA-256 is {sha256(dlib)}, but the recipe's first teacher has "
                               f"{DLIB_SHA256}; {_HOW}")
        self.device = torch.device(device)
        self.first = read_network(dlib).to(self.device, memory_format=torch.channels_last)
        self.second = OnnxEmbedder(SECOND)

    @torch.no_grad()
    def codes(self, images: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
        """Unit codes float32 [N, D] of pictures uint8 [N, S, S, 3] with landmarks [N, 5, 2], by teacher."""
        pairs = list(zip(images, landmarks, strict=True))
        chips = np.stack([warp(image, chip_matrix(points), CHIP) for image, points in pairs])
        with half_precision(self.device):  # to .9997 what single precision gives, in half the time
            found = [self.first(torch.from_numpy(chips[i : i + 20]).to(self.device).permute(0, 3, 1, 2).float())
                     for i in range(0, len(chips), 20)]
        codes = torch.nn.functional.normalize(torch.cat(found).float(), dim=1).cpu().numpy()
        return {"dlib": codes, "mobileface": self.second.embed(np.stack([plain(*pair) for pair in pairs]))[0]}


@dataclass(frozen=True)
class Pictures:
    """Pictures that teachers have seen: images uint8 [N, 144, 144, 3] (block by block, left on disk), landmarks
    float32 [N, 5, 2], persons [N], codes: teacher -> unit float32 [N, D].
    """

    images: tuple[np.ndarray, ...]
    landmarks: np.ndarray
    person: np.ndarray
    codes: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.person)

    def image(self, number: int) -> np.ndarray:
        """The picture of a number."""
        return self.images[number // BLOCK][number % BLOCK]


Look = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""Images and landmarks to unit codes by teacher: `Teachers.codes`."""


def make_block(inventor: Inventor, look: Look, folder: Path, block: int) -> None:
    """Draw the pictures of a block, let the teachers look at them, store both; nothing to do where it is stored."""
    images_file, codes_file = folder / f"{block:05d}.npy", folder / f"{block:05d}.npz"
    if codes_file.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [inventor.picture(number) for number in range(block * BLOCK, (block + 1) * BLOCK)]
    images = np.stack([picture.image for picture in drawn])
    landmarks = np.stack([picture.landmarks for picture in drawn])
    draft = folder / f"{block:05d}.part.npy"
    np.save(draft, images)
    draft.rename(images_file)
    draft = folder / f"{block:05d}.part.npz"
    np.savez(draft, landmarks=landmarks, person=np.array([picture.person for picture in drawn]),
             recipe=np.array(_recipe(inventor.settings)),
             **look(images, landmarks))  # type: ignore[arg-type]
    draft.rename(codes_file)


def read_pictures(folder: Path, count: int, settings: Variety) -> Pictures:
    """The first `count` pictures, a multiple of 500.

    Raises:
        DataError: some are not made yet, or were made by other settings.
    """
    images, parts = [], []
    for block in range(count // BLOCK):
        codes_file = folder / f"{block:05d}.npz"
        if not codes_file.is_file():
            raise DataError(f"{codes_file}: not there; {count} pictures are needed: run "
                            "`python -m anchorface.training.small_networks pictures` first, with the teachers' files")
        with np.load(codes_file) as stored:
            if str(stored["recipe"]) != _recipe(settings):
                raise DataError(f"{codes_file}: made by other settings: {stored['recipe']}; delete {folder}")
            parts.append({name: stored[name] for name in ("landmarks", "person", *TEACHERS)})
        images.append(np.load(folder / f"{block:05d}.npy", mmap_mode="r"))
        if images[-1].shape != (BLOCK, PICTURE, PICTURE, 3):
            raise DataError(f"{folder}/{block:05d}.npy: {images[-1].shape} is no block of pictures; delete {folder}")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Pictures(tuple(images), joined["landmarks"], joined["person"], {name: joined[name] for name in TEACHERS})


def _recipe(settings: Variety) -> str:
    return json.dumps({"variety": asdict(settings), "dlib": DLIB_SHA256, "second": SECOND})
