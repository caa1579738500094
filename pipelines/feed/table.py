"""A dataset version's face table as memory-mapped columns, written once a node and shared by all processes there.

In: the URI of `faces.parquet` and its SHA-256. Out: a `Table`. Its files stand in $ANCHORFACE_TABLES, or in
`anchorface-tables-<user id>` of the folder for temporary files:

    <sha256 of faces.parquet>/<column>.npy                            numbers
    <sha256 of faces.parquet>/<column>.ends.npy, <column>.text        texts: where each begins and ends, and UTF-8
    <sha256 of faces.parquet>/group.npy, starts.npy, shards.npy       see `Table`
    <sha256 of faces.parquet>/<name>.npy                              what is computed of a whole table, such as how
                                                                      many references each face can have
    lock                                                              held while one process writes or deletes

Embeddings tell who a person is: the folder is its user's alone (mode 0700), a table that nobody opened for KEPT_SECONDS
is deleted at the next opening of any, and an erasure deletes the tables of the versions that it replaces, on its
machine.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from anchorface.records.errors import DataError, StorageError
from anchorface.records.manifest import CLIP_COLUMNS, FACE_COLUMNS, with_clip_columns
from anchorface.records.storage import filesystem
from anchorface.records.table_stream import sha256_of

FOLDER = "ANCHORFACE_TABLES"
KEPT_SECONDS = 24 * 3600
"""How long an unused table stays on a node: our choice."""
ROWS = 65536
"""Rows that are read at once."""
FORMAT = "2"


class Texts:
    """A column of texts that stays on the disk: N texts, str where one is asked for, NumPy's where several are."""

    def __init__(self, array: pa.LargeStringArray) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> str: ...

    @overload
    def __getitem__(self, rows: slice | NDArray[Any]) -> NDArray[np.str_]: ...

    def __getitem__(self, rows: int | np.integer[Any] | slice | NDArray[Any]) -> str | NDArray[np.str_]:
        if isinstance(rows, int | np.integer):
            return str(self._array[int(rows)].as_py())
        if isinstance(rows, slice):
            first, stop, step = rows.indices(len(self))
            if step == 1:
                return np.array(self._array.slice(first, max(stop - first, 0)).to_pylist(), np.str_)
            rows = np.arange(first, stop, step)
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return np.array(self._array.take(pa.array(numbers)).to_pylist(), np.str_)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.str_]:
        return np.array(self.tolist(), np.str_)

    def __eq__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        """Where it is some text, bool [N]."""
        return pc.equal(self._array, other).to_numpy(zero_copy_only=False)

    def __ne__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]

    def tolist(self) -> list[str]:
        """All of them."""
        return self._array.to_pylist()


