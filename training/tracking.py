"""A run as MLflow knows it, and the spool through which it hears of it: training never waits for MLflow.

In: a tracking URI (a SQLite file, a server), metrics as dictionaries with the clock (positions) as their step.
Out: an MLflow run with the recipe as parameters, and events, one a line, in the run folder:

    tracking.jsonl           what rank 0 and the launcher have to say, in order
    tracking-node-1.jsonl    system metrics of the other nodes
    tracking-sent.json       how far MLflow has taken them (training.courier)

    {"kind": "metrics", "time": ms, "clock": positions, "values": {name: number}}
    {"kind": "picture", "time": ms, "path": "samples/step-00000128.png"}
    {"kind": "checkpoint", "time": ms, "name": "step-00000128", "place": uri, "description": text of checkpoint.json}
    {"kind": "tags", "time": ms, "tags": {name: text}}
    {"kind": "dataset", "time": ms, "dataset": {what MLflow stores of it}, "context": text}
    {"kind": "status", "time": ms, "status": RUNNING, FINISHED, FAILED or KILLED}

Only `begin` speaks to MLflow, once, before anything is trained; the courier does so in the launcher's process.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchorface.pipelines.feed.dataset import Dataset
from anchorface.records import ConfigurationError, TrainingError
from anchorface.records.addresses import redacted, sqlite_address, sqlite_file
from anchorface.records.git import checkout
from anchorface.records.lines import Lines
from anchorface.records.patience import Patience, within
from anchorface.records.storage import join
from anchorface.training.recipes import Recipe, flat

SPOOL = "tracking.jsonl"
LONGEST_VALUE = 5000
FIRST_ANSWER = 15.0
"""Seconds that a store has for its first answer."""
CLIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
          "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
"""MLflow's client unless the environment says otherwise: whoever calls it tries again by himself, and it does not print
the store's address, password and all, at the end of a run.
"""
PARENT = "mlflow.parentRunId"


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where a run is tracked: MLflow's URI without credentials, and the run's id."""

    uri: str
    run_id: str


def git_state(folder: Path) -> dict[str, Any]:
    """`commit` and whether the tree is `dirty`; unknown where `folder` is no repository's root, or without git."""
    found = checkout(folder)
    return {"commit": found.commit if found else "unknown", "dirty": bool(found.changed) if found else None}


def begin(recipe: Recipe, *, uri: str, experiment: str, artifacts: Path, run_id: str | None, run_name: str,
          tags: dict[str, Any], dataset: Dataset | None = None, parent: str = "", folder: str | Path,
          report: Callable[[str], None] = print) -> Tracking:
    """Create the run, or take up `run_id` again; its tags, its dataset and RUNNING wait in the spool.

    A store that is away costs a run that goes on nothing but a line; a new run needs it.

    Args:
        uri: `sqlite:///...`, `http://...`, or whatever MLflow knows.
        artifacts: folder for grids and checkpoint descriptions, used when the URI is a local database.
        tags: manifest id, git state, execution; how often the run was started (`starts`) comes to them.
        dataset: the dataset version that it trains on; a run that has it already keeps it once.
        parent: id of an MLflow run under which a new run is nested, in its experiment.
        folder: the run folder, for the spool.

    Raises:
        TrainingError: a new run, and the store does not answer; or there is no such parent.
    """
    from mlflow.entities import Param

    def first_answer() -> Any:
        client = connect(uri)
        if run_id is not None and find_run(client, run_id) is not None:
            return client, True, None, None
        above = find_run(client, parent) if parent else None
        return client, False, above, client.get_experiment_by_name(experiment)

    tracker = Tracker(folder)
    starts = sum(event.get("status") == "RUNNING" for event in tracker.lines.read()[0])
    labels = {key: redacted(str(value))[:LONGEST_VALUE] for key, value in flat(tags | {"starts": starts + 1}).items()}
    try:
        # A new SQLite file takes its time to get its tables.
        client, goes_on, above, found = within(FIRST_ANSWER if sqlite_file(uri) is None else None, first_answer)
    except Exception as error:  # a store raises what its database, its network or MLflow raises
        if run_id is None:
            raise TrainingError(f"MLflow at {redacted(uri)} cannot be used ({shortened(error)}); check the tracking "
                                "URI, or train without tracking: --no-track") from error
        report(f"MLflow at {redacted(uri)} is away ({shortened(error)}); training goes on, and what it says waits in "
               f"{redacted(join(str(folder), SPOOL))}")
        goes_on = True
    if not goes_on:
        if parent and above is None:
            raise TrainingError(f"MLflow at {redacted(uri)} has no run {parent}: give the id of a run to --parent")
        if run_id is not None:
            report(f"MLflow at {redacted(uri)} has no run {run_id} any more: a new run there gets all that was told")
        run_id = create_run(client, uri, above, found, experiment, artifacts, run_name, labels)
        client.log_batch(run_id, params=[Param(key, redacted(str(value))[:LONGEST_VALUE])
                                         for key, value in flat(recipe.to_dict()).items()])
    tracker.event("status", status="RUNNING")
    tracker.event("tags", tags=labels)
    if dataset is not None:
        tracker.dataset(dataset)
    tracker.flush()
    assert run_id is not None
    return Tracking(uri=redacted(uri), run_id=run_id)


