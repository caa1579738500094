"""Where the checkpoints of a run stand, which are complete, and which stay.

In: a run folder, local or on any storage. Out: URIs of checkpoint folders. A checkpoint is complete when its
description stands there; everything else below `checkpoints/` is what a dead run left.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anchorface.models.checkpoint import DESCRIPTION_FILE, Description, read_description
from anchorface.records import CheckpointError, StorageError
from anchorface.records.storage import delete, exists, join, list_folders, read_bytes

STATE = "state"


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which complete checkpoints stay.

    newest: so many. best: so many with the best value of a validation metric. every: all at multiples of so many
    positions, 0 for none. metric: its name in a checkpoint's validation; largest: the larger the better.
    """

    newest: int = 2
    best: int = 1
    every: int = 0
    metric: str = "validation/flow"
    largest: bool = False

    def kept(self, told: Sequence[tuple[str, Description]]) -> set[str]:
        """Of folders and their descriptions, oldest first, the folders that stay."""
        stay = {folder for folder, _ in told[-self.newest :]}
        stay |= {folder for folder, said in told if self.every and said.clock % self.every == 0}
        validated = [(folder, said.extra.get("validation") or {}) for folder, said in told]
        return stay | set(self.ranked(validated)[: self.best])

    def ranked(self, validated: Sequence[tuple[str, Mapping[str, float]]]) -> list[str]:
        """Of checkpoints, oldest first, and what validation said of each, those that have the metric: the best first,
        of equals the newest."""
        found = [(name, values[self.metric]) for name, values in reversed(validated) if self.metric in values]
        return [name for name, _ in sorted(found, key=lambda pair: -pair[1] if self.largest else pair[1])]


def folder_of(run_folder: str, step: int) -> str:
    """Where the checkpoint after `step` optimiser steps stands."""
    return join(run_folder, "checkpoints", f"step-{step:08d}")


def name_of(folder: str) -> str:
    """`step-00000128` of a checkpoint's place."""
    return folder.rstrip("/").rpartition("/")[2]


def complete(run_folder: str) -> list[str]:
    """All complete checkpoints of a run, oldest first."""
    return [folder for folder in _folders(run_folder) if exists(join(folder, DESCRIPTION_FILE))]


def latest(run_folder: str) -> str | None:
    """The newest complete checkpoint, None where there is none."""
    return next((folder for folder in reversed(_folders(run_folder)) if exists(join(folder, DESCRIPTION_FILE))), None)


def described(run_folder: str) -> list[tuple[str, Description]]:
    """All complete checkpoints with what they say, oldest first; one whose description is damaged is left out."""
    told = []
    for folder in complete(run_folder):
        try:
            told.append((folder, read_description(folder)))
        except CheckpointError:
            continue
    return told


def clean(run_folder: str) -> list[str]:
    """Delete what dead runs left: checkpoints without a description, and temporary folders of any step.

    Nobody may be writing there: the run's lock is held.

    Returns:
        What could not be deleted, and why.
    """
    return delete_all([folder for folder in list_folders(join(run_folder, "checkpoints"))
                       if not exists(join(folder, DESCRIPTION_FILE))])


def retain(run_folder: str, retention: Retention) -> list[str]:
    """Delete the complete checkpoints that the rule does not keep, each first losing its description.

    Returns:
        What could not be deleted, and why.
    """
    told = described(run_folder)
    stay = retention.kept(told)
    return delete_all([folder for folder, _ in told if folder not in stay], remove)


def delete_all(places: Sequence[str], how: Callable[[str], None] = delete) -> list[str]:
    """Delete each of them that can be deleted; what could not, and why."""
    problems = []
    for place in places:
        try:
            how(place)
        except OSError as error:
            problems.append(f"{place} cannot be deleted ({error})")
    return problems


def remove(folder: str) -> None:
    """Delete a checkpoint; one that is half deleted is none."""
    delete(join(folder, DESCRIPTION_FILE))
    delete(folder)


def read_marker(place: str) -> dict[str, Any]:
    """What a rank says of the file that it has written; empty while it has not."""
    try:
        said = json.loads(read_bytes(place)) if exists(place) else {}
    except (StorageError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _folders(run_folder: str) -> list[str]:
    return [folder for folder in list_folders(join(run_folder, "checkpoints")) if name_of(folder).startswith("step-")]
