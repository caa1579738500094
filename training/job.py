"""What every worker of a run is told."""

from dataclasses import dataclass, field
from typing import Any

from anchorface.training.execution import Execution
from anchorface.training.recipes import Recipe
from anchorface.training.tracking import Tracking

PROGRESS = "progress.jsonl"
"""The run's lines of progress, in its folder: rank 0 appends, the launcher shows them, a report page draws them."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run: what is learned (recipe) on one dataset version, how it is carried out (execution), and where it stands.

    dataset: the version's URI; manifest_id: its. run_folder: a URI that all workers see. start: a checkpoint whose
    averaged adapters the run begins with, empty for fresh ones. git: state of the code.
    """

    recipe: Recipe
    execution: Execution = field(default_factory=Execution)
    dataset: str
    manifest_id: str
    run_folder: str
    start: str = ""
    tracking: Tracking | None = None
    git: dict[str, Any] = field(default_factory=dict)
