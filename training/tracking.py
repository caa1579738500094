"""MLflow: one run per training run, continued when the training is resumed.

In: a tracking URI (a SQLite file, a server), metrics as dictionaries with the clock (positions) as their step.
Out: a run with the recipe as parameters, manifest and git state as tags, the dataset version as its input, metrics,
sample grids and the checkpoint.
The launcher begins and ends the run; rank 0 alone writes to it, in batches and without waiting.
"""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchorface.pipelines.feed.dataset import Dataset
from anchorface.records import TrainingError
from anchorface.training.recipes import Recipe, flat

LONGEST_VALUE = 5000


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where a run is tracked: MLflow's URI and the run's id."""

    uri: str
    run_id: str


def git_state(folder: Path) -> dict[str, Any]:
    """`commit` and whether the tree is `dirty`; unknown where `folder` is no repository's root, or without git."""
    unknown = {"commit": "unknown", "dirty": None}
    try:
        top, commit, changes = (
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=20).stdout
            for words in (("rev-parse", "--show-toplevel"), ("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return unknown
    if Path(top.strip()).resolve() != folder.resolve():
        return unknown  # an installation inside somebody else's repository
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}


def begin(recipe: Recipe, *, uri: str, experiment: str, artifacts: Path, run_id: str | None, run_name: str,
          tags: dict[str, Any], dataset: Dataset | None = None) -> Tracking:
    """Create the run, or take up `run_id` again.

    Args:
        uri: `sqlite:///...`, `http://...`, or whatever MLflow knows.
        artifacts: folder for grids and checkpoint descriptions, used when the URI is a local database.
        tags: manifest id, git state, weights.
        dataset: the dataset version that it trains on; a run that has it already keeps it once.

    Raises:
        TrainingError: the store cannot be reached.
    """
    from mlflow.entities import Param, RunTag
    from mlflow.exceptions import MlflowException

    try:
        client = _client(uri)
        if run_id is not None:
            client.update_run(run_id, status="RUNNING")
            _log_dataset(client, run_id, dataset)
            return Tracking(uri=uri, run_id=run_id)
        found = client.get_experiment_by_name(experiment)
        place = artifacts.resolve().as_uri() if uri.startswith("sqlite:") else None
        number = found.experiment_id if found else client.create_experiment(experiment, artifact_location=place)
        run = client.create_run(number, run_name=run_name)
        parameters = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in flat(recipe.to_dict()).items()]
        labels = [RunTag(key, str(value)[:LONGEST_VALUE]) for key, value in flat(tags).items()]
        client.log_batch(run.info.run_id, params=parameters, tags=labels)
        _log_dataset(client, run.info.run_id, dataset)
    except (MlflowException, OSError) as error:
        raise TrainingError(f"MLflow at {uri} cannot be used ({error}); check the tracking URI, or train without "
                            "tracking") from error
    return Tracking(uri=uri, run_id=run.info.run_id)


def _log_dataset(client: Any, run_id: str, dataset: Dataset | None) -> None:
    if dataset is None:
        return
    from anchorface.training.dataset_input import dataset_input

    known = {(given.dataset.name, given.dataset.digest) for given in client.get_run(run_id).inputs.dataset_inputs}
    given = dataset_input(dataset.uri, dataset.manifest)
    if (given.dataset.name, given.dataset.digest) not in known:
        client.log_inputs(run_id, datasets=[given])


def end(tracking: Tracking, *, finished: bool) -> None:
    """Close the run."""
    _client(tracking.uri).set_terminated(tracking.run_id, status="FINISHED" if finished else "FAILED")


class Tracker:
    """Rank 0's pen: it gathers metrics and sends them in batches. A store that fails later costs a warning."""

    def __init__(self, tracking: Tracking, every_seconds: float = 5.0) -> None:
        self.tracking, self.every = tracking, every_seconds
        self.client = _client(tracking.uri)
        self.waiting: list[Any] = []
        self.sent: list[Any] = []
        self.last = time.monotonic()

    def metrics(self, values: dict[str, float], clock: int) -> None:
        """Note metrics at a clock; they have arrived, at the latest, before the next checkpoint is written."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.waiting += [Metric(key, float(value), now, clock) for key, value in values.items()]
        if time.monotonic() - self.last > self.every:
            self._send()

    def picture(self, path: Path) -> None:
        """Attach a sample grid."""
        self._try(lambda: self.client.log_artifact(self.tracking.run_id, str(path), "samples"))

    def checkpoint(self, folder: Path, description: Path) -> None:
        """Refer to a checkpoint: its place as a tag, its description as a file."""
        self._try(lambda: self.client.set_tag(self.tracking.run_id, "checkpoint", str(folder)))
        place = f"checkpoints/{folder.name}"
        self._try(lambda: self.client.log_artifact(self.tracking.run_id, str(description), place))

    def flush(self) -> None:
        """Send the rest and wait until it has arrived: what a resumed run will not see again must not be lost."""
        self._send()
        for operation in self.sent:
            self._try(operation.wait)
        self.sent = []

    def _send(self) -> None:
        waiting, self.waiting, self.last = self.waiting, [], time.monotonic()
        if waiting:
            self._try(lambda: self.sent.append(
                self.client.log_batch(self.tracking.run_id, metrics=waiting, synchronous=False)))

    def _try(self, action: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            action()
        except (MlflowException, OSError) as error:
            print(f"warning: MLflow at {self.tracking.uri}: {error}", flush=True)


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)
