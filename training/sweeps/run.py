"""Carry out a sweep, or one of its trials.

In: a `Sweep`, a dataset version, a folder on any storage. Out: a run folder for each trial, and what they came to:

    sweep.json   trials/0000/...   trials.csv   trials.md   trials.png

Running it again in the same folder goes on: trials that are over stand, those that were not go on from their newest
checkpoints. A trial that fails is a row of the table. SIGTERM and Ctrl-C end all running trials in good order.
"""

from collections.abc import Callable
from pathlib import Path

from anchorface.pipelines.feed.consent import require_allowed
from anchorface.pipelines.feed.dataset import Dataset, open_dataset, require_embedder_file
from anchorface.records import ConfigurationError, Interrupted, TrainingError
from anchorface.records.addresses import redacted
from anchorface.records.lineage import descends
from anchorface.records.lock import locked
from anchorface.records.storage import join, make_folder, write_atomic
from anchorface.training.execution import Execution
from anchorface.training.launch import address
from anchorface.training.notes import Notes
from anchorface.training.signals import Signals
from anchorface.training.sweeps import parent
from anchorface.training.sweeps.settings import Sweep
from anchorface.training.sweeps.table import as_csv, as_markdown, picture
from anchorface.training.sweeps.task import Task, cause
from anchorface.training.sweeps.trials import FAILED, FINISHED, Definition, Row, Trials, define, redefine
from anchorface.training.tracking import beside


def sweep(
    wanted: Sweep, dataset_uri: str, folder: str | Path, execution: Execution | None = None, *, at_once: int = 0,
    only: int | None = None, again: bool = False, track: bool = True, tracking_uri: str = "",
    experiment: str = "anchorface", report: Callable[[str], None] = print,
) -> list[Row]:
    """Carry out a sweep.

    Args:
        dataset_uri: a dataset version, or the folder with `latest`. folder: for the sweep, a folder or URI that all
            workers see.
        execution: of each trial. Without workers (the default here) it trains in a process of its own.
        at_once: trials at once; 0 for as many as fit on what Ray has.
        only: this trial alone, in this process and without Ray Tune: a task of an array. Its points must not depend on
            what others came to.
        again: try failed trials once more.
        track: write to MLflow, each trial as a run nested in the sweep's. tracking_uri: empty for the one that the
            sweep knows, or a SQLite file beside its folder.
        report: takes one line of progress.

    Returns:
        The table, the best trial first.

    Raises:
        Interrupted: a signal ended it in good order.
        ConfigurationError: a point that fits no recipe, a folder that holds another sweep or is in use, or machines on
            which no trial fits.
        TrainingError: all trials failed. DataError, StorageError: as their names say.
    """
    execution = execution or Execution(workers=0, cpus=1.0)
    wanted.require_batches(execution)
    place = address(str(folder))
    if only is not None:
        _require_alone(wanted, only)
    make_folder(join(place, "trials"))
    dataset = open_dataset(address(dataset_uri))
    require_allowed(dataset.uri, wanted.recipe.fed)
    require_embedder_file(dataset.manifest, wanted.recipe.embedder)
    if only is not None:
        task = _prepare(wanted, dataset, place, execution, track, tracking_uri, experiment)
        return _alone(task, only, again, report)
    with locked(place, "sweep"):
        from anchorface.training.sweeps import tuning

        tuning.start_ray()  # before Signals: Ray takes SIGTERM for itself when it starts
        most = tuning.at_once(execution, at_once)
        task = _prepare(wanted, dataset, place, execution, track, tracking_uri, experiment)
        trials = Trials(wanted, place, again=again)
        report(f"{trials.left():,} of {wanted.count:,} trials are left, {most:,} at once")
        notes = Notes(place)
        notes.clear()
        with Signals(notes, report) as signals:
            signals.during(lambda: tuning.carry_out(task, trials, most, report))
        rows = _ended(task, trials, signals.first, report)
    if rows and all(row.state == FAILED for row in rows):
        raise TrainingError(f"all {len(rows)} trials failed, the first so: {rows[0].trial.reason}")
    return rows


