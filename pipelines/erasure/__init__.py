"""What erasing is made of: who is meant (selection, showing), tables, dataset versions, runs; `pipelines.erase` is the
verb. `settle` stands first in every verb that reads or writes a workspace.
"""

from anchorface.identity_index.tombstones import PENDING
from anchorface.records.storage import exists, join, list_files


def settle(out: str) -> None:
    """Finish an erasure that was stopped, so that nothing half-erased is read; nothing to do is no error."""
    folder = join(out, PENDING)
    if exists(folder) and list_files(folder, (".json",)):
        from anchorface.pipelines.erase import finish  # it imports the verbs that call this

        finish(out)
