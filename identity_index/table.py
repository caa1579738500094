"""The face table with its indexes, on Lance: `<uri>/faces.lance`.

Columns: records.FACE_SCHEMA plus `identity`, and whatever further columns came along. Inside, embeddings are
fixed-size lists (Lance's vector type); they come out as FACE_SCHEMA has them. A BTREE on identity and one on face_id
answer "all faces of this person" without vectors; a vector index is made for large tables.
Lance is not fork-safe: processes that use this are spawned.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Self

import lance
import numpy as np
import pyarrow as pa

from identity_index.mismatch import REFERENCE_KEYS, Chosen, MismatchPolicy, references
from identity_index.neighbours import nearest, unit
from records import FACE_SCHEMA
from records.errors import DataError
from records.storage import exists, filesystem, join, make_folder

INDEX_SCHEMA = FACE_SCHEMA.append(pa.field("identity", pa.string()))
VECTOR_INDEX_ROWS = 50_000
ROWS_PER_PARTITION = 32_768


class IdentityIndex:
    """Faces with their identities, one row per face."""

    def __init__(self, uri: str, dataset: lance.LanceDataset) -> None:
        """Use `create` or `open`."""
        self.uri = uri
        self._dataset = dataset

    def __repr__(self) -> str:
        return f"IdentityIndex({self.uri!r}, {len(self)} faces, version {self.version})"

    def __len__(self) -> int:
        return self._dataset.count_rows()

    @property
    def version(self) -> int:
        """Lance's version number; every `create` over an old table and every `append` adds one or more."""
        return self._dataset.version

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._dataset.schema.field("embedding").type.list_size

    @classmethod
    def create(cls, uri: str, faces: pa.Table, *, vector_index_rows: int = VECTOR_INDEX_ROWS) -> Self:
        """Write the table and its indexes; an older table there is replaced in one step.

        Args:
            uri: the index's folder.
            faces: the columns of INDEX_SCHEMA, in any order; further columns are kept.
            vector_index_rows: from how many rows on a vector index is made; below, exact search is as fast.

        Raises:
            DataError: no rows, a missing column, a face id given twice, embeddings of different lengths.
            StorageError: the folder cannot be written.
        """
        rows = _lance_rows(faces, None)
        make_folder(uri)
        location = _location(uri)
        there = exists(join(uri, "faces.lance"))
        dataset = lance.write_dataset(rows, location, mode="overwrite" if there else "create")
        for column in ("identity", "face_id"):
            dataset.create_scalar_index(column, "BTREE")
        count = dataset.count_rows()
        if count >= vector_index_rows:
            dataset.create_index(
                "embedding", "IVF_PQ", metric="cosine", num_partitions=math.ceil(count / ROWS_PER_PARTITION),
                num_sub_vectors=_sub_vectors(rows.schema.field("embedding").type.list_size))
        return cls(uri, dataset)

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open an index that `create` wrote.

        Raises:
            DataError: there is none, or it is damaged.
        """
        location = _location(uri)
        if not exists(join(uri, "faces.lance")):
            raise DataError(f"{uri}: no face index here (no faces.lance); `anchorface group` makes one")
        try:
            return cls(uri, lance.dataset(location))
        except (ValueError, OSError) as error:
            raise DataError(f"{uri}: the face index cannot be read: {error}") from error

    def append(self, faces: pa.Table) -> None:
        """Add faces; they are found at once, also before anything is indexed again.

        Raises:
            DataError: as for `create`, or a face id that stands in the table already.
        """
        rows = _lance_rows(faces, self.dimension)
        names = ", ".join(_quoted(name) for name in rows["face_id"].to_pylist())
        known = self._dataset.to_table(columns=["face_id"], filter=f"face_id IN ({names})", limit=1)
        if len(known):
            raise DataError(f"{self.uri}: face {known['face_id'][0]} is in the index already")
        self._dataset = lance.write_dataset(rows, self._dataset.uri, mode="append")

    def faces(self, columns: Sequence[str] | None = None, filter: str | None = None) -> pa.Table:
        """Rows of the table.

        Args:
            columns: which; None for all.
            filter: an SQL condition, for example `identity = 'p000007' AND abs(yaw) < 15`.

        Raises:
            DataError: an unknown column or a condition that cannot be read.
        """
        try:
            table = self._dataset.to_table(columns=list(columns) if columns is not None else None, filter=filter)
        except (ValueError, OSError, KeyError) as error:
            raise DataError(f"{self.uri}: columns {columns}, filter {filter!r}: {error}") from error
        if "embedding" in table.column_names:
            place = table.schema.get_field_index("embedding")
            field = FACE_SCHEMA.field("embedding")
            table = table.set_column(place, field, table["embedding"].cast(field.type))
        return table

    def nearest(self, vectors: np.ndarray, k: int, *, exact: bool = True) -> tuple[list[list[str]], np.ndarray]:
        """The k faces nearest to each vector by cosine.

        Args:
            vectors: [Q, D], scaled to unit length here.
            k: faces per vector; fewer come back from a smaller table.
            exact: compare with every row, in blocks; False asks the vector index where there is one (a single
                query over a large table is then faster, and a neighbour may be missed).

        Returns:
            Face ids, Q lists, nearest first, and cosines float32 [Q, k].
        """
        queries = unit(np.atleast_2d(vectors))
        if queries.shape[1] != self.dimension:
            raise DataError(f"{self.uri}: vectors of {queries.shape[1]} numbers; the index holds {self.dimension}")
        if not exact and any("embedding" in index.field_names for index in self._dataset.describe_indices()):
            return self._approximate(queries, k)
        names: list[str] = []
        rows, cosines = nearest(queries, self._blocks(names), k)
        return [[names[row] for row in found] for found in rows.tolist()], cosines

    def references(self, face_id: str, policy: MismatchPolicy, k: int, rng: np.random.Generator) -> list[Chosen]:
        """Up to k references for a face of the table; see `identity_index.mismatch.references`.

        Raises:
            DataError: there is no such face.
        """
        columns = [*REFERENCE_KEYS, "identity"]
        found = self.faces(columns, f"face_id = {_quoted(face_id)}").to_pylist()
        if not found:
            raise DataError(f"{self.uri}: no face {face_id}")
        candidates = self.faces(columns, f"identity = {_quoted(found[0]['identity'])}").to_pylist()
        return references(found[0], candidates, policy, k, rng)

    def _blocks(self, names: list[str]) -> Iterable[np.ndarray]:
        """The embeddings in blocks; the rows' face ids are added to `names` on the way."""
        for batch in self._dataset.to_batches(columns=["face_id", "embedding"], batch_size=8192):
            names += batch["face_id"].to_pylist()
            yield unit(batch["embedding"].flatten().to_numpy().reshape(-1, self.dimension))

    def _approximate(self, queries: np.ndarray, k: int) -> tuple[list[list[str]], np.ndarray]:
        names, cosines = [], np.empty((len(queries), min(k, len(self))), np.float32)
        partitions = math.ceil(len(self) / ROWS_PER_PARTITION)
        for number, query in enumerate(queries):
            found = self._dataset.to_table(columns=["face_id", "_distance"], nearest={
                "column": "embedding", "q": query, "k": k, "metric": "cosine", "nprobes": max(1, partitions // 2),
                "refine_factor": 5})
            names.append(found["face_id"].to_pylist())
            cosines[number] = 1.0 - found["_distance"].to_numpy()
        return names, cosines


def _location(uri: str) -> str:
    # Lance takes object-store URIs as they are, and plain paths for local files.
    return filesystem(join(uri, "faces.lance"))[1] if uri.startswith("file:") or "://" not in uri else join(
        uri, "faces.lance")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sub_vectors(dimension: int) -> int:
    """About eight numbers per sub-vector, as long as that divides the dimension."""
    return next(count for count in (dimension // 8, dimension // 4, 1) if count and dimension % count == 0)


def _lance_rows(faces: pa.Table, dimension: int | None) -> pa.Table:
    """The table in INDEX_SCHEMA's order and types, embeddings as fixed-size lists."""
    missing = [name for name in INDEX_SCHEMA.names if name not in faces.column_names]
    if missing:
        raise DataError(f"face index: the table lacks {', '.join(missing)}")
    if not len(faces):
        raise DataError("face index: no faces; see the dropped table for what became of the photos")
    names = faces["face_id"].to_pylist()
    if len(set(names)) != len(names):
        raise DataError(f"face index: {len(names) - len(set(names))} face ids stand in more than one row")
    embedding = faces["embedding"].combine_chunks()
    lengths = set(np.diff(embedding.offsets.to_numpy()).tolist()) if pa.types.is_list(embedding.type) else {
        embedding.type.list_size}
    dimension = dimension or next(iter(lengths))
    if lengths != {dimension} or not dimension:
        raise DataError(f"face index: embeddings of {sorted(lengths)} numbers; all must have {dimension}")
    further = [name for name in faces.column_names if name not in INDEX_SCHEMA.names]
    vectors = pa.FixedSizeListArray.from_arrays(embedding.flatten().cast(pa.float32()), dimension)
    try:
        ordered = faces.select([*INDEX_SCHEMA.names, *further]).cast(
            pa.schema([*INDEX_SCHEMA, *(faces.schema.field(name) for name in further)]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"face index: {error}") from error
    return ordered.set_column(ordered.schema.get_field_index("embedding"), "embedding", vectors)
