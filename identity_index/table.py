"""The face index on Lance: a light table `<uri>/faces.lance` and, apart, the crops, `<uri>/crops.lance`.

Columns: see identity_index.rows; whatever further columns came along stay. A BTREE on face_id and one on identity
answer "all faces of this person" without vectors; rows stand in order of identity, so that a person is one piece of the
file. A vector index is made for large tables. Lance is not fork-safe: processes that use this are spawned.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Self

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anchorface.identity_index.crops import CropStore
from anchorface.identity_index.directory import Directory
from anchorface.identity_index.lance_store import conditions, erase, forget, index_column, location, reading, writing
from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.mismatch import REFERENCE_KEYS, Chosen, MismatchPolicy, select
from anchorface.identity_index.rows import BATCH, INDEX_SCHEMA, by_identity, index_rows, outside
from anchorface.identity_index.unit import unit
from anchorface.records.errors import DataError
from anchorface.records.storage import delete, exists, join, make_folder

__all__ = ["INDEX_SCHEMA", "IdentityIndex"]

TABLE = "faces.lance"
VECTOR_INDEX_ROWS = 50_000
ROWS_PER_PARTITION = 32_768
PROBED = 0.5
"""Share of the vector index's partitions that a query looks into at least; Lance adds more where that is too few."""
REFINED, REFINED_FILTERED = 20, 50
"""Candidates whose exact cosine is computed, as a multiple of k. The person's own faces need less; strangers, whom a
filter leaves over, are hard to rank by their codes."""
KEPT = timedelta(hours=1)
"""How long `append` leaves older versions to their readers."""


