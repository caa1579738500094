"""One writer in a workspace: whoever comes second is told who is at work there, waits, or stops him.

In: a workspace and the name of a verb. A verb that calls another one, as `curate` does, holds the lock once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from anchorface.records.lock import locked
from anchorface.records.storage import filesystem, make_folder

_MINE: ContextVar[frozenset[str]] = ContextVar("_MINE", default=frozenset())
"""The workspaces that this thread is at work in."""


@contextmanager
def at_work(out: str, verb: str, *, wait: bool = False, stop: bool = False) -> Iterator[None]:
    """Be the one writer of a workspace while inside; its folder is made if it is not there.

    Args:
        wait, stop: as for `records.lock.locked`.

    Raises:
        ConfigurationError: somebody else is; names verb, host, process and time. StorageError: it cannot be written.
    """
    place = filesystem(out)[1]
    if place in _MINE.get():
        yield
        return
    make_folder(out)
    with locked(out, verb, wait=wait, stop=stop):
        before = _MINE.set(_MINE.get() | {place})
        try:
            yield
        finally:
            _MINE.reset(before)
