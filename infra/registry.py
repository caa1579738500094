"""A checkpoint as a model in MLflow: logged with signature and lineage, registered under a name, found by an alias.

In: a tracked run's folder and one of its checkpoints. Out: a version of a registered model, which
`mlflow.pyfunc.load_model("models:/NAME@ALIAS")` turns into something that restores photographs (infra.pyfunc_restorer).

The model holds the description, the adapters and their average. The base weights stay outside: they have names, hashes
and licences of their own. From a store of local files whose path holds `%`, `#` or `?` MLflow 3.17 loads a model only
into a folder of its own (`load_model(..., dst_path=...)`).
"""

import importlib.metadata
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchorface.models.checkpoint import ADAPTER_FILE, DESCRIPTION_FILE, EMA_FILE, read_description
from anchorface.records import CheckpointError, TrainingError
from anchorface.records.addresses import redacted
from anchorface.records.storage import join, read_bytes
from anchorface.training.courier import known_run, sync
from anchorface.training.run_folders import look
from anchorface.training.tracking import LONGEST_VALUE, connect, find_run, shortened, sqlite_folder

SCRIPT = Path(__file__).with_name("pyfunc_restorer.py")
UPLOAD_TIMEOUT = "120"
"""Seconds that a server has for a file of adapters; metrics get less (training.tracking)."""
FILES = (DESCRIPTION_FILE, ADAPTER_FILE, EMA_FILE)


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version of a registered model, the logged model behind it, and the checkpoint that it holds."""

    name: str
    version: str
    model_id: str
    checkpoint: str


def register(run_folder: str, *, name: str, alias: str = "", checkpoint: str = "", uri: str = "") -> Registered:
    """Log a checkpoint as a model of its run, make it a version of a registered model, and point the alias to it.

    Args:
        run_folder: a tracked run's. name: of the registered model; it is made if there is none.
        checkpoint: a name such as step-00000128, `newest` or `best`; empty for the best if there was a validation, else
            the newest.
        uri: the tracking store with its credentials, where the environment does not have them.

    Raises:
        TrainingError: the run was never tracked, or MLflow is away or refuses.
        CheckpointError: there is no such checkpoint.
    """
    tracking = known_run(run_folder)
    if tracking is None:
        raise TrainingError(f"{run_folder}: this run was never tracked, so MLflow has nothing to hang a model on")
    run = look(run_folder)
    wanted = {"newest": run.newest, "best": run.best, "": run.best or run.newest}.get(checkpoint, checkpoint)
    if wanted not in {one.name for one in run.checkpoints}:
        known = ", ".join(one.name for one in run.checkpoints) or "none"
        raise CheckpointError(f"{run_folder}: no checkpoint {checkpoint or wanted or 'at all'}; complete are {known}")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", UPLOAD_TIMEOUT)
    sync(run_folder, uri=uri)
    store = uri or tracking.uri
    try:
        with _store(store), tempfile.TemporaryDirectory() as near:
            return _log(run_folder, wanted, Path(near), store, tracking.run_id, name, alias)
    except (TrainingError, CheckpointError):
        raise
    except Exception as error:  # a store raises what its database, its network or MLflow raises
        raise TrainingError(f"MLflow at {redacted(store)} does not take the model ({shortened(error)})") from error


def _log(run_folder: str, checkpoint: str, near: Path, store: str, run_id: str, name: str, alias: str) -> Registered:
    import mlflow
    from mlflow.entities import LoggedModelOutput, Metric

    place = join(run_folder, "checkpoints", checkpoint)
    copy = near / "checkpoint"
    copy.mkdir()
    for file in FILES:
        (copy / file).write_bytes(read_bytes(join(place, file)))
    said = read_description(copy)
    client = connect(store)
    run = find_run(client, run_id)
    if run is None:
        raise TrainingError(f"MLflow at {redacted(store)} has no run {run_id} any more")
    tags = {"checkpoint": redacted(place), "manifest": said.manifest_id, "clock": said.clock, "digest": said.digest}
    weights = {f"weights.{role}": f"{entry.name} {entry.sha256}" for role, entry in said.weights.items()}
    model = client.create_logged_model(
        run.info.experiment_id, name=checkpoint, source_run_id=run_id, model_type="restorer",
        tags={key: str(value) for key, value in tags.items()},
        params={key: str(value)[:LONGEST_VALUE] for key, value in (run.data.params | weights).items()})
    mlflow.pyfunc.log_model(
        name=checkpoint, model_id=model.model_id, python_model=str(SCRIPT), artifacts={"checkpoint": str(copy)},
        signature=_signature(), pip_requirements=[f"{package}=={importlib.metadata.version(package)}"
                                                  for package in ("anchorface", "mlflow")])
    client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step=said.clock)])
    values = {key: value for key, value in (said.extra.get("validation") or {}).items()
              if isinstance(value, int | float)}
    metrics = [Metric(key, float(value), run.info.start_time, said.clock, model_id=model.model_id, run_id=run_id)
               for key, value in values.items()]
    if metrics:
        client.log_batch(run_id, metrics=metrics)
    version = mlflow.register_model(f"models:/{model.model_id}", name, tags={"checkpoint": checkpoint})
    if alias:
        client.set_registered_model_alias(name, alias, version.version)
    return Registered(name=name, version=str(version.version), model_id=model.model_id, checkpoint=checkpoint)


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image"),
                       ColSpec(Array(DataType.binary), "references", required=False),
                       ColSpec(Array(DataType.double), "landmarks", required=False)]),
        outputs=Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "problem")]),
        params=ParamSchema([ParamSpec("faces", DataType.string, "all"), ParamSpec("steps", DataType.integer, 12),
                            ParamSpec("guidance", DataType.double, 1.0), ParamSpec("fidelity", DataType.double, 0.0),
                            ParamSpec("seed", DataType.long, 42),
                            ParamSpec("detector", DataType.string, "default")]))


@contextmanager
def _store(uri: str) -> Iterator[None]:
    """MLflow's own idea of its store, which its functions for models need, for the length of a block. The registry is
    the same store, or the one of $MLFLOW_REGISTRY_URI.
    """
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        with sqlite_folder(uri):
            yield
    finally:
        mlflow.set_tracking_uri(before)
