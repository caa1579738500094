"""Faces embedded by a second network that tells people apart better than the face table's own.

In, from the workspace: `faces/part-*.parquet`. Out: `clusterer/part-*.parquet` (face_id, embedding: unit float32 [D]),
a part for each; a rerun embeds only the parts that changed. The face table's own embeddings stay the anchor's.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.embed import embedder
from anchorface.faces.images import decode_jpeg
from anchorface.faces.weights import find
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.progress import Progress
from anchorface.pipelines.stages.stage import Counts, Outputs, Part
from anchorface.records.hashes import sha256
from anchorface.records.storage import filesystem, join

VERSION = 2
STAGE = FOLDER = "clusterer"
BATCH = 64
SCHEMA = pa.schema([("face_id", pa.string()), ("embedding", pa.list_(pa.float32()))])


def second_look(
    out: str, clusterer: str, *, progress: Progress | None = None, concurrency: int | None = None
) -> dict[str, str]:
    """Embed all crops of a workspace with another network, or what is left of them.

    Args:
        out: a workspace that `find_faces` filled.
        clusterer: a weight's name.
        progress: where to report.
        concurrency: Ray workers; 0 works in this process, without Ray.

    Returns:
        Path in the workspace -> SHA-256 of the tables written.

    Raises:
        DataError: `find_faces` has not finished here.
        WeightsError: the network's file is not here.
    """
    system, _ = filesystem(out)
    parts = []
    for path, digest in stage.outputs(out, "find_faces", "faces").items():
        name = path.rpartition("/")[2].removesuffix(".parquet")
        with system.open_input_file(filesystem(join(out, path))[1]) as file:
            rows = pq.ParquetFile(file).metadata.num_rows
        parts.append(Part(name=name, rows=rows, inputs=digest, payload=stage.payload({"path": path})))
    settings = {"version": VERSION, "network": clusterer, "sha256": sha256(find(clusterer, "embedder"))}
    stage.run(
        out, STAGE, parts, partial(_Embedder, out, clusterer), settings=settings, unit="faces",
        progress=progress, concurrency=concurrency,
    )
    return stage.outputs(out, STAGE, FOLDER)


class _Embedder:
    """Holds the network of one worker and embeds one part after the other."""

    def __init__(self, out: str, clusterer: str) -> None:
        self._out, self._network = out, embedder(clusterer)

    def __call__(self, name: str, payload: Mapping[str, Any]) -> tuple[Outputs, Counts]:
        system, path = filesystem(join(self._out, payload["path"]))
        face_ids: list[str] = []
        units = [np.zeros((0, self._network.dimension), np.float32)]
        with system.open_input_file(path) as file:
            columns = ["face_id", "crop", "crop_landmarks"]
            for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH, columns=columns):
                rows = batch.to_pylist()
                face_ids += [row["face_id"] for row in rows]
                units.append(self._network.embed(np.stack([_aligned(row) for row in rows]))[0])
        vectors = np.concatenate(units)
        offsets = np.arange(len(face_ids) + 1, dtype=np.int32) * self._network.dimension
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
        table = pa.Table.from_arrays([pa.array(face_ids, pa.string()), lists], schema=SCHEMA)
        return {f"{FOLDER}/{name}.parquet": stage.parquet_bytes(table)}, {"faces": len(face_ids)}


def _aligned(row: Mapping[str, Any]) -> np.ndarray:
    matrix = arcface_matrix(np.reshape(row["crop_landmarks"], (5, 2)))
    return warp(decode_jpeg(row["crop"]), matrix, 112)
