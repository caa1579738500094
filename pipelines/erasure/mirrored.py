"""The mirrored faces of photographs that go, so that a mirrored copy is compared with what looks like it.

In: a workspace from which nothing was deleted yet, and a Selection. Out: embeddings and perceptual hashes
of the mirrored faces, for identity_index.tombstones. They are made of the crops in the face tables and the dataset
versions, a batch at a time. A face whose crop cannot be read there, or whose network is not here, is left out and told
of. Where people go, each face's own code knows its mirrored copies.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from anchorface.faces.align import arcface_matrix, mirrored_points, warp
from anchorface.faces.attributes import perceptual_hash
from anchorface.faces.images import decode_jpeg
from anchorface.pipelines.erasure.rows import table_files
from anchorface.pipelines.erasure.selection import Selection
from anchorface.pipelines.stages.progress import Progress
from anchorface.records.dataset import DatasetVersion
from anchorface.records.errors import DataError, WeightsError
from anchorface.records.lineage import manifests
from anchorface.records.storage import exists, join, read_table

BATCH = 64
Mirrored = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint64]]
"""Rows [M] of `Selection.pictures`, and unit embeddings [M, D] and perceptual hashes [M] of these faces mirrored."""


def mirrored(out: str, selection: Selection, progress: Progress) -> tuple[dict[str, Mirrored], tuple[str, ...]]:
    """What the faces of photographs look like in the mirror.

    Args:
        out: the workspace.
        selection: what goes.
        progress: where to report.

    Returns:
        By embedder, none for one that is not here; and what may come back for that, in words, as `Selection.left`.
    """
    from anchorface.faces.embed import embedder

    found: dict[str, Mirrored] = {}
    count = sum(len(face_ids) for face_ids, *_ in selection.pictures.values())
    if selection.codes or not count:
        return found, ()
    with progress.stage("mirror", count, "faces") as told:
        for name, (face_ids, *_) in sorted(selection.pictures.items()):
            try:
                network = embedder(name)
            except WeightsError:
                continue
            row_of = {face: row for row, face in enumerate(face_ids.tolist())}
            rows: list[int] = []
            units, hashes = [np.zeros((0, network.dimension), np.float32)], list[int]()
            faces = _mirrored_faces(out, row_of)
            while batch := list(islice(faces, BATCH)):
                rows += [row_of[face] for face, _ in batch]
                units.append(network.embed(np.stack([small for _, small in batch]))[0])
                hashes += [perceptual_hash(small) for _, small in batch]
                told.advance(len(batch))
            found[name] = np.array(rows, np.int64), np.concatenate(units), np.array(hashes, np.uint64)
    unknown = count - sum(len(rows) for rows, *_ in found.values())
    said = (f"mirrored copies of {unknown} faces whose crops or network are not here any more: up to half of "
            "them would come back")
    return found, (said,) if unknown else ()


def mirrored_face(crop: bytes, landmarks: ArrayLike) -> NDArray[np.uint8]:
    """The aligned face, uint8 [112, 112, 3], of a mirrored JPEG crop with its five points [5, 2].

    Raises:
        DataError: not a whole JPEG, or points that span no face.
    """
    image = decode_jpeg(crop)
    points = mirrored_points(landmarks, image.shape[1])
    return warp(np.asarray(cv2.flip(image, 1), np.uint8), arcface_matrix(points, 112), 112)


def _mirrored_faces(out: str, face_ids: Iterable[str]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Each face whose crop can be read, once."""
    left = set(face_ids)
    for face, crop, points in _crops(out, left):
        try:
            small = mirrored_face(crop, np.reshape(points, (5, 2)))
        except DataError:
            continue
        left.discard(face)
        yield face, small


def _crops(out: str, left: set[str]) -> Iterator[tuple[str, bytes, list[float]]]:
    """Face, crop and its points, of the faces that are `left` when their table is come to."""
    for uri in table_files(out, "faces"):
        if not left.isdisjoint(read_table(uri, ("face_id",))["face_id"].to_pylist()):
            for row in _rows(uri, ("face_id", "crop", "crop_landmarks"), left).to_pylist():
                yield row["face_id"], row["crop"], row["crop_landmarks"]
    dataset = join(out, "dataset")
    for manifest in manifests(dataset) if left and exists(dataset) else ():
        uri = join(dataset, manifest.manifest_id)
        columns = ("face_id", "shard", "offset", "byte_size", "crop_landmarks")
        version = DatasetVersion(uri=uri, manifest=manifest, faces=_rows(join(uri, "faces.parquet"), columns, left))
        for row in version.rows():
            try:
                yield row["face_id"], version.crop_bytes(row), row["crop_landmarks"]
            except DataError:
                continue


def _rows(uri: str, columns: Sequence[str], face_ids: set[str]) -> pa.Table:
    table = read_table(uri, columns)
    return table.filter(pc.is_in(table["face_id"], value_set=pa.array(sorted(face_ids), pa.string())))
