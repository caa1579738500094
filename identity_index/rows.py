"""The columns of the face table, and any table of faces brought into their order and types.

Inside, embeddings are fixed-size lists (Lance's vector type); outside they are as records.FACE_SCHEMA has them.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from anchorface.records import FACE_SCHEMA
from anchorface.records.errors import DataError

INDEX_SCHEMA = pa.schema([
    *(field for field in FACE_SCHEMA if field.name != "crop"),
    pa.field("identity", pa.string()), pa.field("split", pa.string()), pa.field("crop_bytes", pa.int64()),
])
"""The face table: records.FACE_SCHEMA without `crop`, plus identity, split and crop_bytes (the crop's size)."""
BATCH = 8192


def index_rows(faces: pa.Table, dimension: int | None = None) -> pa.Table:
    """The table in INDEX_SCHEMA's order and types, embeddings as fixed-size lists; further columns stand at the end.

    Args:
        faces: the columns of INDEX_SCHEMA, in any order.
        dimension: numbers in an embedding; None for as many as the first has.

    Raises:
        DataError: no rows, a missing column, crops, a face id given twice, embeddings of different lengths.
    """
    missing = [name for name in INDEX_SCHEMA.names if name not in faces.column_names]
    if missing:
        raise DataError(f"face index: the table lacks {', '.join(missing)}")
    if "crop" in faces.column_names:
        raise DataError("face index: the table holds `crop`; crops are given apart, as batches of face_id and crop")
    if not len(faces):
        raise DataError("face index: no faces; see the dropped table for what became of the photos")
    repeated = len(faces) - len(faces["face_id"].unique())
    if repeated:
        raise DataError(f"face index: {repeated} face ids stand in more than one row")
    embedding = faces["embedding"]
    lengths = _lengths(embedding)
    dimension = dimension or next(iter(lengths))
    if lengths != {dimension} or not dimension:
        raise DataError(f"face index: embeddings of {sorted(lengths)} numbers; all must have {dimension}")
    further = [name for name in faces.column_names if name not in INDEX_SCHEMA.names]
    vectors = pa.chunked_array([
        pa.FixedSizeListArray.from_arrays(chunk.flatten().cast(pa.float32()), dimension) for chunk in embedding.chunks])
    light = faces.select([*(name for name in INDEX_SCHEMA.names if name != "embedding"), *further])
    wanted = pa.schema([*(field for field in INDEX_SCHEMA if field.name != "embedding"),
                        *(faces.schema.field(name) for name in further)])
    try:
        ordered = light.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"face index: {error}") from error
    return ordered.add_column(INDEX_SCHEMA.get_field_index("embedding"), "embedding", vectors)


def by_identity(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows in batches, in order of identity and face id: a person's faces are read as one piece."""
    names = [("identity", "ascending"), ("face_id", "ascending")]
    order = pa.compute.sort_indices(rows.select(["identity", "face_id"]), sort_keys=names)
    for start in range(0, len(rows), BATCH):
        yield from rows.take(order[start : start + BATCH]).combine_chunks().to_batches()


def outside(table: pa.Table) -> pa.Table:
    """Embeddings as FACE_SCHEMA has them, where the table has any."""
    if "embedding" not in table.column_names:
        return table
    field = FACE_SCHEMA.field("embedding")
    return table.set_column(table.schema.get_field_index("embedding"), field, table["embedding"].cast(field.type))


def _lengths(embedding: pa.ChunkedArray) -> set[int]:
    if pa.types.is_fixed_size_list(embedding.type):
        return {embedding.type.list_size}
    return {int(n) for chunk in embedding.chunks for n in np.unique(np.diff(chunk.offsets.to_numpy()))}
