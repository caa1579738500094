"""The way from the spool to MLflow: a thread of the launcher that follows `tracking.jsonl` and never holds up training.

In: a run folder's spool (training.tracking). Out: an MLflow run with all of it in order, and `tracking-sent.json`:

    {"uri": store, "run_id": id, "places": {"tracking.jsonl": bytes that MLflow has taken}}

Every event is sent at least once: it counts as sent after MLflow has taken it, so a process that dies between the two
sends it again. MLflow's databases keep equal metrics (same run, name, time, step, value) once; tags, status, files and
datasets are set to the same again. What is left when a run ends is sent by the next start in its folder or by
`anchorface runs sync`.
"""

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

from pyarrow import fs

from anchorface.records import AnchorfaceError, StorageError, TrainingError
from anchorface.records.addresses import redacted
from anchorface.records.lines import Lines
from anchorface.records.state import read_state
from anchorface.records.storage import exists, filesystem, join, read_bytes, write_atomic
from anchorface.training.tracking import SPOOL, Tracker, Tracking, connect, find_run, shortened

SENT, REFUSED, RUN = "tracking-sent.json", "tracking-refused.jsonl", "run.json"
NODES = "tracking-node-*.jsonl"
CHUNK = 1 << 18
BATCH = 1000
"""Bytes of the spool, and metrics, that go at once; MLflow takes 1,000 metrics in a request."""
SLOWEST = 30.0
PATIENCE, PATIENCE_WHEN_KILLED = 30.0, 5.0
INVALID = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


