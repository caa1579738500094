"""Training runs as their folders tell of them, without MLflow and without loading anything.

In: folders, local or in a store. Out: Run values: recipe, dataset, how far, how well, state, checkpoints.
Read are `checkpoints/step-*/checkpoint.json`, `progress.jsonl`, `tracking.jsonl`, `run.json` and `lock.json`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from anchorface.models.checkpoint import ADAPTER_FILE, DESCRIPTION_FILE
from anchorface.records import AnchorfaceError, ConfigurationError
from anchorface.records.addresses import redacted
from anchorface.records.lines import Lines
from anchorface.records.lock import held
from anchorface.records.storage import exists, join, list_files, read_bytes
from anchorface.training.checkpoints.layout import Retention
from anchorface.training.courier import RUN, known_run, waiting
from anchorface.training.job import PROGRESS
from anchorface.training.recipes import flat
from anchorface.training.tracking import SPOOL
from anchorface.training.validation_settings import METRICS


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A complete checkpoint. clock: positions seen. validation: name -> value, empty where it was not validated.
    said: its description, as plain values.
    """

    name: str
    clock: int
    validation: dict[str, float]
    said: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder. recipe: its name; dataset: the version's id; both "" before the first checkpoint.

    clock, positions: samples seen, of so many. checkpoints: oldest first; newest, best: names among them, "" if none.
    state: `finished`, `running`, `failed`, `killed`, or `stopped` (it says neither how it ended nor that it goes on).
    mlflow: the MLflow run's id, "" if it is not tracked; waiting: lines that MLflow has not taken.
    progress: the lines of progress. starts: the clock at each start. values: recipe and execution, flat, as resolved.
    branches: what changed when it went on, as lines; skipped: samples left out, from-to.
    """

    folder: str
    recipe: str
    dataset: str
    clock: int
    positions: int
    checkpoints: tuple[Kept, ...]
    newest: str
    best: str
    state: str
    mlflow: str
    waiting: int
    progress: tuple[dict[str, Any], ...] = field(repr=False)
    starts: tuple[int, ...] = ()
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    branches: tuple[str, ...] = ()
    skipped: tuple[tuple[int, int], ...] = ()

    @property
    def last(self) -> dict[str, float]:
        """The newest value of each metric in the lines of progress, by name."""
        found: dict[str, float] = {}
        for line in self.progress:
            found |= {key: value for key, value in line.items() if isinstance(value, int | float)}
        said = ("clock", "positions", "pid", "workers", "seconds_left")
        return {key: value for key, value in found.items() if key not in said}


def find(folders: Sequence[str]) -> list[str]:
    """The run folders at or below some folders, sorted.

    Raises:
        StorageError: a folder that is not there.
    """
    found = set()
    for folder in folders:
        files = set(list_files(folder, (f"/{PROGRESS}", f"/{RUN}", f"/{DESCRIPTION_FILE}", f"/{ADAPTER_FILE}")))
        for file in files:
            parts = file.rsplit("/", 3)
            if parts[-1] in (PROGRESS, RUN):
                found.add(file.rpartition("/")[0])
            # MLflow's artifacts have descriptions too, without adapters.
            elif parts[-1] == DESCRIPTION_FILE and parts[1] == "checkpoints" and _beside(file, ADAPTER_FILE) in files:
                found.add(parts[0])
    return sorted(found)


def look(folder: str) -> Run:
    """One run folder.

    Raises:
        ConfigurationError: no run stands there. DataError: a damaged file in it, named.
    """
    checkpoints = _checkpoints(folder)
    progress = tuple(Lines(join(folder, PROGRESS)).read()[0])
    tracking = known_run(folder)
    if not checkpoints and not progress and tracking is None:
        raise ConfigurationError(f"{folder}: there is no run here; give the folder that `train` got as RUN")
    said: dict[str, Any] = checkpoints[-1].said if checkpoints else {}
    extra = said.get("extra", {})
    recipe = said.get("recipe", {})
    clocks = [int(line["clock"]) for line in progress if "clock" in line] + [one.clock for one in checkpoints[-1:]]
    positions = recipe.get("positions") or next((line["positions"] for line in progress if "positions" in line), 0)
    return Run(
        folder=folder, recipe=recipe.get("name", ""), dataset=said.get("manifest_id", ""), clock=max(clocks, default=0),
        positions=int(positions), checkpoints=checkpoints, newest=checkpoints[-1].name if checkpoints else "",
        best=_best(checkpoints), state=_state(folder, progress, checkpoints, int(positions)),
        mlflow=tracking.run_id if tracking else "", waiting=waiting(folder) if tracking else 0, progress=progress,
        starts=tuple(int(line["clock"]) for line in progress if "pid" in line), values=_values(said),
        branches=tuple(_branch(one) for one in extra.get("branches", ())),
        skipped=tuple((int(first), int(end)) for first, end in extra.get("skipped", ())),
    )


def _beside(file: str, name: str) -> str:
    return join(file.rpartition("/")[0], name)


def _checkpoints(folder: str) -> tuple[Kept, ...]:
    if not exists(join(folder, "checkpoints")):
        return ()
    kept = []
    for file in list_files(join(folder, "checkpoints"), (f"/{DESCRIPTION_FILE}",)):
        name = file.split("/")[-2]
        if not name.startswith("step-"):
            continue  # half written
        try:
            said = json.loads(read_bytes(file))
            validation = said["extra"].get("validation") or {}
            kept.append(Kept(name=name, clock=int(said["clock"]), said=said,
                             validation={key: float(value) for key, value in validation.items()}))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, AnchorfaceError) as error:
            raise ConfigurationError(f"{file}: damaged ({error}); delete this checkpoint") from error
    return tuple(sorted(kept, key=lambda one: one.clock))


def _best(checkpoints: Sequence[Kept]) -> str:
    """By the metric that decides in this run, the validation's flow loss if it names none; of equals the newest."""
    chosen = checkpoints[-1].said["extra"].get("best") if checkpoints else None
    metric = (chosen or {}).get("metric", "flow")
    rule = Retention(metric=f"validation/{metric}", largest=METRICS.get(metric) == "greatest")
    return next(iter(rule.ranked([(one.name, one.validation) for one in checkpoints])), "")


def _branch(said: dict[str, Any]) -> str:
    changed = (f"{key} {there} → {here}" for key, (there, here) in sorted(said["changed"].items()))
    return redacted(f"at {int(said['clock']):,}: {', '.join(changed)}")


def _values(said: dict[str, Any]) -> dict[str, Any]:
    extra = said.get("extra", {})
    given = {"recipe": said.get("recipe", {}), "execution": extra.get("execution", {}), "git": said.get("git", {})}
    weights = {role: entry["name"] for role, entry in said.get("weights", {}).items()}
    return {key: redacted(value) if isinstance(value, str) else value
            for key, value in flat(given | {"weights": weights, "dataset": said.get("manifest_id", "")}).items()}


def _state(folder: str, progress: Sequence[dict[str, Any]], checkpoints: Sequence[Kept], positions: int) -> str:
    if held(folder):
        return "running"
    events = Lines(join(folder, SPOOL)).read()[0]
    told = next((event["status"] for event in reversed(events) if event["kind"] == "status"), "")
    if told in ("FINISHED", "FAILED", "KILLED"):
        return str(told.lower())
    batch = checkpoints[-1].said.get("recipe", {}).get("feed", {}).get("batch", 1) if checkpoints else 1
    return "finished" if checkpoints and checkpoints[-1].clock > positions - batch else "stopped"
