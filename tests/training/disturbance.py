"""An objective that does harm when it sees a position: to the storage, or to its rank. It is real: a disk is filled, a
folder is replaced by a file."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from anchorface.models.conditions import Conditions
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import DataError
from anchorface.training.objectives.flow import flow_error
from anchorface.training.objectives.prediction import Prediction
from tests.disks import fill


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    """The velocity's error; at position `at` something happens to a `place`, once, for some `seconds` or, with 0, for
    good.

    what: `full`, the disk there is filled; `away`, a file stands where the folder stood; `raise`, a DataError.
    """

    kind: ClassVar[str] = "disturbed"
    weight: float = 1.0
    at: int = 0
    what: str = "full"
    place: str = ""
    seconds: float = 0.0

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        happened = Path(f"{self.place}.happened")
        if self.at in batch["position"] and not happened.exists():
            happened.touch()
            if self.what == "raise":
                raise DataError("a damaged shard")
            mend = fill(Path(self.place)).unlink if self.what == "full" else _replace(Path(self.place))
            if self.seconds:
                threading.Timer(self.seconds, mend).start()
        error = flow_error(prediction.velocity, prediction.noise - prediction.clean)
        return {"loss": error, "disturbed": error.detach()}


def _replace(place: Path) -> Callable[[], None]:
    away = place.with_name(f"{place.name} away")
    place.rename(away)
    place.write_text("not a folder")

    def mend() -> None:
        place.unlink()
        away.rename(place)

    return mend