class Courier:
    """Carries a run's events to MLflow while the block runs, and says how the run ended.

    Args:
        folder: the run folder. tracking: the run. uri: the store, with credentials if it has some; kept in memory only.
        report: takes one line when MLflow goes away, one when it is back.
        every: seconds between two looks at the spool.

    `status` is what the run ends with: None says FINISHED, FAILED after an error, KILLED after a signal (an exception
    that is no Exception); whoever knows better sets it. Leaving the block waits PATIENCE seconds at most, after a
    signal PATIENCE_WHEN_KILLED, and raises nothing over the error that ended the run.
    """

    def __init__(self, folder: str | os.PathLike[str], tracking: Tracking, *, uri: str, report: Callable[[str], None],
                 every: float = 2.0) -> None:
        self.folder, self.tracking, self.uri, self.report, self.every = os.fspath(folder), tracking, uri, report, every
        self.status: str | None = None
        self.client: Any = None
        self.failures, self.waited, self.chunk = 0, 0, CHUNK
        self.closing = threading.Event()
        self.deadline = float("inf")
        self.thread = threading.Thread(target=self._follow, daemon=True, name="courier to MLflow")

    def __enter__(self) -> "Courier":
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        killed = kind is not None and not issubclass(kind, Exception)
        status = self.status or ("FINISHED" if kind is None else "KILLED" if killed else "FAILED")
        self.close(status, PATIENCE_WHEN_KILLED if status == "KILLED" else PATIENCE)

    def close(self, status: str, seconds: float) -> None:
        """Note how the run ended, and send for at most so many seconds."""
        try:
            tracker = Tracker(self.folder)
            tracker.event("status", status=status)
            tracker.flush()
        except (AnchorfaceError, OSError) as error:
            self.report(f"MLflow will not hear that the run {status}: {error}")
        self.deadline = time.monotonic() + seconds
        self.closing.set()
        self.thread.join(seconds)
        try:
            left = waiting(self.folder)
        except (AnchorfaceError, OSError) as error:
            self.report(f"how much MLflow has not taken is not known: {error}")
            return
        if left:
            self.report(f"MLflow at {self.tracking.uri} has not taken {left} lines of {self._spool}; the next start "
                        f"sends them, or `anchorface runs sync {redacted(self.folder)}`")

    @property
    def _spool(self) -> str:
        return redacted(join(self.folder, SPOOL))

    def _follow(self) -> None:
        while time.monotonic() < self.deadline:
            last = self.closing.is_set()
            if self.step() and last:
                return
            if last:
                time.sleep(min(1.0, max(0.0, self.deadline - time.monotonic())))
            else:
                self.closing.wait(min(SLOWEST, self.every * 2**min(self.failures, 16)))

    def step(self) -> bool:
        """Send what stands in the spool now; whether MLflow took all of it. Raises nothing: a failure is reported once,
        and the next step tries again.
        """
        try:
            self.send()
        except Exception as error:  # whatever a store, a network or a disk raises: training goes on without MLflow
            self.failures += 1
            self.chunk = max(1, self.chunk // 4)
            if self.failures == 1:
                self.report(f"MLflow at {self.tracking.uri} is away ({shortened(error)}); training goes on, and what "
                            f"it says waits in {self._spool}")
            return False
        if self.failures:
            self.report(f"MLflow at {self.tracking.uri} is back: {self.waited} lines that waited have arrived")
        self.failures, self.waited = 0, 0
        return True

    def send(self) -> int:
        """Send all that MLflow has not taken yet, in order; returns the number of lines.

        Raises:
            Exception: whatever the store raises; what was taken before is noted.
        """
        if self.client is None:
            self.client = connect(self.uri)
        known = _sent(self.folder)
        places = known["places"] if known.get("run_id") == self.tracking.run_id else {}
        count = 0
        for name in _spools(self.folder):
            lines = Lines(join(self.folder, name))
            while True:
                begin = places.get(name, 0)
                events, place = lines.read(begin, self.chunk)
                if not events:
                    break
                self._deliver(events)
                places[name] = place
                write_atomic(join(self.folder, SENT), json.dumps(
                    {"uri": self.tracking.uri, "run_id": self.tracking.run_id, "places": places}).encode())
                count += len(events)
                self.waited += len(events)
                self.chunk = min(CHUNK, self.chunk * 4)
        return count

    def _deliver(self, events: list[dict[str, Any]]) -> None:
        """All of them; those that MLflow will never take are set aside, so that they do not hold up the others."""
        from mlflow.exceptions import MlflowException

        try:
            deliver(self.client, self.tracking.run_id, self.folder, events)
        except MlflowException as error:
            if error.error_code not in INVALID:
                raise
            if find_run(self.client, self.tracking.run_id) is None:
                raise TrainingError(f"there is no run {self.tracking.run_id} any more") from error
            if len(events) > 1:
                for event in events:
                    self._deliver([event])
                return
            refused = Lines(join(self.folder, REFUSED))
            refused.append(events[0] | {"error": shortened(error)})
            refused.flush()
            self.report(f"MLflow at {self.tracking.uri} refuses a line ({shortened(error)}); it stands in "
                        f"{redacted(refused.uri)}")


def deliver(client: Any, run_id: str, folder: str, events: list[dict[str, Any]]) -> None:
    """Send events in their order, metrics in batches.

    Raises:
        Exception: whatever the store raises.
    """
    from mlflow.entities import Metric

    metrics: list[Any] = []

    def send() -> None:
        for first in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[first : first + BATCH])
        metrics.clear()

    for event in events:
        if event["kind"] == "metrics":
            metrics += [Metric(key, value, event["time"], event["clock"]) for key, value in event["values"].items()]
        else:
            send()
            _deliver_one(client, run_id, folder, event)
    send()


def _deliver_one(client: Any, run_id: str, folder: str, event: dict[str, Any]) -> None:
    from mlflow.entities import RunTag

    kind = event["kind"]
    if kind == "tags":
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in event["tags"].items()])
    elif kind == "picture":
        _picture(client, run_id, join(folder, event["path"]))
    elif kind == "checkpoint":
        client.set_tag(run_id, "checkpoint", event["place"])
        client.log_text(run_id, event["description"], f"checkpoints/{event['name']}/checkpoint.json")
    elif kind == "dataset":
        _dataset(client, run_id, event)
    elif kind == "status" and event["status"] == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    elif kind == "status":
        client.set_terminated(run_id, status=event["status"], end_time=event["time"])