Columns = Mapping[str, Any]
"""Column -> NDArray or Texts, of N rows."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The columns of N faces, and what their order says. Nothing of it is copied into the process's own memory.

    columns: FACE_COLUMNS and CLIP_COLUMNS. Numbers as in the Parquet file, `crop_landmarks` float32 [N, 5, 2],
    `embedding` float32 [N, D]; unknown ages are NaN, unknown dates NaT. group: int64 [N], the number of the row's
    (identity, shard). starts: int64 [groups + 1], where each group begins. shards: int32 [N], the number of the row's
    shard in the table.
    """

    folder: Path
    columns: Columns
    group: NDArray[np.int64]
    starts: NDArray[np.int64]
    shards: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.group)

    def derived(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """What is computed of the whole table: made by the first process of the node that asks, mapped by the others.

        Args:
            name: of the file. It must name all that the values depend on but the table, code included.
        """
        place = self.folder / f"{name}.npy"
        with _locked(self.folder.parent):
            if not place.exists():
                values = make()
                if not self.folder.exists():  # an erasure took the table: nothing of it is kept
                    return values
                temporary = self.folder / f"{uuid.uuid4().hex}.tmp.npy"
                np.save(temporary, values)
                temporary.rename(place)
            return _mapped(place)


def open_table(uri: str, sha256: str) -> Table:
    """A face table, from this node's files; they are written and checked first where they are not there.

    Raises:
        DataError: no such table, one of another hash or damaged, or one that lacks columns or numbers.
        StorageError: the folder is another user's or open to others, or cannot be written.
    """
    root = _root()
    with _locked(root):
        _delete_unused(root)
        folder = root / f"{sha256}-{FORMAT}"
        if not folder.exists():
            _write(uri, sha256, folder)
        os.utime(folder)
        columns = {name: _texts(folder, name) if (folder / f"{name}.text").exists() else _mapped(folder / f"{name}.npy")
                   for name in (*FACE_COLUMNS, *CLIP_COLUMNS)}
        return Table(folder=folder, columns=columns, group=_mapped(folder / "group.npy"),
                     starts=_mapped(folder / "starts.npy"), shards=_mapped(folder / "shards.npy"))


def forget(sha256: str) -> None:
    """Delete this node's files of a table, if there are any. Processes that have it open keep what they have."""
    root = _root()
    with _locked(root):
        shutil.rmtree(root / f"{sha256}-{FORMAT}", ignore_errors=True)


def _root() -> Path:
    given = os.environ.get(FOLDER)
    root = Path(given or Path(tempfile.gettempdir()) / f"anchorface-tables-{os.getuid()}")
    try:
        root.mkdir(mode=0o700, parents=bool(given), exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise StorageError(f"{root}: the face tables of this node cannot stand here: {error}; name another folder in "
                           f"${FOLDER}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StorageError(f"{root}: face tables hold embeddings, so their folder must be a folder of this user that "
                           f"nobody else can read (chmod 700); or name another in ${FOLDER}")
    return root


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One process of the node at a time; the lock of a process that dies is free."""
    with (root / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _delete_unused(root: Path) -> None:
    for folder in filter(Path.is_dir, root.iterdir()):
        if folder.suffix == ".tmp" or time.time() - folder.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _write(uri: str, sha256: str, folder: Path) -> None:
    """All files of a table, whole or not at all."""
    if sha256_of(uri) != sha256:
        raise DataError(f"{uri}: not the table that manifest.json names (other hash); a dataset version is immutable: "
                        "make the shards again")
    building = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    system, path = filesystem(uri)
    try:
        building.mkdir()
        with system.open_input_file(path) as source:
            _write_columns(pq.ParquetFile(source), building, uri)
        for file in building.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        building.rename(folder)
    except pa.ArrowInvalid as error:
        raise DataError(f"{uri}: not a readable table: {error}") from error
    except OSError as error:
        raise StorageError(f"{building}: cannot be written: {error}; make room, or name another folder in "
                           f"${FOLDER}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        pa.default_memory_pool().release_unused()


def _write_columns(file: pq.ParquetFile, folder: Path, uri: str) -> None:
    missing = sorted(set(FACE_COLUMNS) - set(file.schema_arrow.names))
    if missing:
        raise DataError(f"{uri}: columns are missing: {', '.join(missing)}")
    schema = with_clip_columns(file.schema_arrow.empty_table()).schema
    total, done = file.metadata.num_rows, 0
    if not total:
        raise DataError(f"{uri}: a table without a face")
    writers: dict[str, _Numbers | _Characters] = {
        name: _Characters(folder, name, total) if _is_text(schema.field(name).type)
        else _Numbers(folder, name, total) for name in (*FACE_COLUMNS, *CLIP_COLUMNS)}
    order = {name: _Numbers(folder, name, total) for name in ("group", "shards")}
    starts: list[NDArray[np.int64]] = []
    before: tuple[str, str] | None = None
    groups = shards = -1
    for read in file.iter_batches(ROWS, columns=[*FACE_COLUMNS, *CLIP_COLUMNS]):
        batch = with_clip_columns(read)
        for name, writer in writers.items():
            writer.add(batch.column(name), f"{uri}: column {name}")
        one, two = (pa.concat_arrays([pa.array([before[number] if before else None], pa.string()),
                                      batch.column(name).cast(pa.string())])
                    for number, name in enumerate(("identity", "shard")))
        other, new_shard = _changes(one), _changes(two)
        new = other | new_shard
        before = (one[-1].as_py(), two[-1].as_py())
        starts.append(done + np.flatnonzero(new))
        for name, changed, last in (("group", new, groups), ("shards", new_shard, shards)):
            order[name].put(last + np.cumsum(changed, dtype=np.int64 if name == "group" else np.int32))
        groups, shards, done = groups + int(new.sum()), shards + int(new_shard.sum()), done + len(batch)
    np.save(folder / "starts.npy", np.concatenate([*starts, [total]]).astype(np.int64))
    for writer in (*writers.values(), *order.values()):
        writer.close()


def _changes(texts: pa.Array) -> NDArray[np.bool_]:
    """Where a text is not the one before it; the first is compared with nothing."""
    same = pc.equal(texts.slice(1), texts.slice(0, len(texts) - 1)).fill_null(False)
    return ~same.to_numpy(zero_copy_only=False)


class _Numbers:
    """Writes a column of numbers, or of lists of equally many, as they come."""

    def __init__(self, folder: Path, name: str, total: int) -> None:
        self._file, self._name, self._total = (folder / f"{name}.npy").open("wb"), name, total
        self._shape: tuple[int, ...] | None = None

    def add(self, column: pa.Array, where: str) -> None:
        kind = column.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
            shape = (5, 2) if self._name == "crop_landmarks" else (len(flat) // max(len(column), 1),)
            lengths = pc.unique(pc.list_value_length(column)).to_pylist()
            if lengths != [int(np.prod(shape))] or (self._shape or shape) != shape:
                raise DataError(f"{where}: lists of {' x '.join(map(str, self._shape or shape))} numbers are needed")
            self.put(flat.reshape(len(column), *shape))
        elif pa.types.is_date(kind):
            self.put(column.to_numpy(zero_copy_only=False).astype("datetime64[D]"))
        elif column.null_count and not pa.types.is_floating(kind):
            raise DataError(f"{where}: {column.null_count} rows hold no number")
        else:
            self.put(column.to_numpy(zero_copy_only=False))

    def put(self, values: NDArray[Any]) -> None:
        if self._shape is None:
            self._shape = values.shape[1:]
            described = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False,
                         "shape": (self._total, *self._shape)}
            np.lib.format.write_array_header_1_0(self._file, described)
        self._file.write(np.ascontiguousarray(values).view(np.uint8).data)

    def close(self) -> None:
        self._file.close()


class _Characters:
    """Writes a column of texts as they come; one that is unknown is empty."""

    def __init__(self, folder: Path, name: str, total: int) -> None:
        self._ends, self._text = _Numbers(folder, f"{name}.ends", total + 1), (folder / f"{name}.text").open("wb")
        self._ends.put(np.zeros(1, np.int64))
        self._end = 0

    def add(self, column: pa.Array, where: str) -> None:
        content = [text.encode() for text in pc.fill_null(column, "").to_pylist()]
        self._text.write(b"".join(content))
        ends = self._end + np.cumsum([len(text) for text in content], dtype=np.int64)
        self._ends.put(ends)
        self._end = int(ends[-1])

    def close(self) -> None:
        self._ends.close()
        self._text.close()


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: damaged: {error}; delete its folder, it is written again") from error


def _texts(folder: Path, name: str) -> Texts:
    ends = _mapped(folder / f"{name}.ends.npy")
    path = folder / f"{name}.text"
    text = pa.memory_map(str(path)).read_buffer() if path.stat().st_size else pa.py_buffer(b"")
    return Texts(pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), text))
