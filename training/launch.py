"""Start a run: on Ray Train with DeepSpeed, or with no worker at all in this process.

In: a recipe, a dataset version, a run folder that all workers see. Out: the newest checkpoint's folder.

    run_folder/checkpoints/step-...   samples/*.png   progress.jsonl   run.json   ray/ (Ray Train's own state)

Running it again in the same folder resumes, or does nothing if the run is complete. A worker that dies is replaced
and all go on from the newest checkpoint.
"""

import json
import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from anchorface.models.checkpoint import read_description, require_same_model
from anchorface.models.precision import cpu_computes_bfloat16
from anchorface.pipelines.feed.dataset import Dataset, open_dataset
from anchorface.records import AnchorfaceError, ConfigurationError, TrainingError, errors
from anchorface.records.addresses import redacted, sqlite_address
from anchorface.records.storage import make_folder, write_atomic
from anchorface.training import checkpoint, tracking
from anchorface.training.courier import RUN, Courier, known_run, send_left
from anchorface.training.execution import Execution
from anchorface.training.job import PROGRESS, Job
from anchorface.training.recipes import Recipe

ROOT = Path(__file__).resolve().parents[1]
FAILURE = "failure.json"
HARMLESS = (
    r".*torch\.distributed\..* is deprecated.*",  # DeepSpeed's collectives under torch 2.13
    r".*Cannot dispatch to fused implementation.*",  # diffusers' RMS norms under autocast
)


def train(
    recipe: Recipe, dataset_uri: str, run_folder: str | Path, execution: Execution | None = None, *,
    track: bool = True, tracking_uri: str = "", experiment: str = "anchorface", parent: str = "",
    report: Callable[[str], None] = print,
) -> Path:
    """Train a recipe.

    Args:
        dataset_uri: a dataset version, or the folder with `latest`.
        run_folder: a local or mounted folder that all workers see.
        execution: workers, memory and speed.
        track: write to MLflow. tracking_uri: empty for the one that the run folder knows, or for a SQLite file beside
            it. parent: id of an MLflow run under which a new run is nested.
        report: takes one line of progress.

    Returns:
        The newest checkpoint's folder.

    Raises:
        TrainingError: a loss that is not finite, or workers that keep dying.
        CheckpointError: the run folder belongs to another configuration.
        ConfigurationError, DataError, WeightsError, StorageError: as their names say.
    """
    from anchorface.training.loop import fresh_description

    execution = execution or Execution()
    folder = Path(run_folder).expanduser().resolve()
    make_folder(str(folder))
    execution.share(recipe.feed.batch)
    dataset = open_dataset(dataset_uri)
    place = dataset.uri if "://" in dataset.uri else str(Path(dataset.uri).resolve())
    job = Job(
        recipe=replace(recipe, feed=replace(recipe.feed, dataset=redacted(place))), execution=execution, dataset=place,
        manifest_id=dataset.manifest_id, run_folder=folder, git=tracking.git_state(ROOT),
    )
    if recipe.precision == "bf16" and not execution.gpus and not cpu_computes_bfloat16():
        report("this CPU computes bfloat16 in software, about eight times slower than float32: --set precision=fp32 "
               "makes another run, and a faster one")
    newest = checkpoint.latest(folder)
    if newest is not None:
        found = read_description(newest)
        require_same_model(found, recipe.model, newest)
        checkpoint.require_same_run(found, fresh_description(job, execution.world), newest)
        if found.clock // recipe.feed.batch >= recipe.steps:
            if track:
                send_left(folder, uri=tracking_uri, report=report)
            report(f"training is complete: {newest}")
            return newest
    courier = _begin(job, dataset, tracking_uri, experiment, parent, report) if track else None
    job = replace(job, tracking=courier.tracking if courier else None)
    (folder / FAILURE).unlink(missing_ok=True)
    with courier or nullcontext(), _Progress(folder / PROGRESS, report):
        if execution.workers:
            _on_ray(job)
        else:
            _here(job)
    newest = checkpoint.latest(folder)
    if newest is None:
        raise TrainingError(f"{folder}: the run ended without a checkpoint")
    return newest


