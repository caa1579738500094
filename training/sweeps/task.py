"""One trial carried out: an ordinary run of ours, in an ordinary run folder."""

from collections.abc import Callable
from dataclasses import dataclass, field

from anchorface.records.addresses import redacted
from anchorface.training.execution import Execution
from anchorface.training.launch import train
from anchorface.training.sweeps.settings import Sweep
from anchorface.training.sweeps.trials import Trial, folder_of


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every trial of a sweep is told. dataset: the version's URI. folder: the sweep's. uri, parent: where MLflow
    hears of it, and the id of the run above it; both empty without tracking. uri may have credentials."""

    sweep: Sweep
    dataset: str
    folder: str
    execution: Execution
    uri: str = field(default="", repr=False)
    experiment: str = "anchorface"
    parent: str = ""

    def train(self, trial: Trial, report: Callable[[str], None]) -> None:
        """Train a trial to its end, from where it stopped; see `launch.train`."""
        train(self.sweep.recipe_at(trial.point), self.dataset, folder_of(self.folder, trial.number), self.execution,
              track=bool(self.parent), tracking_uri=self.uri, experiment=self.experiment, parent=self.parent,
              report=report)


def cause(error: BaseException) -> str:
    """An error in one line, without credentials."""
    lines = redacted(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}".removesuffix(": ")
