"""Start a run: on Ray Train with DeepSpeed, or with no worker at all in this process.

In: a recipe, a dataset version, a run folder that all workers see, on any storage. Out: the newest checkpoint's folder.

    run_folder/checkpoints/step-...   samples/*.png   progress.jsonl   tracking.jsonl   run.json   lock.json
               ray/ (Ray Train's own state)   notes/, stop.json (training.notes)

Running it again in the same folder resumes, or does nothing if the run is complete. A worker that dies is replaced
and all go on from the newest checkpoint. SIGTERM and SIGINT end the run in good order; a second one ends it at once.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from anchorface.models.checkpoint import (
    Description,
    read_description,
    require_part_of,
    require_same_frozen,
    require_same_model,
)
from anchorface.models.precision import cpu_computes_bfloat16
from anchorface.pipelines.feed.consent import require_allowed
from anchorface.pipelines.feed.cpus import require_cpus
from anchorface.pipelines.feed.dataset import Dataset, open_dataset, require_embedder_file
from anchorface.pipelines.stages.cluster import connect
from anchorface.records import AnchorfaceError, ConfigurationError, Interrupted, TrainingError, erasures
from anchorface.records.addresses import redacted, sqlite_file
from anchorface.records.lineage import descends
from anchorface.records.lock import locked
from anchorface.records.storage import filesystem, is_local, join, make_folder, write_atomic
from anchorface.records.uses import note_dataset
from anchorface.training import tracking
from anchorface.training.best import Best
from anchorface.training.checkpoints import layout, resume
from anchorface.training.courier import RUN, Courier, known_run, send_left
from anchorface.training.execution import Execution
from anchorface.training.follow import Follower
from anchorface.training.job import Job
from anchorface.training.notes import Notes
from anchorface.training.recipes import Recipe
from anchorface.training.signals import Signals

ROOT = Path(__file__).resolve().parents[1]
HARMLESS = (
    r".*torch\.distributed\..* is deprecated.*",  # DeepSpeed's collectives under torch 2.13
    r".*Cannot dispatch to fused implementation.*",  # diffusers' RMS norms under autocast
)
SLOWER = 2.0
"""How much longer than the watch torch.distributed waits in a collective, so that the watch speaks first."""
PLACED = "10"
"""Seconds until an elastic run asks Ray for places again: it may have counted a lost node's, up to 20 seconds long."""


def train(
    recipe: Recipe, dataset_uri: str, run_folder: str | Path, execution: Execution | None = None, *, start: str = "",
    track: bool = True, tracking_uri: str = "", experiment: str = "anchorface", parent: str = "",
    report: Callable[[str], None] = print,
) -> str:
    """Train a recipe.

    Args:
        dataset_uri: a dataset version, or the folder with `latest`.
        run_folder: a folder or URI that all workers see.
        execution: workers, memory and speed.
        start: a checkpoint of the same networks, or of a system that they contain (IConFace in IP-FVR), whose averaged
            adapters a new run begins with.
        track: write to MLflow. tracking_uri: empty for the one that the run folder knows, or for a SQLite file beside
            it. parent: id of an MLflow run under which a new run is nested.
        report: takes one line of progress.

    Returns:
        The newest checkpoint's folder.

    Raises:
        TrainingError: a loss or gradient that is not finite, or workers that keep dying.
        Interrupted: a signal ended the run in good order.
        CheckpointError: the run folder belongs to another configuration.
        ConfigurationError: values that do not fit, or a run folder that another process uses; names it.
        DataError, WeightsError, StorageError: as their names say.
    """
    execution = execution or Execution()
    execution.require_batch(recipe.feed.batch)
    folder = address(str(run_folder))
    make_folder(folder)
    with locked(folder, "train"):
        dataset = open_dataset(address(dataset_uri))
        latents = "" if recipe.latents in ("", "dataset") else address(recipe.latents)
        note_dataset(dataset.uri, "training", folder, report, manifest=dataset.manifest_id, latents=latents)
        erasures.require_settled(dataset.manifest_id, dataset.uri)
        job, complete = _prepare(recipe, dataset, folder, execution, start, report)
        if complete:
            if track:
                send_left(folder, uri=tracking_uri, report=report)
            report(f"training is complete: {complete}")
            return complete
        if execution.workers:
            connect()  # before Signals: Ray takes SIGTERM for itself when it starts
            require_resources(execution)
        courier = _begin(job, dataset, tracking_uri, experiment, parent, report) if track else None
        job = replace(job, tracking=courier.tracking if courier else None)
        notes = Notes(folder)
        notes.clear()
        with courier or nullcontext(), Follower(folder, report), Signals(notes, report) as signals:
            try:
                signals.during(lambda: _on_ray(job) if execution.workers else _here(job))
            except Interrupted:
                if courier:
                    courier.status = "KILLED"
                raise
        newest = layout.latest(folder)
    if newest is None:
        raise TrainingError(f"{folder}: the run ended without a checkpoint")
    found = read_description(newest)
    if not _is_over(recipe, found):
        raise TrainingError(f"{folder}: the run ended at {found.clock:,} of {recipe.positions:,} samples and did not "
                            "say why; the same command goes on from there")
    return newest


