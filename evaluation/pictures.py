"""Restored pictures as files: one strip per case, and a sheet of all of them.

In: an evaluation folder and the source of its pictures. Out: `case-000.png` (degraded, references, restored without and
with references and by other programs, truth, side by side) and `sheet.png`.
"""

import json

import cv2
import numpy as np

from anchorface.evaluation.page_pictures import Gallery, first
from anchorface.evaluation.protocol import Protocol
from anchorface.evaluation.sources import face_picture, open_source
from anchorface.faces.images import decode_jpeg
from anchorface.records import storage

GAP = 4


def write_pictures(folder: str, dataset_uri: str, out: str, *, count: int = 8) -> list[str]:
    """Write the first `count` cases of an evaluation as pictures.

    Args:
        folder: what `evaluate` wrote. dataset_uri: the dataset version or folder. out: folder for the PNG files.

    Returns:
        The files, the sheet last.

    Raises:
        DataError, StorageError: a file is missing or damaged.
    """
    conditions = json.loads(storage.read_bytes(storage.join(folder, "table.json")))["conditions"]
    protocol = Protocol.from_json(storage.read_bytes(storage.join(folder, "protocol.json")).decode())
    source = open_source(dataset_uri, protocol.policy)
    gallery = Gallery.open(folder, protocol, source, conditions)
    rows = {row.number: row for row in protocol.rows}
    most = max(len(row.references) for row in protocol.rows)
    strips, written = [], []
    for number in first(gallery, count):
        row, blank = rows[number], np.full((protocol.size, protocol.size, 3), 255, np.uint8)
        shown = [face_picture(source, face_id, protocol.size).image for face_id in row.references]
        answers = [blank if gallery.answers[slug][number]["psnr"] is None else decode_jpeg(gallery.image(slug, number))
                   for slug in ("degraded", *(slug for slug, _ in gallery.columns)) if slug in gallery.answers]
        truth = face_picture(source, row.target, protocol.size).image
        strips.append(_side_by_side([answers[0], *shown, *[blank] * (most - len(shown)), *answers[1:], truth]))
        written.append(write_png(storage.join(out, f"case-{number:03d}.png"), strips[-1]))
    return [*written, write_png(storage.join(out, "sheet.png"), np.concatenate(strips))]


def _side_by_side(images: list[np.ndarray]) -> np.ndarray:
    padded = [cv2.copyMakeBorder(i, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)) for i in images]
    return np.concatenate(padded, axis=1)


def write_png(uri: str, image: np.ndarray) -> str:
    """A picture uint8 [H, W, 3] as a file; its URI."""
    storage.write_atomic(uri, cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    return uri
