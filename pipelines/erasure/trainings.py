"""Trainings on versions that an erasure rewrites: none of them is at work meanwhile.

In: a workspace and ids of dataset versions. Out: the locks of the run folders, held. A training notes itself in the
workspace before it looks for erasures (records.erasures.require_settled), an erasure looks for notes after its journal
is written: so of two that begin at once one sees the other. Notes and journals may come from anybody: nothing is
written in a folder that they name unless a lock stands there, which is where trainings are or were at work.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from anchorface.pipelines.erasure.runs import gone_parents, search_folders
from anchorface.records.erasures import before
from anchorface.records.errors import ConfigurationError
from anchorface.records.lock import NAME as LOCK
from anchorface.records.lock import locked
from anchorface.records.storage import exists, join


@contextmanager
def held_trainings(
    out: str, *, wait: bool, stop: bool
) -> Iterator[Callable[[Sequence[str], Sequence[str]], None]]:
    """Gives a function that holds the run folders of all trainings that saw these versions, in these folders and those
    that the workspace knows, until the end.

    Raises:
        ConfigurationError: one of them is at work; or a folder that is not there.
    """
    held = set[str]()
    with ExitStack() as locks:

        def hold(versions: Sequence[str], runs: Sequence[str]) -> None:
            found = {run["folder"] for run in search_folders(out, versions, runs).runs if run["kind"] == "training"}
            for folder in sorted(found - held):
                if not exists(join(folder, LOCK)):
                    continue
                try:
                    locks.enter_context(locked(folder, "erase", wait=wait, stop=stop))
                except ConfigurationError as error:
                    raise ConfigurationError(f"{out}: a training sees whom an erasure takes: {error}") from error
                held.add(folder)

        yield hold


def forebears(out: str, versions: Sequence[str]) -> list[str]:
    """These versions and what they once were: what saw those saw who is in these."""
    return [*versions, *before(out, versions), *gone_parents(out, versions)]