def _prepare(recipe: Recipe, dataset: Dataset, folder: str, execution: Execution, start: str,
             report: Callable[[str], None]) -> tuple[Job, str]:
    """The job, and the newest checkpoint if that is the last one; everything is refused here that can be."""
    from anchorface.training.description import fresh
    from anchorface.training.networks import base_weights

    job = Job(
        recipe=replace(recipe, feed=replace(recipe.feed, dataset=redacted(dataset.uri))), execution=execution,
        dataset=dataset.uri, manifest_id=dataset.manifest_id, run_folder=folder, git=tracking.git_state(ROOT),
        start=address(start) if start else "",
    )
    if recipe.precision == "bf16" and not execution.gpus and not cpu_computes_bfloat16():
        report("this CPU computes bfloat16 in software, about eight times slower than float32: --set precision=fp32 "
               "makes another run, and a faster one")
    require_allowed(dataset.uri, job.recipe.fed)
    require_embedder_file(dataset.manifest, recipe.embedder)
    newest = layout.latest(folder)
    described = {known: read_description(known) for known in (job.start, newest) if known}
    for known, said in described.items():
        if known == newest:
            require_same_model(said, recipe.model, known)
        else:
            require_part_of(said, recipe.model, known)
            require_same_frozen(said, base_weights(recipe), known)
        erasures.answer(erasures.replaced(said.manifest_id, said.dataset or dataset.uri), known, execution.erased,
        report)
    if newest is None:
        return job, ""
    found = described[newest]
    continued = resume.continued(found, fresh(job, execution.world), newest, recipe.defaults(), _descends(dataset))
    _tell_changes(found, continued, report)
    return job, newest if _is_over(recipe, found) else ""


def _is_over(recipe: Recipe, found: Description) -> bool:
    """Whether a checkpoint is a run's last one: at its end, or where validation had not become better for too long."""
    best = Best.of(recipe.validation, found.extra.get("best"))
    return found.clock // recipe.feed.batch >= recipe.steps or best.exhausted(recipe.validation.patience)


def _begin(job: Job, dataset: Dataset, uri: str, experiment: str, parent: str,
           report: Callable[[str], None]) -> Courier:
    """The MLflow run of this folder, new or the one that `run.json` names, and who carries to it."""
    recipe, folder = job.recipe, job.run_folder
    above, _, name = folder.rpartition("/")
    known = known_run(folder)
    uri = uri or (known.uri if known else tracking.beside(folder, "train"))
    near = (sqlite_file(uri) or Path(above, "mlflow.db")).parent  # MLflow's own file and its artifacts
    tags = {"manifest": job.manifest_id, "git": job.git, "recipe_digest": recipe.digest, "run_folder": redacted(folder),
            "execution": job.execution.to_dict()}
    begun = tracking.begin(
        recipe, uri=uri, experiment=experiment, artifacts=near / "mlflow-artifacts", tags=tags,
        run_id=known.run_id if known and known.uri == redacted(uri) else None, run_name=f"{recipe.name} {name}",
        dataset=dataset, parent=parent, folder=folder, report=report)
    write_atomic(join(folder, RUN), json.dumps({"uri": begun.uri, "run_id": begun.run_id}).encode())
    return Courier(folder, begun, uri=uri, report=report)


def _descends(dataset: Dataset) -> Callable[[str], bool]:
    """Whether the dataset version here comes from the one of an id, which a run began with."""
    return lambda old: descends(dataset.manifest, old, dataset.uri.rpartition("/")[0]) is not None


