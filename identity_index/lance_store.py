"""What both tables of the index ask of Lance: where they stand, conditions in SQL, and bytes that are really gone.

Lance never changes a file: a deletion only marks rows, and every version stays until it is cleaned up. One process
writes to a table at a time; readers of an older version may lose it when a writer cleans up. Lance brings nothing that
it writes to the disk: `writing` does, and knows when it was not done.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import psutil

from anchorface.records import buckets
from anchorface.records.addresses import bucket_and_key, key_and_secret
from anchorface.records.errors import DataError
from anchorface.records.storage import delete, exists, filesystem, is_local, join, read_bytes, sync, write_atomic

AT_ONCE = 2000
"""Values in one condition."""
WRITING = "writing"
"""Stands in an index's folder while somebody writes to it, and stays where a writer died. It says in which run of which
machine that was."""


def location(uri: str, table: str) -> dict[str, Any]:
    """What Lance wants to know to find a table of the index: `uri`, a plain path for local files, and in a bucket
    `storage_options`. Lance's client reads region and credentials from the usual environment; the server it is told,
    since it speaks no http unless it is told to."""
    place = join(uri, table)
    if is_local(uri):
        return {"uri": filesystem(place)[1]}
    if not uri.startswith("s3://"):
        return {"uri": place}
    root, path = bucket_and_key(place)
    server = buckets.server()
    said = {"aws_endpoint": server, "allow_http": str(server.startswith("http://")).lower()} if server else {}
    key, secret = key_and_secret(root)
    if key:
        said |= {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return {"uri": f"s3://{path}", "storage_options": said}


@contextmanager
def reading(uri: str, what: str) -> Iterator[None]:
    """What Lance raises inside becomes a DataError that says what was read. A table opened here is one version, so a
    reader meets the rows of that version or, once a writer has cleaned it up, this error.
    """
    try:
        yield
    except (ValueError, OSError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        gone = "not found" in str(error).lower()
        hint = "; another process has replaced the index meanwhile: try again" if gone else ""
        raise DataError(f"{uri}: {what}: {error}{hint}") from error


@contextmanager
def writing(uri: str, *, whole: bool = False) -> Iterator[bool]:
    """Around all that writes to the tables of an index: what was written is on the disk at the end. Inside it is known
    whether an earlier writer died of a power cut: then files may be cut short under their final names, since a power
    cut keeps names and loses bytes. A process that is killed loses none.

    Args:
        uri: the index's folder, which exists.
        whole: what is written inside looks at everything or makes it anew, so that no doubt is left at the end.

    Raises:
        StorageError: the folder cannot be written.
    """
    mark = join(uri, WRITING)
    doubtful = exists(mark) and read_bytes(mark) != _running()
    if not doubtful:
        write_atomic(mark, _running())
    yield doubtful
    sync(uri)
    if whole or not doubtful:
        delete(mark)


def _running() -> bytes:
    """What this run of the machine, from its start on, is called."""
    place = Path("/proc/sys/kernel/random/boot_id")
    return place.read_bytes().strip() if place.exists() else str(psutil.boot_time()).encode()


def quoted(text: str) -> str:
    """A string as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def conditions(column: str, values: Sequence[str], at_once: int = AT_ONCE) -> Iterator[str]:
    """`column IN (...)` for all values, so many in each condition."""
    for start in range(0, len(values), at_once):
        yield f"{column} IN ({', '.join(map(quoted, values[start : start + at_once]))})"


def index_column(dataset: lance.LanceDataset, column: str) -> None:
    """(Re)make the BTREE on a column, from the rows that are there now."""
    dataset.create_scalar_index(column, "BTREE", replace=True)


def erase(dataset: lance.LanceDataset, face_ids: Sequence[str]) -> int:
    """Delete faces so that their bytes are gone from the table's files, indexes and older versions included.

    Returns:
        How many rows went.
    """
    before = dataset.count_rows()
    for condition in conditions("face_id", face_ids):
        # A deletion of nothing would still be a version, whose record holds the names.
        if dataset.count_rows(filter=condition):
            dataset.delete(condition)
    gone = before - dataset.count_rows()
    if dataset.stats.dataset_stats()["num_deleted_rows"]:
        # A BTREE's pages still name the deleted values: made again rather than mended. Before the rows go, so that
        # whoever was killed in between finds deleted rows and does all of it again.
        for index in list(dataset.describe_indices()):
            if index.index_type == "BTree":
                index_column(dataset, index.field_names[0])
        # Rewrites the files that hold deleted rows, and takes them out of the vector index.
        dataset.optimize.compact_files(materialize_deletions_threshold=0.0)
    forget(dataset)
    return gone


def forget(dataset: lance.LanceDataset, older_than: timedelta = timedelta(0)) -> None:
    """Remove older versions and what killed writers left behind, once the newest is on the disk."""
    sync(dataset.uri)
    dataset.cleanup_old_versions(older_than=older_than, delete_unverified=True)
