"""Before a checkpoint is used: whether people whom it saw were erased since.

In: a checkpoint folder. Out: a warning, or a ConsentError. It can be told where the checkpoint's dataset version stood
in a workspace that is seen from here (`records.erasures`); elsewhere nothing is known and nothing is said.
"""

from collections.abc import Callable

from anchorface.models.checkpoint import read_description
from anchorface.records.erasures import answer, replaced
from anchorface.records.uses import note_dataset


def heed_erasures(checkpoint: str, policy: str, report: Callable[[str], None], out: str = "") -> None:
    """Warn or refuse to use a checkpoint that saw people who were erased since.

    Args:
        checkpoint: its folder. policy: `warn` or `refuse`. report: takes the warning.
        out: where pictures are restored to: the workspace notes it, so that an erasure finds it.

    Raises:
        ConsentError: it saw them, and the policy is `refuse`. CheckpointError: no checkpoint there.
        ConfigurationError: another policy.
    """
    description = read_description(checkpoint)
    if out:
        note_dataset(description.dataset, "restored", out, report, manifest=description.manifest_id)
    answer(replaced(description.manifest_id, description.dataset), checkpoint, policy, report)
