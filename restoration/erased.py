"""Before a checkpoint is used: whether people whom it saw were erased since.

In: a checkpoint folder. Out: a warning, or a ConsentError. It can be told where the checkpoint's dataset version stood
in a workspace that is seen from here (`records.erasures`); elsewhere nothing is known and nothing is said.
"""

from collections.abc import Callable

from anchorface.models.checkpoint import read_description
from anchorface.records.erasures import answer, replaced


def heed_erasures(checkpoint: str, policy: str, report: Callable[[str], None]) -> None:
    """Warn or refuse to use a checkpoint that saw people who were erased since.

    Args:
        checkpoint: its folder. policy: `warn` or `refuse`. report: takes the warning.

    Raises:
        ConsentError: it saw them, and the policy is `refuse`. CheckpointError: no checkpoint there.
        ConfigurationError: another policy.
    """
    description = read_description(checkpoint)
    answer(replaced(description.manifest_id, description.dataset), checkpoint, policy, report)
