"""A sweep's trials carried out by Ray Tune, several at once.

Tune books the machines, hands out trials, compares them at rungs and replaces processes that died. What it writes about
itself, pickles among it, stands in a private temporary folder, goes with this process and is never read: what a sweep
needs to go on stands in its own folder as data (training.sweeps.trials).
"""

import contextlib
import logging
import math
import os
import tempfile
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from anchorface.pipelines.stages.cluster import connect
from anchorface.records import AnchorfaceError, ConfigurationError, Interrupted
from anchorface.records.state import read_state
from anchorface.records.storage import join
from anchorface.training.execution import Execution
from anchorface.training.launch import require_resources
from anchorface.training.notes import Notes
from anchorface.training.sweeps.task import Task, cause
from anchorface.training.sweeps.trials import (
    FAILED,
    FINISHED,
    STOPPED,
    TRIAL,
    Trial,
    Trials,
    best,
    curve,
    folder_of,
)

LOOKED = 0.5
"""Seconds between two looks at a trial's lines of progress."""
SETTINGS = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
            "RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_AIR_NEW_OUTPUT": "0"}
"""Tune writes no tables of its own, takes a trial that ends before its first validation, leaves the current folder as
it is, and prints no tables."""
HEAD = "node:__internal_head__"
"""A resource of Ray's head node alone, for trials that only wait for their workers."""
CLOCK, VALUE = "clock", "value"


class Process(tune.Trainable):
    """A trial's process: it trains in a thread, and says after each validation what the best so far is, in order; one
    that goes on says again what it said in an earlier start."""

    def setup(self, config: dict[str, Any], task: Task | None = None) -> None:
        """Called by Tune. config: the trial's number and point."""
        assert task is not None
        self.task, self.trial = task, Trial(number=config["number"], point=config["point"])
        self.folder = folder_of(task.folder, self.trial.number)
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.shown = -1

    def step(self) -> dict[str, Any]:
        """Wait for a validation, or for the end."""
        notes, above = Notes(self.folder), Notes(self.task.folder)
        if self.thread is None:
            if above.stop_asked():
                return {"done": True, "state": ""}
            self.thread = threading.Thread(target=self._train, name="trial", daemon=True)
            self.thread.start()
        while True:
            lives = self.thread.is_alive()
            with contextlib.suppress(AnchorfaceError):  # the storage is away: at the next look
                if lives and (why := above.stop_asked() or self._stopped()):
                    notes.ask_to_stop(why)
                if said := self._next():
                    return said
            if not lives:
                return {**self._said(math.inf), "done": True, **self._ended()}
            self.thread.join(LOOKED)

    def _train(self) -> None:
        try:
            self.task.train(self.trial, print)
        except BaseException as error:
            self.error = error

    def _ended(self) -> dict[str, str]:
        if self.error is None:
            return {"state": FINISHED}
        if isinstance(self.error, Interrupted):
            return {"state": ""}
        return {"state": FAILED, "reason": cause(self.error)}

    def _next(self) -> dict[str, Any]:
        """The first validation that was not said yet, if there is one; the run's last is said when it is over."""
        clocks = curve(self.task.sweep, self.folder)
        found = next((clock for clock in clocks if clock > self.shown), math.inf)
        if found >= self.task.sweep.recipe_at(self.trial.point).positions:
            return {}
        self.shown = int(found)
        return self._said(found)

    def _said(self, clock: float) -> dict[str, Any]:
        """The best validation until so many samples, if there is one."""
        found = {at: value for at, value in curve(self.task.sweep, self.folder).items() if at <= clock}
        kept = best(self.task.sweep, found.items())
        return {} if kept.value is None else {CLOCK: max(found), VALUE: kept.value}

    def _stopped(self) -> str:
        known = read_state(join(self.folder, TRIAL), Trial)
        return known.reason if known.state == STOPPED else ""

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial's state is its run folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a trial's state is its run folder."""


class Search(Searcher):
    """Gives Tune the trials that have something to do, and notes how they end."""

    def __init__(self, trials: Trials, report: Callable[[str], None]) -> None:
        super().__init__(metric=VALUE, mode=trials.sweep.mode)
        self.trials, self.report = trials, report
        self.given: dict[str, Trial] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Called by Tune, which knows neither."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial; none once somebody asked the sweep to stop."""
        trial = None if Notes(self.trials.folder).stop_asked() else self.trials.next()
        if trial is None:
            return Searcher.FINISHED
        self.given[trial_id] = trial
        self.report(f"trial {trial.number}: {trial.name}")
        return {"number": trial.number, "point": dict(trial.point)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A validation."""
        if VALUE in result:
            metric = self.trials.sweep.recipe.validation.metric
            self.report(f"trial {self.given[trial_id].number}: {result[CLOCK]:,} samples, best {metric} "
                        f"{result[VALUE]:.5g}")

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The end of a trial."""
        number, said = self.given[trial_id].number, result or {}
        if error:
            said = {"state": FAILED, "reason": "its process ended without a word, again and again; out of memory?"}
        trial = self.trials.known[number]
        if said.get("state") and trial.state != STOPPED:
            trial = self.trials.settle(number, said["state"], said.get("reason", ""))
        sweep = self.trials.sweep
        self.report(f"trial {number} {f'{trial.state} {trial.reason}'.strip() or 'interrupted'}; "
                    f"{sweep.count - self.trials.left():,} of {sweep.count:,} are over")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: its state is the sweep's folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: its state is the sweep's folder."""


class Rungs(ASHAScheduler):  # type: ignore[misc]
    """Asynchronous successive halving, which asks a trial to end in good order instead of killing it."""

    def __init__(self, trials: Trials, search: Search) -> None:
        sweep = trials.sweep
        super().__init__(time_attr=CLOCK, metric=VALUE, mode=sweep.mode, max_t=sweep.recipe.positions,
                         grace_period=sweep.rung, reduction_factor=sweep.reduction, stop_last_trials=False)
        self.trials, self.search = trials, search
        for trial in trials.settled():  # what they said at their rungs counts in this start too
            before = SimpleNamespace(trial_id=f"before {trial.number}")
            self.on_trial_add(None, before)
            found = list(curve(sweep, folder_of(trials.folder, trial.number)).items())
            for place, (clock, _) in enumerate(found):
                super().on_trial_result(None, before, {CLOCK: clock, VALUE: best(sweep, found[:place + 1]).value})

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Compare a trial at its rung."""
        known = self.trials.known[self.search.given[trial.trial_id].number]
        if not known.state and super().on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP:
            self.trials.settle(known.number, STOPPED, f"at {result[CLOCK]:,} samples, behind others")
        return str(TrialScheduler.CONTINUE)


def carry_out(task: Task, trials: Trials, most: int, report: Callable[[str], None]) -> None:
    """Carry out what is left of a sweep, `most` trials at once; Ray is connected. It returns early where a wish to stop
    stands in the sweep's folder."""
    if not trials.left():
        return
    search = Search(trials, report)
    scheduler = Rungs(trials, search) if task.sweep.asha else FIFOScheduler()
    with tempfile.TemporaryDirectory(prefix="anchorface-sweep-") as private:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(Process, task=task), booked(task.execution)),
            tune_config=tune.TuneConfig(num_samples=trials.left(), search_alg=search, scheduler=scheduler,
                                        max_concurrent_trials=most),
            run_config=tune.RunConfig(name="sweep", storage_path=private, verbose=0,
                                      failure_config=tune.FailureConfig(max_failures=task.execution.failures)),
        ).fit()


