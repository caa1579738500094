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
from dataclasses import replace
from pathlib import Path
from typing import Any

from anchorface.models.checkpoint import read_description
from anchorface.pipelines.feed.dataset import Dataset, open_dataset
from anchorface.records import AnchorfaceError, ConfigurationError, TrainingError, errors
from anchorface.records.storage import make_folder, write_atomic
from anchorface.training import checkpoint, tracking
from anchorface.training.recipes import Recipe

ROOT = Path(__file__).resolve().parents[1]
FAILURE = "failure.json"
RUN = "run.json"
HARMLESS = (
    r".*torch\.distributed\..* is deprecated.*",  # DeepSpeed's collectives under torch 2.13
    r".*Cannot dispatch to fused implementation.*",  # diffusers' RMS norms under autocast
)


def train(
    recipe: Recipe, dataset_uri: str, run_folder: str | Path, *, workers: int = 2, use_gpu: bool = False,
    cpus_per_worker: float = 0.5, threads: int = 0, feed_engine: str = "ray", feed_workers: int = 1,
    max_failures: int = 3, track: bool = True, tracking_uri: str = "", experiment: str = "anchorface",
    report: Callable[[str], None] = print,
) -> Path:
    """Train a recipe.

    Args:
        dataset_uri: a dataset version, or the folder with `latest`.
        run_folder: a local or mounted folder that all workers see.
        workers: Ray Train workers; 0 runs in this process, without Ray, for looking into things.
        use_gpu: one GPU per worker (NCCL), else CPU (gloo).
        cpus_per_worker: what Ray books for a worker; half a CPU leaves room for the feed on two CPUs.
        threads: torch's per worker; 0 divides this machine's cores among the workers.
        feed_engine: `ray` or `inline`; always inline with workers=0. feed_workers: Ray workers per training worker.
        max_failures: how often dead workers are replaced.
        track: write to MLflow. tracking_uri: empty for a SQLite file beside the run folder.
        report: takes one line of progress.

    Returns:
        The newest checkpoint's folder.

    Raises:
        TrainingError: a loss that is not finite, or workers that keep dying.
        CheckpointError: the run folder belongs to another configuration.
        ConfigurationError, DataError, WeightsError, StorageError: as their names say.
    """
    from anchorface.training.loop import Job, fresh_description

    folder = Path(run_folder).expanduser().resolve()
    make_folder(str(folder))
    world = max(workers, 1)
    _require_divisible(recipe, world)
    dataset = open_dataset(dataset_uri)
    place = dataset.uri if "://" in dataset.uri else str(Path(dataset.uri).resolve())
    job = Job(
        recipe=replace(recipe, feed=replace(recipe.feed, dataset=place)), dataset=place,
        manifest_id=dataset.manifest_id, run_folder=folder, feed_workers=feed_workers, git=tracking.git_state(ROOT),
        feed_engine=feed_engine if workers else "inline",
        threads=threads or max(1, (os.cpu_count() or 1) // world),
    )
    newest = checkpoint.latest(folder)
    if newest is not None:
        found = read_description(newest)
        checkpoint.require_same_run(found, fresh_description(job, world), newest)
        if found.clock // recipe.feed.batch >= recipe.steps:
            report(f"training is complete: {newest}")
            return newest
    mlflow = _begin(recipe, folder, dataset, job.git, tracking_uri, experiment) if track else None
    job = replace(job, tracking=mlflow)
    (folder / FAILURE).unlink(missing_ok=True)
    finished = False
    try:
        with _Progress(folder / "progress.jsonl", report):
            if workers:
                _on_ray(job, workers, use_gpu, cpus_per_worker, max_failures)
            else:
                _here(job, use_gpu)
        finished = True
    finally:
        if mlflow is not None:
            tracking.end(mlflow, finished=finished)
    newest = checkpoint.latest(folder)
    if newest is None:
        raise TrainingError(f"{folder}: the run ended without a checkpoint")
    return newest


def _require_divisible(recipe: Recipe, world: int) -> None:
    share, rest = divmod(recipe.feed.batch, world)
    if rest:
        raise ConfigurationError(f"feed.batch {recipe.feed.batch} over {world} workers: their number must divide it")
    if recipe.micro_batch and share % recipe.micro_batch:
        raise ConfigurationError(f"micro_batch {recipe.micro_batch} must divide {share}, a worker's share of "
                                 f"feed.batch {recipe.feed.batch} over {world} workers")


def _begin(recipe: Recipe, folder: Path, dataset: Dataset, git: dict[str, Any], uri: str,
           experiment: str) -> tracking.Tracking:
    """The MLflow run of this folder, new or the one that `run.json` names."""
    uri = uri or f"sqlite:///{folder.parent / 'mlflow.db'}"
    note, known = folder / RUN, {}
    if note.exists():
        known = json.loads(note.read_text())
    run_id = known.get("run_id") if known.get("uri") == uri else None
    tags = {"manifest": dataset.manifest_id, "git": git, "recipe_digest": recipe.digest, "run_folder": str(folder)}
    begun = tracking.begin(recipe, uri=uri, experiment=experiment, artifacts=folder.parent / "mlflow-artifacts",
                           run_id=run_id, run_name=f"{recipe.name} {folder.name}", tags=tags, dataset=dataset)
    write_atomic(str(note), json.dumps({"uri": begun.uri, "run_id": begun.run_id}).encode())
    return begun


def _on_ray(job: Any, workers: int, use_gpu: bool, cpus: float, max_failures: int) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from anchorface.pipelines.stages.cluster import connect

    connect()
    available = ray.cluster_resources()
    needed = {"CPU": workers * cpus, "GPU": float(workers * use_gpu)}
    short = [f"{amount:g} {name} (there are {available.get(name, 0):g})" for name, amount in needed.items()
             if available.get(name, 0) < amount]
    if short:
        raise ConfigurationError(f"{workers} workers need {', '.join(short)}: use fewer workers, or smaller shares")
    trainer = TorchTrainer(
        worker, train_loop_config={"job": job, "use_gpu": use_gpu},
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker={
            "CPU": cpus, **({"GPU": 1} if use_gpu else {}),
        }),
        run_config=RunConfig(name="ray", storage_path=str(job.run_folder),
                             failure_config=FailureConfig(max_failures=max_failures)),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        _raise_noted(job.run_folder)
        newest = checkpoint.latest(job.run_folder)
        raise TrainingError(f"workers kept dying ({error}); the newest checkpoint is {newest}, the same command goes "
                            f"on from there; worker logs: {job.run_folder / 'ray'}") from error
    _raise_noted(job.run_folder)


def _here(job: Any, use_gpu: bool) -> None:
    """The job with a world of one, in this process."""
    import torch.distributed as dist

    os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"})
    with tempfile.TemporaryDirectory() as meeting:
        dist.init_process_group("nccl" if use_gpu else "gloo", init_method=f"file://{meeting}/store", rank=0,
                                world_size=1)
        try:
            _run(job, "cuda" if use_gpu else "cpu")
        finally:
            dist.destroy_process_group()


def worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs. An error that a new attempt would only meet again is noted in the run folder;
    the next attempt sees the note and ends at once, and the launcher raises it.
    """
    import ray.train

    job, context = config["job"], ray.train.get_context()
    if (job.run_folder / FAILURE).exists():
        return
    try:
        _run(job, "cuda" if config["use_gpu"] else "cpu", context.get_local_rank())
    except AnchorfaceError as error:
        write_atomic(str(job.run_folder / FAILURE), json.dumps([type(error).__name__, str(error)]).encode())
        raise


def _run(job: Any, kind: str, local_rank: int = 0) -> None:
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
        name, message = json.loads(note.read_text())
        raise getattr(errors, name)(message)


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
    cosine = f", likeness {values['identity_cosine']:.2f}" if "identity_cosine" in values else ""
    return (f"training {done:,}/{whole:,} samples, loss {values['loss']:.4f} (flow {values['flow']:.4f}{cosine}), "
            f"{values['samples_per_second']:.1f} samples/s, {minutes}:{seconds:02d} left")
