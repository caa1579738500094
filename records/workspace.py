"""One writer in a workspace: whoever comes second is told who is at work there, waits, or stops him.

In: a workspace and the name of a verb. A verb that calls another one, as `curate` does, holds the lock once. Where
nothing stands yet, only BEGINNERS begin a workspace; of one that did not get so far that there is anything in it
nothing is left.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from anchorface.records.lock import NAME as LOCK
from anchorface.records.lock import locked
from anchorface.records.storage import delete, exists, filesystem, list_files, make_folder

BEGINNERS = ("curate", "ingest")
"""The verbs that a workspace begins with."""

_MINE: ContextVar[frozenset[str]] = ContextVar("_MINE", default=frozenset())
"""The workspaces that this thread is at work in."""


@contextmanager
def at_work(out: str, verb: str, *, wait: bool = False, stop: bool = False) -> Iterator[None]:
    """Be the one writer of a workspace while inside.

    Args:
        wait, stop: as for `records.lock.locked`.

    Raises:
        ConfigurationError: somebody else is; names verb, host, process and time. StorageError: it cannot be written.
    """
    place = filesystem(out)[1]
    if place in _MINE.get():
        yield
        return
    begun = not exists(out)
    if begun and verb not in BEGINNERS:
        yield
        return
    make_folder(out)
    try:
        with locked(out, verb, wait=wait, stop=stop):
            before = _MINE.set(_MINE.get() | {place})
            try:
                yield
            finally:
                _MINE.reset(before)
    finally:
        if begun and all(uri.endswith(f"/{LOCK}") for uri in list_files(out)):
            delete(out)
