"""The MLflow run above a sweep's trials, which are runs nested in it."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anchorface.records import TrainingError
from anchorface.records.addresses import redacted, sqlite_file
from anchorface.records.patience import within
from anchorface.training.tracking import FIRST_ANSWER, LONGEST_VALUE, connect, create_run, find_run, shortened


def begin(uri: str, known: str, *, experiment: str, artifacts: Path, name: str, tags: Mapping[str, Any]) -> str:
    """The id of a new run, or of the known one, which runs again.

    Raises:
        TrainingError: the store does not answer, or refuses.
    """
    def answer() -> tuple[Any, Any, Any]:
        client = connect(uri)
        run = find_run(client, known) if known else None
        if run is not None:
            client.update_run(known, status="RUNNING")
        return client, run, client.get_experiment_by_name(experiment)

    try:
        client, run, found = within(FIRST_ANSWER if sqlite_file(uri) is None else None, answer)
    except Exception as error:  # a store raises what its database, its network or MLflow raises
        raise TrainingError(f"MLflow at {redacted(uri)} cannot be used ({shortened(error)}); check --tracking, or "
                            "sweep without it: --no-track") from error
    if run is not None:
        return known
    labels = {key: redacted(str(value))[:LONGEST_VALUE] for key, value in tags.items()}
    return create_run(client, uri, None, found, experiment, artifacts, name, labels)


def end(uri: str, run_id: str, status: str, values: Mapping[str, float], files: Mapping[str, bytes],
        report: Callable[[str], None]) -> None:
    """Say how a sweep ended, or that it goes on (RUNNING), with its numbers and files; a store that is away costs a
    line."""
    def tell() -> None:
        client = connect(uri)
        for key, value in values.items():
            client.log_metric(run_id, key, value)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            client.log_artifacts(run_id, folder)
        if status == "RUNNING":
            client.update_run(run_id, status=status)
        else:
            client.set_terminated(run_id, status)

    try:
        within(FIRST_ANSWER if sqlite_file(uri) is None else None, tell)
    except Exception as error:
        report(f"MLflow at {redacted(uri)} did not hear that the sweep ended ({shortened(error)}); the same command "
               "tells it again")