class IdentityIndex:
    """Faces with their identities, one row per face."""

    def __init__(self, uri: str, dataset: lance.LanceDataset) -> None:
        """Use `create` or `open`."""
        self.uri = uri
        self._dataset = dataset
        self._crops: CropStore | None = None
        self._directory: tuple[int, Directory] | None = None

    def __repr__(self) -> str:
        return f"IdentityIndex({self.uri!r}, {len(self)} faces, version {self.version})"

    def __len__(self) -> int:
        with reading(self.uri, "the face index cannot be read"):
            return self._dataset.count_rows()

    @property
    def version(self) -> int:
        """Lance's version number; every `create` over an old table, `append` and `delete` adds one or more."""
        return self._dataset.version

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._dataset.schema.field("embedding").type.list_size

    @property
    def columns(self) -> list[str]:
        """The names of the table's columns."""
        return list(self._dataset.schema.names)

    @classmethod
    def create(
        cls, uri: str, faces: pa.Table, *, crops: Iterable[pa.RecordBatch] | None = None,
        vector_index_rows: int = VECTOR_INDEX_ROWS,
    ) -> Self:
        """Write the table and its indexes; an older table there is replaced in one step, and its versions go. After a
        power cut in an earlier writing every crop is looked at, and the table is made without the older one.

        Args:
            uri: the index's folder.
            faces: the columns of INDEX_SCHEMA, in any order; further columns are kept.
            crops: batches of face_id and crop. Those that the crop store has already are skipped, so a run that was
                killed goes on; those of faces that are no more are erased. None leaves the crops of the faces alone.
            vector_index_rows: from how many rows on a vector index is made; below, exact search is as fast.

        Raises:
            DataError: no rows, a missing column, a face id given twice, embeddings of different lengths, a face
                without a crop.
            StorageError: the folder cannot be written.
        """
        rows = index_rows(faces)
        make_folder(uri)
        with writing(uri, whole=crops is not None) as doubtful:
            if doubtful:
                delete(join(uri, TABLE))
            there = exists(join(uri, TABLE))
            store = (CropStore.open(uri) if crops is None
                     else CropStore.update(uri, rows["face_id"], crops, doubtful=doubtful))
            dataset = lance.write_dataset(
                pa.RecordBatchReader.from_batches(rows.schema, by_identity(rows)), **location(uri, TABLE),
                mode="overwrite" if there else "create")
            for column in ("identity", "face_id"):
                index_column(dataset, column)
            count = dataset.count_rows()
            if count >= vector_index_rows:
                dataset.create_index(
                    "embedding", "IVF_PQ", metric="cosine", num_partitions=math.ceil(count / ROWS_PER_PARTITION),
                    num_sub_vectors=_sub_vectors(rows.schema.field("embedding").type.list_size))
            forget(dataset)
            if store is not None:
                store.keep(rows["face_id"])
        return cls(uri, dataset)

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open an index that `create` wrote.

        Raises:
            DataError: there is none, or it is damaged.
        """
        if not exists(join(uri, TABLE)):
            raise DataError(f"{uri}: no face index here (no {TABLE}); `anchorface group` makes one")
        with reading(uri, "the face index cannot be read"):
            return cls(uri, lance.dataset(**location(uri, TABLE)))

    def append(self, faces: pa.Table, crops: Iterable[pa.RecordBatch] | None = None) -> None:
        """Add faces; they are found at once.

        The BTREEs take the new rows in. The vector index does not until the next `create`: taking rows in, Lance splits
        partitions, which costs much of a new index; searches compare the new rows exactly instead.

        Raises:
            DataError: as for `create`, or a face id that stands in the table already.
        """
        rows = index_rows(faces, self.dimension)
        for condition in conditions("face_id", rows["face_id"].to_pylist()):
            known = self._dataset.to_table(columns=["face_id"], filter=condition, limit=1)
            if len(known):
                raise DataError(f"{self.uri}: face {known['face_id'][0]} is in the index already")
        with writing(self.uri):
            if crops is not None:
                self._crops = CropStore.update(self.uri, rows["face_id"], crops)
            batches = pa.RecordBatchReader.from_batches(rows.schema, by_identity(rows))
            self._dataset = lance.write_dataset(batches, **location(self.uri, TABLE), mode="append")
            scalar = [index.name for index in self._dataset.describe_indices() if "embedding" not in index.field_names]
            self._dataset.optimize.optimize_indices(index_names=scalar)
            forget(self._dataset, KEPT)

    def delete(self, face_ids: Sequence[str]) -> int:
        """Erase faces and their crops: their bytes are then in no file of the index, nor in an older version.

        Faces that are not here are passed over. Killed half-way, it is finished by being called again. Centres and
        codebooks of the vector index, means over many faces, stay until the next `create`.

        Returns:
            How many faces of the table went.
        """
        with writing(self.uri):
            store = CropStore.open(self.uri)
            if store is not None:
                store.erase(face_ids)
            gone = erase(self._dataset, face_ids)
        self._dataset, self._crops = lance.dataset(**location(self.uri, TABLE)), None
        return gone

    def faces(self, columns: Sequence[str] | None = None, filter: str | None = None) -> pa.Table:
        """Rows of the table, in order of identity and face id within what was written at once.

        Args:
            columns: which; None for all.
            filter: an SQL condition, for example `identity = 'p000007' AND abs(yaw) < 15`.

        Raises:
            DataError: an unknown column or a condition that cannot be read.
        """
        return outside(self._read(columns, filter))

    def batches(self, columns: Sequence[str], filter: str | None = None) -> Iterator[pa.RecordBatch]:
        """Rows as `faces` gives them, a few thousand at a time; embeddings are fixed-size lists."""
        with reading(self.uri, f"columns {columns}, filter {filter!r}"):
            yield from self._dataset.to_batches(columns=list(columns), filter=filter, batch_size=BATCH)

    def crops(self, face_ids: Sequence[str]) -> dict[str, bytes]:
        """JPEG bytes of the faces' aligned crops, by face id in the order asked.

        Raises:
            DataError: there are no crops here, or none of one of the faces.
        """
        self._crops = self._crops or CropStore.open(self.uri)
        if self._crops is None:
            raise DataError(f"{self.uri}: no crops here (no crops.lance); `anchorface group` makes them")
        return self._crops.crops(face_ids)

    def nearest(
        self, vectors: np.ndarray, k: int, *, exact: bool = True, filter: str | None = None
    ) -> tuple[list[list[str]], NDArray[np.float32]]:
        """The k faces nearest to each vector by cosine.

        Args:
            vectors: [Q, D], scaled to unit length here.
            k: faces per vector; fewer come back from fewer rows.
            exact: compare with every row, in blocks; False asks the vector index where there is one (a single
                query over a large table is then faster, and a neighbour may be missed).
            filter: an SQL condition that the faces fulfil, as for `faces`.

        Returns:
            Face ids, Q lists, nearest first, and cosines float32 [Q, k]; NaN where a query has fewer faces than others.

        Raises:
            DataError: vectors of another length, or a condition that cannot be read.
        """
        from anchorface.identity_index.clustering.neighbours import nearest  # torch, which most readers never need

        queries = unit(np.atleast_2d(vectors))
        if queries.shape[1] != self.dimension:
            raise DataError(f"{self.uri}: vectors of {queries.shape[1]} numbers; the index holds {self.dimension}")
        if not exact and self._partitions():
            return self._approximate(queries, k, filter)
        # Without a filter rows count as in the table, and the names of those found are enough: names cost as much to
        # read as embeddings.
        names: list[pa.Array] = []
        rows, cosines = nearest(queries, self._blocks(None if filter is None else names, filter), k)
        places, number = np.unique(rows, return_inverse=True)
        if filter is None:
            with reading(self.uri, "nearest faces"):
                found = self._dataset.take(places.tolist(), columns=["face_id"])["face_id"]
        else:
            found = pa.chunked_array(names, pa.string()).take(pa.array(places))
        said = np.array(found.to_pylist(), np.object_)
        return [said[each].tolist() for each in number.reshape(rows.shape)], cosines

    def references(self, face_id: str, policy: MismatchPolicy, k: int, rng: np.random.Generator) -> list[Chosen]:
        """Up to k references for a face of the table; see `identity_index.retrieval.mismatch.references`.

        The first call reads the directory (see identity_index.directory); later ones read one person's rows.

        Raises:
            DataError: there is no such face.
        """
        if self._directory is None or self._directory[0] != self.version:
            with reading(self.uri, "who stands where"):
                self._directory = self.version, Directory.of(self._dataset)
        found = self._directory[1].person(face_id)
        if found is None:
            raise DataError(f"{self.uri}: no face {face_id}")
        rows, target = found
        with reading(self.uri, f"the faces beside {face_id}"):
            album = Album.of_table(self._dataset.take(rows.tolist(), columns=list(REFERENCE_KEYS)))
        return select(album, target, policy, k, rng).references(album)

    def _read(self, columns: Sequence[str] | None, filter: str | None) -> pa.Table:
        with reading(self.uri, f"columns {columns}, filter {filter!r}"):
            return self._dataset.to_table(columns=list(columns) if columns is not None else None, filter=filter)

    def _blocks(self, names: list[pa.Array] | None, filter: str | None) -> Iterable[np.ndarray]:
        """The embeddings in blocks; the rows' face ids are added to `names` on the way, where that is wanted."""
        for batch in self.batches(["embedding"] if names is None else ["face_id", "embedding"], filter):
            if names is not None:
                names.append(batch["face_id"])
            yield unit(batch["embedding"].flatten().to_numpy().reshape(-1, self.dimension))

    def _partitions(self) -> int:
        """How many partitions the vector index has; 0 where there is none."""
        with reading(self.uri, "its indexes"):
            for index in self._dataset.describe_indices():
                if "embedding" in index.field_names:
                    return math.ceil(index.num_rows_indexed / ROWS_PER_PARTITION)
        return 0

    def _approximate(
        self, queries: NDArray[np.float32], k: int, filter: str | None
    ) -> tuple[list[list[str]], NDArray[np.float32]]:
        probes = max(1, math.ceil(self._partitions() * PROBED))
        with reading(self.uri, f"nearest faces, filter {filter!r}"):
            found = self._dataset.to_table(
                columns=["face_id", "_distance"], filter=filter, prefilter=filter is not None, nearest={
                    "column": "embedding", "q": queries, "k": k, "metric": "cosine", "minimum_nprobes": probes,
                    "refine_factor": REFINED if filter is None else REFINED_FILTERED})
        asked = found["query_index"].to_numpy()
        names, cosines = found["face_id"].to_pylist(), 1.0 - found["_distance"].to_numpy()
        ends = np.searchsorted(asked, np.arange(len(queries) + 1))
        result = np.full((len(queries), int(np.diff(ends).max(initial=0))), np.nan, np.float32)
        lists = []
        for number, (start, end) in enumerate(pairwise(ends)):
            lists.append(names[start:end])
            result[number, : end - start] = cosines[start:end]
        return lists, result


def _sub_vectors(dimension: int) -> int:
    """About eight numbers per sub-vector, as long as that divides the dimension."""
    return next(count for count in (dimension // 8, dimension // 4, 1) if count and dimension % count == 0)