def _begin(job: Job, dataset: Dataset, uri: str, experiment: str, parent: str,
           report: Callable[[str], None]) -> Courier:
    """The MLflow run of this folder, new or the one that `run.json` names, and who carries to it."""
    recipe, folder = job.recipe, job.run_folder
    known = known_run(folder)
    uri = uri or (known.uri if known else sqlite_address(folder.parent / "mlflow.db"))
    tags = {"manifest": dataset.manifest_id, "git": job.git, "recipe_digest": recipe.digest, "run_folder": str(folder),
            "execution": job.execution.to_dict()}
    begun = tracking.begin(
        recipe, uri=uri, experiment=experiment, artifacts=folder.parent / "mlflow-artifacts", tags=tags,
        run_id=known.run_id if known and known.uri == redacted(uri) else None, run_name=f"{recipe.name} {folder.name}",
        dataset=dataset, parent=parent, folder=folder, report=report)
    write_atomic(str(folder / RUN), json.dumps({"uri": begun.uri, "run_id": begun.run_id}).encode())
    return Courier(folder, begun, uri=uri, report=report)


def _on_ray(job: Job) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from anchorface.pipelines.stages.cluster import connect

    connect()
    execution, available = job.execution, ray.cluster_resources()
    each = {"CPU": execution.cpus, **({"GPU": 1} if execution.gpus else {})}
    needed = {name: execution.workers * amount for name, amount in each.items()}
    short = [f"{amount:g} {name} (there are {available.get(name, 0):g})" for name, amount in needed.items()
             if available.get(name, 0) < amount]
    if short:
        raise ConfigurationError(f"{execution.workers} workers need {', '.join(short)}: use fewer workers, or smaller "
                                 "shares")
    trainer = TorchTrainer(
        worker, train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if execution.gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=execution.workers, use_gpu=bool(execution.gpus),
                                     resources_per_worker=each),
        run_config=RunConfig(name="ray", storage_path=str(job.run_folder),
                             failure_config=FailureConfig(max_failures=execution.failures)),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        _raise_noted(job.run_folder)
        newest = checkpoint.latest(job.run_folder)
        raise TrainingError(f"workers kept dying ({error}); the newest checkpoint is {newest}, the same command goes "
                            f"on from there; worker logs: {job.run_folder / 'ray'}") from error
    _raise_noted(job.run_folder)


def _here(job: Job) -> None:
    """The job with a world of one, in this process."""
    import torch.distributed as dist

    from anchorface.training.engine import stop

    os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"})
    with tempfile.TemporaryDirectory() as meeting:
        dist.init_process_group("nccl" if job.execution.gpus else "gloo", init_method=f"file://{meeting}/store", rank=0,
                                world_size=1)
        try:
            _run(job)
        finally:
            stop()


def worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs. An error that a new attempt would only meet again is noted in the run folder;
    the next attempt sees the note and ends at once, and the launcher raises it.
    """
    import ray.train

    job, context = config["job"], ray.train.get_context()
    if (job.run_folder / FAILURE).exists():
        return
    try:
        _run(job, context.get_local_rank())
    except AnchorfaceError as error:
        write_atomic(str(job.run_folder / FAILURE), json.dumps(errors.to_value(error)).encode())
        raise


def _run(job: Job, local_rank: int = 0) -> None:
    kind = "cuda" if job.execution.gpus else "cpu"
    os.environ.setdefault("DS_ACCELERATOR", kind)
    import torch

    from anchorface.training.loop import train as loop

    device = torch.device("cpu")
    if kind == "cuda":
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    with warnings.catch_warnings():
        for harmless in HARMLESS:
            warnings.filterwarnings("ignore", message=harmless)
        loop(job, device)


def _raise_noted(folder: Path) -> None:
    note = folder / FAILURE
    if note.exists():
        raise errors.from_value(*json.loads(note.read_text()))


class _Progress:
    """Shows each new line of progress.jsonl while the workers write it."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.path, self.report = path, report
        self.place = path.stat().st_size if path.exists() else 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self._show()

    def _follow(self) -> None:
        while not self.over.wait(1.0):
            self._show()

    def _show(self) -> None:
        if not self.path.exists():
            return
        with self.path.open() as file:
            file.seek(self.place)
            while (text := file.readline()).endswith("\n"):
                self.place = file.tell()
                self.report(line(json.loads(text)))


def line(values: dict[str, float]) -> str:
    """One line of progress for a person."""
    done, whole = int(values["clock"]), int(values["positions"])
    if "loss" not in values:
        return f"training {f'goes on at {done:,} of' if done else 'begins:'} {whole:,} samples"
    minutes, seconds = divmod(round(values["seconds_left"]), 60)
    words = {"flow": "flow {:.4f}", "identity_cosine": "likeness {:.2f}"}
    parts = ", ".join(word.format(values[name]) for name, word in words.items() if name in values)
    return (f"training {done:,}/{whole:,} samples, loss {values['loss']:.4f}{f' ({parts})' if parts else ''}, "
            f"{values['samples_per_second']:.1f} samples/s, {minutes}:{seconds:02d} left")
