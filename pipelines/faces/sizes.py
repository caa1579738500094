"""What the sizes of photographs and faces mean for restoration, said as soon as they are known.

In: a workspace. Out: sentences, none where there is nothing to say: that most photographs are too small (after
`ingest`), that most faces are (after `find_faces`), and why no face is left.
"""

import numpy as np

from anchorface.pipelines.faces.face_filters import FaceFilters
from anchorface.pipelines.stages import stage
from anchorface.records.dropped import causes
from anchorface.records.storage import join, read_table

RESTORED = 128
"""Side in pixels of what the smallest restorer makes (recipe `iconface_tiny`)."""
PREVIEW = 2 * RESTORED
"""Longer side of a photograph below which a face that fills half of it has fewer pixels than that (our choice)."""
ORIGINALS = "If they were made from larger ones, give those"

SAID = 5
"""Causes that are named, the commonest."""


def photo_sizes_said(out: str, filters: FaceFilters) -> list[str]:
    """Whether more than half of the photographs are too small to restore a face in them.

    Raises:
        DataError: `ingest` has not finished here.
    """
    tables = [read_table(join(out, path), ("width", "height")) for path in stage.outputs(out, "duplicates", "photos")]
    longer = np.concatenate([np.zeros(0, int), *(np.maximum(table["width"], table["height"]) for table in tables)])
    least = filters.smallest_photo or 0.0
    for limit, what in (
        (least, f"thumbnails: their longer side has fewer than {least:g} px, too few to restore a face in them. They "
                f"are left out, as the dropped table says of each. {ORIGINALS}; `anchorface curate --filter "
                "smallest_photo=off` takes them as they are"),
        (PREVIEW, f"small: their longer side has fewer than {PREVIEW} px, so few of their faces will have {RESTORED} "
                  f"px a side, as what the smallest restorer makes. {ORIGINALS}"),
    ):
        if 2 * (count := int((longer < limit).sum())) > len(longer):
            return [f"{count:,} of {len(longer):,} photographs are {what}"]
    return []


def face_sizes_said(out: str) -> list[str]:
    """Whether more than half of the faces are smaller than what the smallest restorer makes.

    Raises:
        DataError: `find_faces` has not finished here.
    """
    tables = [read_table(join(out, path), ("crop_size",)) for path in stage.outputs(out, "find_faces", "faces")]
    sides = np.concatenate([np.zeros(0, int), *(table["crop_size"].to_numpy() for table in tables)])
    side = min(RESTORED, stage.settings(out, "find_faces")["crop_size"])
    enough = int((sides >= side).sum())
    if 2 * enough >= len(sides):
        return []
    return [f"{enough:,} of {len(sides):,} faces have {side} px a side or more, as what the smallest restorer makes: "
            "of the others a restorer learns that faces are blurred. Give larger photographs; `anchorface curate "
            f"--filter smallest_side={side}` leaves small faces out"]


def why_none(out: str) -> str:
    """Why no face of a workspace is left, counted by cause."""
    said = "".join(f", {count:,} {'were' if count > 1 else 'was'} dropped for {cause!r}"
                   for _, cause, count in causes(stage.dropped(out))[:SAID])
    return (f"{out}: no face was found in any photograph{said}. `anchorface dropped {out}` names each; where faces are "
            "to be seen all the same, larger photographs or another --detector may show them")
