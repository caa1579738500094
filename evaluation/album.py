"""The worst picture of people in an album, restored with their best ones: nothing is measured, nobody knows the truth.

In: a dataset version. Out: `AlbumPicture` values, which the report shows first.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorface.evaluation.sources import face_picture
from anchorface.records.dataset import DatasetVersion
from anchorface.records.seeds import derive
from anchorface.restoration import Reference, Restorer, SamplerSettings

MOST_REFERENCES = 3


@dataclass(frozen=True, kw_only=True)
class AlbumPicture:
    """One person's picture, uint8 [S, S, 3] as it is (before) and restored (after), and those that helped.

    learned: whether training has seen this person. side: of the face in the photograph, px.
    """

    identity: str
    learned: bool
    side: int
    before: np.ndarray
    references: tuple[np.ndarray, ...]
    after: np.ndarray


def restore_worst(restorer: Restorer, dataset: DatasetVersion, *, count: int = 4, seed: int = 42,
                  settings: SamplerSettings | None = None) -> list[AlbumPicture]:
    """Restore the worst picture of each of some people.

    Of pictures the smallest face is the worst, from the restorer's side on the least sharp one; a person's other
    photographs help, the best first. The people with the worst pictures are shown, those whom training has not seen
    before the others (all of it our choice, made before anything is restored).

    Args:
        count: people, at most; one who stands in a single photograph is not shown.
    """
    people: dict[str, list[dict[str, Any]]] = defaultdict(list)
    columns = ("identity", "face_id", "photo_id", "split", "crop_size", "sharpness")
    for row in dataset.rows(columns=columns):
        people[row["identity"]].append(row)

    def quality(row: dict[str, Any]) -> tuple[float, float, str]:
        return min(float(row["crop_size"]), restorer.size), float(row["sharpness"] or 0.0), row["face_id"]

    shown = []
    for rows in people.values():
        worst, *others = sorted(rows, key=quality)
        others = [row for row in others if row["photo_id"] != worst["photo_id"]]
        if others:
            shown.append((worst["split"] == "train", quality(worst), worst, others[: -MOST_REFERENCES - 1 : -1]))
    made: list[AlbumPicture] = []
    for learned, _, worst, others in sorted(shown, key=lambda each: each[:2])[:count]:
        picture = face_picture(dataset, worst["face_id"], restorer.size)
        helpers = [face_picture(dataset, row["face_id"], restorer.size) for row in others]
        after = restorer.restore_aligned(
            picture.image[None], [[Reference(image=one.image, raw_embedding=one.raw_embedding) for one in helpers]],
            seeds=[derive(seed, "album", len(made))], landmarks=picture.landmarks[None], settings=settings)[0]
        made.append(AlbumPicture(
            identity=worst["identity"], learned=learned, side=int(worst["crop_size"]), before=picture.image,
            references=tuple(one.image for one in helpers), after=after))
    return made
