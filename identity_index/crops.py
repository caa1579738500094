"""The crop store: `<uri>/crops.lance`, the JPEG bytes of the faces' aligned crops, apart from the light table.

Columns: face_id, crop (JPEG bytes), check (CRC-32 of the bytes). Crops are the heavy part (tens of kB a face against
some hundred bytes and a vector), so they are only ever appended to and deleted from, and a run that was killed goes on
where it stopped.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Self

import lance
import pyarrow as pa

from anchorface.identity_index.lance_store import conditions, erase, forget, index_column, location, reading
from anchorface.records.errors import DataError
from anchorface.records.storage import delete, exists, join

TABLE = "crops.lance"
CROP_SCHEMA = pa.schema([("face_id", pa.string()), ("crop", pa.binary()), ("check", pa.uint32())])
PIECE = 128 * 2**20
"""Bytes that are written, and safe, at once."""
FETCH = 256


class CropStore:
    """Crops by face id."""

    def __init__(self, uri: str, dataset: lance.LanceDataset) -> None:
        """Use `open`."""
        self.uri = uri
        self._dataset = dataset

    @classmethod
    def open(cls, uri: str) -> Self | None:
        """The store of an index, None where there is none.

        Raises:
            DataError: it is damaged.
        """
        if not exists(join(uri, TABLE)):
            return None
        with reading(uri, "the crop store cannot be read"):
            return cls(uri, lance.dataset(**location(uri, TABLE)))

    @classmethod
    def update(cls, uri: str, face_ids: pa.ChunkedArray, batches: Iterable[pa.RecordBatch], *,
               doubtful: bool = False) -> Self:
        """Bring the store up to date: add the crops of these faces that it lacks or has otherwise. A store that cannot
        be read is made anew.

        Args:
            uri: the index's folder, which exists.
            face_ids: the faces that need a crop.
            batches: face_id and crop; those of other faces are passed over.
            doubtful: an earlier writer died of a power cut, so every crop here is read and compared with its check.

        Raises:
            DataError: a face has no crop, or a batch lacks a column.
        """
        try:
            store = cls.open(uri)
            if store is not None and doubtful:
                store._look_at_all()
            held = store._checks() if store is not None else {}
        except DataError:
            delete(join(uri, TABLE))
            store, held = None, {}
        wanted = set(face_ids.to_pylist())
        met, piece, size = wanted & held.keys(), {}, 0
        for batch in batches:
            if not {"face_id", "crop"} <= set(batch.schema.names):
                raise DataError(f"crop store: a batch of {', '.join(batch.schema.names)}; face_id and crop are needed")
            for face_id, crop in zip(batch["face_id"].to_pylist(), batch["crop"].to_pylist(), strict=True):
                if face_id in wanted and held.get(face_id) != (check := zlib.crc32(crop)):
                    piece[face_id] = (crop, check)
                    size += len(crop)
            if size >= PIECE:
                store, size = cls._append(uri, store, piece, held), 0
                met |= piece.keys()
                piece = {}
        if piece:
            store = cls._append(uri, store, piece, held)
            met |= piece.keys()
        if len(met) < len(wanted):
            raise DataError(f"crop store: face {min(wanted - met)} has no crop; run `find_faces` again")
        assert store is not None, "at least one face was wanted"
        if doubtful or not store._indexed():
            index_column(store._dataset, "face_id")
        return store

    def keep(self, face_ids: pa.ChunkedArray) -> int:
        """Erase the crops of all other faces and what older versions hold; how many went."""
        return self.erase(sorted(self._checks().keys() - set(face_ids.to_pylist())))

    def erase(self, face_ids: Sequence[str]) -> int:
        """Erase crops, bytes and all; how many went."""
        return erase(self._dataset, face_ids)

    def crops(self, face_ids: Sequence[str]) -> dict[str, bytes]:
        """JPEG bytes by face id.

        Raises:
            DataError: a face has no crop here.
        """
        found: dict[str, bytes] = {}
        for condition in conditions("face_id", list(dict.fromkeys(face_ids)), FETCH):
            with reading(self.uri, "crops"):
                table = self._dataset.to_table(columns=["face_id", "crop"], filter=condition)
            found |= zip(table["face_id"].to_pylist(), table["crop"].to_pylist(), strict=True)
        for face_id in face_ids:
            if face_id not in found:
                raise DataError(f"{self.uri}: no crop of face {face_id} in the crop store")
        return {face_id: found[face_id] for face_id in face_ids}

    def _checks(self) -> dict[str, int]:
        """The CRC-32 of each crop that is here."""
        with reading(self.uri, "the crop store cannot be read"):
            table = self._dataset.to_table(columns=["face_id", "check"])
        return dict(zip(table["face_id"].to_pylist(), table["check"].to_pylist(), strict=True))

    def _look_at_all(self) -> None:
        """Read every crop, and what older versions left.

        Raises:
            DataError: a file cannot be read, or a crop is not what was written.
        """
        with reading(self.uri, "the crop store cannot be read"):
            for batch in self._dataset.to_batches(batch_size=FETCH):
                for face_id, crop, check in zip(*(batch[name].to_pylist() for name in CROP_SCHEMA.names), strict=True):
                    if zlib.crc32(crop) != check:
                        raise DataError(f"{self.uri}: the crop of face {face_id} is damaged in the crop store")
            forget(self._dataset)

    def _indexed(self) -> bool:
        return any(index.num_rows_indexed == self._dataset.count_rows() for index in self._dataset.describe_indices())

    @classmethod
    def _append(cls, uri: str, store: Self | None, piece: dict[str, tuple[bytes, int]], held: dict[str, int]) -> Self:
        """Write a piece; crops that were there with other bytes go first."""
        columns = [list(piece), *(list(column) for column in zip(*piece.values(), strict=True))]
        table = pa.Table.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, CROP_SCHEMA, strict=True)],
            schema=CROP_SCHEMA)
        place = location(uri, TABLE)
        if store is None:
            return cls(uri, lance.write_dataset(table, **place))
        stale = [face_id for face_id in piece if face_id in held]
        for condition in conditions("face_id", stale):
            store._dataset.delete(condition)
        return cls(uri, lance.write_dataset(table, **place, mode="append"))