def booked(execution: Execution) -> dict[str, float]:
    """What Tune books for a trial's process: all, where it trains itself; next to nothing where its workers do."""
    if execution.workers:
        return {HEAD: 0.0001}
    return {"CPU": execution.cpus, **({"GPU": 1.0} if execution.gpus else {})}


def start_ray() -> None:
    """Start or join Ray, its processes told of SETTINGS; Tune itself says errors alone."""
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    connect()


def at_once(execution: Execution, asked: int) -> int:
    """How many trials at once: as many as fit on what Ray has, or as `asked` if that is fewer and not 0.

    Raises:
        ConfigurationError: not one fits.
    """
    if execution.workers:
        require_resources(execution)
    fitting = places(execution, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    if not fitting:
        raise ConfigurationError(f"no machine has {' and '.join(f'{n:g} {of}' for of, n in booked(execution).items())}"
                                 ", which a trial needs: give it fewer")
    return min(asked or fitting, fitting)


def places(execution: Execution, nodes: list[dict[str, float]]) -> int:
    """How many trials fit on nodes (resource -> amount), with their workers each on one node beside its feed; at least
    one where they have workers, whose feed may stand elsewhere (`require_resources` has seen to that)."""
    cpus, feed_cpus = execution.booked
    needs = {"CPU": cpus + (execution.feed_workers * feed_cpus if execution.workers else 0.0),
             **({"GPU": 1.0} if execution.gpus else {})}
    fitting = sum(min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in needs.items()) for node in nodes)
    return max(fitting // execution.workers, 1) if execution.workers else fitting