def _require_alone(wanted: Sweep, only: int) -> None:
    if wanted.search == "tpe" or wanted.asha:
        raise ConfigurationError("--trial: tpe and --asha need to see all trials; leave it out, or take --search grid "
                                 "or random without --asha")
    if not 0 <= only < wanted.count:
        raise ConfigurationError(f"--trial {only}: this sweep has trials 0 to {wanted.count - 1}")


def _prepare(wanted: Sweep, dataset: Dataset, place: str, execution: Execution, track: bool, uri: str,
             experiment: str) -> Task:
    """What all trials are told. Tasks of an array may come at once: one of them makes the run above them."""
    with locked(join(place, "trials"), "sweep", wait=True):
        known = define(place, Definition(told=wanted.to_dict(), manifest=dataset.manifest_id))
        if known.manifest != dataset.manifest_id and descends(
                dataset.manifest, known.manifest, dataset.uri.rpartition("/")[0]) is None:
            raise ConfigurationError(f"{place}: its trials train on dataset version {known.manifest}, and this is "
                                     f"{dataset.manifest_id}: give the former, or take another folder")
        run_id = ""
        if track:
            uri = uri or known.uri or beside(place, "sweep")
            run_id = parent.begin(
                uri, known.run_id if known.uri == redacted(uri) else "", experiment=experiment,
                artifacts=Path(place.rpartition("/")[0]) / "mlflow-artifacts",
                name=f"sweep {wanted.recipe.name} {place.rpartition('/')[2]}",
                tags={"sweep": redacted(place), "manifest": dataset.manifest_id, "search": wanted.search,
                      "over": "; ".join(map(str, wanted.over)), "seed": wanted.seed, "asha": wanted.asha})
            redefine(place, Definition(told=known.told, manifest=known.manifest, uri=redacted(uri), run_id=run_id))
    return Task(sweep=wanted, dataset=dataset.uri, folder=place, execution=execution, uri=uri if track else "",
                experiment=experiment, parent=run_id)


def _alone(task: Task, number: int, again: bool, report: Callable[[str], None]) -> list[Row]:
    """One trial in this process, whose error is raised when it is a row."""
    trials = Trials(task.sweep, task.folder, again=again)
    trial = trials.known.get(number)
    if trial is None or not trial.state:
        trial = trials.begin(number)
        report(f"trial {number}: {trial.name}")
        try:
            task.train(trial, report)
            trials.settle(number, FINISHED)
        except Interrupted:
            raise
        except Exception as error:  # a row, as in the sweep
            trials.settle(number, FAILED, cause(error))
            _ended(task, Trials(task.sweep, task.folder), None, report)
            raise
    return _ended(task, Trials(task.sweep, task.folder), None, report)


def _ended(task: Task, trials: Trials, signal: str | None, report: Callable[[str], None]) -> list[Row]:
    """Write the table and the picture, and tell MLflow."""
    wanted, rows = task.sweep, trials.rows()
    files = {"trials.csv": as_csv(wanted, rows), "trials.md": as_markdown(wanted, rows),
             "trials.png": picture(wanted, rows)}
    for name, content in files.items():
        write_atomic(join(task.folder, name), content)
    left = trials.left()
    if task.parent:
        best = {} if not rows or rows[0].value is None or rows[0].state == FAILED else {
            f"best/{wanted.recipe.validation.metric}": rows[0].value, "best/trial": float(rows[0].trial.number)}
        status = "KILLED" if signal else "RUNNING" if left else "FINISHED"
        parent.end(task.uri, task.parent, status, best, files, report)
    if signal:
        raise Interrupted(f"{signal}: the sweep ended in good order, {left:,} of {wanted.count:,} trials are left; the "
                          "same command goes on from there")
    report(f"{wanted.count - left:,} of {wanted.count:,} trials are over; table and picture: {task.folder}/trials.csv, "
           "trials.md, trials.png")
    return rows
