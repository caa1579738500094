"""Whether a run folder's checkpoints and notes are what was written there.

In: a run folder, or one checkpoint's. Out: checks (records.checks); nothing is changed.
"""

from functools import partial
from typing import Any

from anchorface.models.checkpoint import ADAPTER_FILE, DESCRIPTION_FILE, EMA_FILE, read_description, read_verified
from anchorface.models.weights import load
from anchorface.records import CheckpointError
from anchorface.records.checks import Check
from anchorface.records.lines import Lines
from anchorface.records.state import read_state
from anchorface.records.storage import join, list_files, list_folders

CHECKPOINT = "copy it again, or delete this checkpoint's folder: the run goes on from the one before"
NOTES = ("run.json", "sent.json")


def run_checks(folder: str) -> list[Check]:
    """All complete checkpoints of a run, and the notes beside them."""
    checks = []
    for uri in list_files(folder, (".jsonl",)):
        checks.append(Check(place=uri, look=partial(Lines(uri).read), advice="delete the line that is named"))
    for uri in list_files(folder, NOTES):
        checks.append(Check(place=uri, look=partial(read_state, uri, Any), advice="delete it; MLflow begins a new run"))
    for checkpoint in list_folders(join(folder, "checkpoints")):
        checks += checkpoint_checks(checkpoint)
    return checks


def checkpoint_checks(folder: str) -> list[Check]:
    """A checkpoint's description, and the files that it names."""
    checks = [Check(place=join(folder, DESCRIPTION_FILE), look=partial(read_description, folder), advice=CHECKPOINT)]
    try:
        files = read_description(folder).extra.get("state", {}).get("files", {})
    except CheckpointError:
        return checks  # without it nothing is known of the rest
    if not files:  # one of an earlier version names no hashes: its weights can be read, more is not known
        return checks + [Check(place=join(folder, name), look=partial(load, join(folder, name)), advice=CHECKPOINT)
                         for name in (ADAPTER_FILE, EMA_FILE)]
    return checks + [Check(place=join(folder, path), look=partial(read_verified, folder, path, said), advice=CHECKPOINT)
                     for path, said in files.items()]