def _picture(client: Any, run_id: str, place: str) -> None:
    """A sample grid, if it still stands: an erasure takes grids away."""
    system, path = filesystem(place)
    if isinstance(system, fs.LocalFileSystem):
        if Path(path).exists():
            client.log_artifact(run_id, path, "samples")
    elif exists(place):
        with tempfile.TemporaryDirectory() as near:
            copy = Path(near, path.rpartition("/")[2])
            copy.write_bytes(read_bytes(place))
            client.log_artifact(run_id, str(copy), "samples")


def _dataset(client: Any, run_id: str, event: dict[str, Any]) -> None:
    from anchorface.training.dataset_input import dataset_input

    given = dataset_input(event["dataset"], event["context"])
    known = {(one.dataset.name, one.dataset.digest) for one in client.get_run(run_id).inputs.dataset_inputs}
    if (given.dataset.name, given.dataset.digest) not in known:
        client.log_inputs(run_id, datasets=[given])


def waiting(folder: str | os.PathLike[str]) -> int:
    """How many lines of a run's spool MLflow has not taken.

    Raises:
        DataError, StorageError: the spool is damaged or cannot be read.
    """
    places = _sent(os.fspath(folder))["places"]
    return sum(len(Lines(join(os.fspath(folder), name)).read(places.get(name, 0))[0])
               for name in _spools(os.fspath(folder)))


class Known(TypedDict):
    """What `run.json` says."""

    uri: str
    run_id: str


def known_run(folder: str | os.PathLike[str]) -> Tracking | None:
    """The MLflow run that a folder's `run.json` names."""
    note = join(os.fspath(folder), RUN)
    if not exists(note):
        return None
    said = read_state(note, Known)
    return Tracking(uri=redacted(said["uri"]), run_id=said["run_id"])


def sync(folder: str | os.PathLike[str], *, uri: str = "", report: Callable[[str], None] = print) -> int:
    """Send what a run's spool holds and MLflow has not taken; returns the number of lines.

    Args:
        uri: the store with its credentials, where the environment does not have them; it must be the run's.

    Raises:
        TrainingError: the run is not tracked, the store is another one, or it does not take the lines.
        DataError, StorageError: the spool is damaged or cannot be read.
    """
    tracking = known_run(folder)
    if tracking is None:
        raise TrainingError(f"{folder}: this run has no {RUN}: it was never tracked")
    if uri and redacted(uri) != tracking.uri:
        raise TrainingError(f"{folder}: the run is tracked at {tracking.uri}, not at {redacted(uri)}")
    courier = Courier(folder, tracking, uri=uri or tracking.uri, report=report)
    try:
        return courier.send()
    except AnchorfaceError:
        raise
    except Exception as error:  # a store raises what its database, its network or MLflow raises
        raise TrainingError(f"MLflow at {tracking.uri} does not take the lines ({shortened(error)}); {waiting(folder)} "
                            f"wait in {join(os.fspath(folder), SPOOL)}, nothing is lost") from error


def send_left(folder: str | os.PathLike[str], *, uri: str, report: Callable[[str], None]) -> None:
    """What a run that is over left in its spool, if MLflow takes it; otherwise one line says that it is away."""
    tracking = known_run(folder)
    if tracking and waiting(folder) and redacted(uri) in ("", tracking.uri):
        Courier(folder, tracking, uri=uri or tracking.uri, report=report).step()


def _spools(folder: str) -> list[str]:
    """The other nodes' files first: the run's end stands in the first one's."""
    system, path = filesystem(folder)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    names = sorted(info.base_name for info in found if info.type == fs.FileType.File)
    return [name for name in names if fnmatch(name, NODES)] + [name for name in names if name == SPOOL]


def _sent(folder: str) -> dict[str, Any]:
    place = join(folder, SENT)
    if not exists(place):
        return {"places": {}}
    try:
        said = json.loads(read_bytes(place))
        return {"places": {}, **said}
    except (ValueError, TypeError, RecursionError) as error:
        raise StorageError(f"{place}: damaged ({error}); delete it, and all lines are sent once more") from error
