"""The trials of a sweep as they stand in its folder. All of it is data: rerunning the sweep reads it and goes on.

    sweep.json                   what the sweep is, so that another one is refused
    trials/0003/trial.json       point and state of a trial, beside what every run folder has

Only whoever carries a trial out writes its `trial.json`: the sweep, or `--trial`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from anchorface.records import AnchorfaceError, ConfigurationError, DataError
from anchorface.records.lines import Lines
from anchorface.records.lock import held
from anchorface.records.state import read_state
from anchorface.records.storage import exists, join, write_atomic
from anchorface.training.best import Best
from anchorface.training.job import PROGRESS
from anchorface.training.run_folders import look
from anchorface.training.sweeps.settings import Sweep
from anchorface.training.sweeps.space import Point

DEFINITION, TRIAL = "sweep.json", "trial.json"
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """`sweep.json`. told: `Sweep.to_dict`. manifest: the dataset version's id. uri, run_id: the MLflow run above the
    trials, without credentials; empty without tracking."""

    told: dict[str, Any]
    manifest: str
    uri: str = ""
    run_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`trial.json`. state: finished, stopped (early, by the sweep), failed, or empty while there is something to do.
    reason: why it failed or was stopped."""

    number: int
    point: dict[str, str | int | float]
    state: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """Point in words."""
        return ", ".join(f"{key}={_word(value)}" for key, value in self.point.items())


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table. state: as of the trial, else `running` or `waiting`. value: the best validation, None before
    the first; at: samples seen then, and clock now. checkpoint: name of the best, empty if there is none.
    curve: (samples, value) of each validation."""

    trial: Trial
    state: str
    value: float | None
    at: int
    clock: int
    checkpoint: str
    curve: tuple[tuple[int, float], ...] = field(repr=False)


def folder_of(folder: str, number: int) -> str:
    """A trial's run folder."""
    return join(folder, "trials", f"{number:04d}")


def curve(sweep: Sweep, run_folder: str) -> dict[int, float]:
    """Samples seen -> value of each validation of a run; one that was made again counts once."""
    found: dict[int, float] = {}
    for line in Lines(join(run_folder, PROGRESS)).read()[0]:
        if isinstance(line.get(sweep.metric), int | float) and isinstance(line.get("clock"), int):
            found[line["clock"]] = float(line[sweep.metric])
    return dict(sorted(found.items()))


def best(sweep: Sweep, found: Iterable[tuple[int, float]]) -> Best:
    """Of validations in order, the best."""
    kept = Best.of(sweep.recipe.validation)
    for clock, value in found:
        kept = kept.taken({sweep.metric: value}, clock)
    return kept


class Trials:
    """A sweep's trials, in order.

    Args:
        folder: the sweep's. again: forget how failed trials ended, so that they are tried once more.

    Raises:
        DataError: a damaged file of a trial, named, or one of another sweep.
    """

    def __init__(self, sweep: Sweep, folder: str, *, again: bool = False) -> None:
        self.sweep, self.folder = sweep, folder
        self.known: dict[int, Trial] = {}
        self.begun: set[int] = set()
        points = sweep.points
        for number in range(sweep.count):
            place = join(folder_of(folder, number), TRIAL)
            if not exists(place):
                continue
            trial = read_state(place, Trial)
            if trial.number != number or (points and trial.point != points[number]):
                raise DataError(f"{place}: it is of another sweep; take another folder")
            sweep.recipe_at(trial.point)
            self.known[number] = replace(trial, state="", reason="") if again and trial.state == FAILED else trial

    def next(self) -> Trial | None:
        """A trial with something to do that was not given yet, noted before it is given; None if there is none."""
        for number in range(self.sweep.count):
            if number not in self.begun and not (number in self.known and self.known[number].state):
                return self.begin(number)
        return None

    def begin(self, number: int) -> Trial:
        """This trial, noted."""
        self.begun.add(number)
        if number not in self.known:
            self.known[number] = Trial(number=number, point=self.sweep.point(number, self.told()))
        return self._write(self.known[number])

    def settle(self, number: int, state: str, reason: str = "") -> Trial:
        """Note how a trial ended."""
        self.known[number] = replace(self.known[number], state=state, reason=reason)
        return self._write(self.known[number])

    def left(self) -> int:
        """How many have something to do."""
        return self.sweep.count - len(self.settled())

    def settled(self) -> list[Trial]:
        """Those that are over."""
        return [trial for _, trial in sorted(self.known.items()) if trial.state]

    def told(self) -> list[tuple[Point, float]]:
        """Points that came to something, and to what."""
        found = []
        for trial in self.settled():
            value = best(self.sweep, curve(self.sweep, folder_of(self.folder, trial.number)).items()).value
            if trial.state != FAILED and value is not None:
                found.append((dict(trial.point), value))
        return found

    def rows(self) -> list[Row]:
        """All trials that are known, the best first, those without a value last."""
        rows = [self._row(self.known.get(number)) for number in range(self.sweep.count) if number in self.known]
        sign = 1.0 if self.sweep.mode == "min" else -1.0
        return sorted(rows, key=lambda row: (row.value is None, row.state == FAILED, sign * (row.value or 0.0),
                                             row.trial.number))

    def _row(self, trial: Trial | None) -> Row:
        assert trial is not None
        place = folder_of(self.folder, trial.number)
        found = curve(self.sweep, place)
        kept = best(self.sweep, found.items())
        try:
            run = look(place)
        except AnchorfaceError:  # nothing stands there yet
            run = None
        return Row(trial=trial, state=trial.state or ("running" if held(place) else "waiting"), value=kept.value,
                   at=kept.clock or 0, clock=run.clock if run else 0, checkpoint=run.best if run else "",
                   curve=tuple(found.items()))

    def _write(self, trial: Trial) -> Trial:
        write_atomic(join(folder_of(self.folder, trial.number), TRIAL), json.dumps(asdict(trial)).encode())
        return trial


def define(folder: str, wanted: Definition) -> Definition:
    """What stands in the folder, or this if nothing does.

    Raises:
        ConfigurationError: another sweep stands there; names every difference.
    """
    place = join(folder, DEFINITION)
    if not exists(place):
        return redefine(folder, wanted)
    known, here = read_state(place, Definition), json.loads(json.dumps(wanted.told))
    differing = sorted(key for key in known.told.keys() | here.keys() if known.told.get(key) != here.get(key))
    if differing:
        said = "; ".join(f"{key} {known.told.get(key)!r}, now {here.get(key)!r}" for key in differing[:10])
        raise ConfigurationError(f"{folder} holds another sweep: {said}. Give the same command, or another folder")
    return known


def redefine(folder: str, wanted: Definition) -> Definition:
    """Write what the sweep is."""
    write_atomic(join(folder, DEFINITION), json.dumps(asdict(wanted)).encode())
    return wanted


def _word(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