def _tell_changes(found: Description, continued: Description, report: Callable[[str], None]) -> None:
    before = len(found.extra.get("branches", ()))
    for branch in continued.extra["branches"][before:]:
        told = "; ".join(f"{key} {old!r} -> {new!r}" for key, (old, new) in sorted(branch["changed"].items()))
        report(f"from sample {branch['clock']:,} on: {told} (recorded)")


def address(uri: str) -> str:
    """A URI as it is, a local path whole."""
    return uri.rstrip("/") if "://" in uri else filesystem(uri)[1]


def _on_ray(job: Job) -> None:
    """The job on Ray Train; a new budget of failures with every new checkpoint."""
    from ray.train import ControllerError, TrainingFailedError

    if job.execution.elastic:
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", PLACED)
    while True:
        before = layout.latest(job.run_folder)
        try:
            trainer(job).fit()
            return
        except TrainingFailedError as error:
            if isinstance(error, ControllerError) and isinstance(error.controller_failure, AnchorfaceError):
                raise error.controller_failure from None
            newest = layout.latest(job.run_folder)
            if newest == before or not job.execution.failures:
                raise TrainingError(f"workers kept dying ({error}); the newest checkpoint is {newest}, the same "
                                    f"command goes on from there; worker logs: {job.run_folder}/ray") from error


def trainer(job: Job) -> Any:
    """The job as Ray Train carries it out."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from anchorface.training.failures import EndAtOurErrors

    execution, (system, path) = job.execution, filesystem(job.run_folder)
    seconds = SLOWER * execution.hang or 7 * 86400.0
    return TorchTrainer(
        worker, train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if execution.gpus else "gloo", timeout_s=int(seconds)),
        scaling_config=ScalingConfig(
            num_workers=(execution.least_workers, execution.workers) if execution.elastic else execution.workers,
            use_gpu=bool(execution.gpus), resources_per_worker=_each(execution),
            elastic_resize_monitor_interval_s=execution.resize_seconds),
        run_config=RunConfig(
            name="ray", storage_path=path, storage_filesystem=None if is_local(job.run_folder) else system,
            callbacks=[EndAtOurErrors()], failure_config=FailureConfig(max_failures=execution.failures)),
    )


def _each(execution: Execution) -> dict[str, float]:
    """What Ray books for a worker."""
    return {"CPU": execution.booked[0], **({"GPU": 1} if execution.gpus else {})}


def require_resources(execution: Execution) -> None:
    """Refuse what would wait for ever: more than the cluster has, the feed's workers counted.

    Raises:
        ConfigurationError: names what is short.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    least, together = execution.least_workers or execution.workers, execution.elastic
    require_cpus(workers=least, cpus=execution.cpus, feed_cpus=execution.feed_cpus,
                 feed_workers=execution.feed_workers if execution.feed == "ray" else 0, together=together,
                 nodes=[node.get("CPU", 0.0) for node in nodes if "GPU" in node or not (together and execution.gpus)])
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    if execution.gpus and gpus < least:
        raise ConfigurationError(f"{least} workers need {least} GPUs, and Ray has {gpus:g}: use fewer workers, or "
                                 "train on CPUs")


def _here(job: Job) -> None:
    """The job with a world of one, in this process."""
    import torch.distributed as dist

    from anchorface.training.engine import stop

    os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"})
    with tempfile.TemporaryDirectory() as meeting:
        dist.init_process_group("nccl" if job.execution.gpus else "gloo", init_method=f"file://{meeting}/store", rank=0,
                                world_size=1)
        try:
            run(job)
        finally:
            stop()


def worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    import ray.train

    run(config["job"], ray.train.get_context().get_local_world_size(), on_ray=True)


def run(job: Job, local_world: int = 1, *, on_ray: bool = False) -> None:
    """A rank's part of a job; torch.distributed is initialised.

    Args:
        local_world: ranks on this machine, which share its cores. on_ray: Ray Train started this rank.
    """
    kind = "cuda" if job.execution.gpus else "cpu"
    os.environ.setdefault("DS_ACCELERATOR", kind)
    import torch

    from anchorface.training.loop import train as loop

    device = torch.device("cpu")
    if kind == "cuda":
        import ray.train.torch

        device = ray.train.torch.get_device() if on_ray else torch.device("cuda", 0)
        torch.cuda.set_device(device)
    torch.set_num_threads(job.execution.threads or max(1, len(os.sched_getaffinity(0)) // local_world))
    with warnings.catch_warnings():
        for harmless in HARMLESS:
            warnings.filterwarnings("ignore", message=harmless)
        loop(job, device, on_ray=on_ray)