def create_run(client: Any, uri: str, above: Any, found: Any, experiment: str, artifacts: Path, run_name: str,
               labels: dict[str, str]) -> str:
    """A new run, in the experiment of the run above it, or in the named one.

    Args:
        above: MLflow's run, None for none. found: MLflow's experiment of this name, None if it is to be made.

    Raises:
        TrainingError: the store refuses.
    """
    from mlflow.exceptions import MlflowException

    try:
        if above is not None:
            number, labels = above.info.experiment_id, labels | {PARENT: above.info.run_id}
        elif found is not None:
            number = found.experiment_id
        else:
            place = artifacts.resolve().as_uri() if sqlite_file(uri) is not None else None
            number = _experiment(client, experiment, place)
        return str(client.create_run(number, run_name=run_name, tags=labels).info.run_id)
    except (MlflowException, OSError) as error:
        raise TrainingError(f"MLflow at {redacted(uri)} refuses a new run ({shortened(error)}); check experiment and "
                            "rights, or train without tracking: --no-track") from error


def _experiment(client: Any, name: str, place: str | None) -> str:
    """A new experiment, or the one that somebody else made at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name, artifact_location=place))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(name).experiment_id)


class Tracker:
    """The pen of rank 0, and of one rank on each other node: it appends events to the spool and waits for nobody.

    Args:
        folder: the run folder. node: the node's number among the run's; 0 is rank 0's.
        patience: for how long events may wait for the run folder; None: not at all.
    """

    def __init__(self, folder: str | os.PathLike[str], node: int = 0, patience: Patience | None = None) -> None:
        self.folder = os.fspath(folder)
        self.lines = Lines(join(self.folder, f"tracking-node-{node}.jsonl" if node else SPOOL), patience=patience)

    def metrics(self, values: dict[str, float], clock: int) -> None:
        """Note metrics at a clock."""
        self.event("metrics", clock=clock, values={key: float(value) for key, value in values.items()})

    def picture(self, path: str | os.PathLike[str]) -> None:
        """Attach a sample grid; it stands in the run folder."""
        place = os.fspath(path).removeprefix(self.folder.rstrip("/") + "/")
        self.event("picture", path=place)

    def checkpoint(self, folder: str | os.PathLike[str], description: str) -> None:
        """Refer to a checkpoint: its place as a tag, its description's text as a file, whether it still stands then or
        not.
        """
        place = os.fspath(folder).rstrip("/")
        self.event("checkpoint", name=place.rpartition("/")[2], place=redacted(place),
                   description=redacted(description))

    def tags(self, tags: dict[str, Any]) -> None:
        """Set tags, nested ones with dots; a later value replaces an earlier one."""
        self.event("tags", tags={key: redacted(str(value))[:LONGEST_VALUE] for key, value in flat(tags).items()})

    def dataset(self, dataset: Dataset, context: str = "training") -> None:
        """Name a dataset version as the run's input."""
        from anchorface.training.dataset_input import dataset_values

        self.event("dataset", dataset=dataset_values(dataset.uri, dataset.manifest), context=context)

    def event(self, kind: str, **values: Any) -> None:
        """Append one event.

        Raises:
            StorageError: the run folder cannot be written, and patience is over.
        """
        self.lines.append({"kind": kind, "time": int(time.time() * 1000), **values})

    def flush(self) -> None:
        """Return when all of it stands on the disk: what a resumed run will not see again must not be lost."""
        self.lines.flush()


def beside(folder: str, verb: str) -> str:
    """The SQLite file beside a folder, which is taken where no other store is named. verb: of the work in the folder.

    Raises:
        ConfigurationError: it would stand in a bucket.
    """
    if "://" in folder:
        raise ConfigurationError(f"{folder}: MLflow's SQLite file cannot stand in a bucket; give --tracking, or {verb} "
                                 "without: --no-track")
    return sqlite_address(Path(folder).parent / "mlflow.db")


def connect(uri: str) -> Any:
    """MLflow's client for a store."""
    for name, value in CLIENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    with sqlite_folder(uri):
        return MlflowClient(tracking_uri=uri)


@contextmanager
def sqlite_folder(uri: str) -> Iterator[None]:
    """The folder of a SQLite file, for whoever opens a store inside the block.

    MLflow makes that folder by its address, not by its name (mlflow/mlflow#4785): where the two differ, what it made is
    taken away again.
    """
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    written = Path(uri.partition(":///")[2].partition("?")[0]).parent
    made = [folder for folder in (written, *written.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # it was not made this time, or somebody has put something into it
                folder.rmdir()


def find_run(client: Any, run_id: str) -> Any:
    """An MLflow run, None where the store has none of this id or it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(run_id)
        return found if found.info.lifecycle_stage == "active" else None
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def shortened(error: Exception) -> str:
    """The first line of an error, without credentials."""
    text = redacted(str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 200 else text[:200] + "..."
