"""An objective that goes wrong at chosen positions, as a sample, a GPU or a kernel does."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from anchorface.models.conditions import Conditions
from anchorface.pipelines.feed.sample import Batch
from anchorface.training.objectives.flow import flow_error
from anchorface.training.objectives.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class Poisoned:
    """The velocity's error; at `positions`, or for samples of some `digests`, its gradient is NaN. loss: so is the
    loss.
    """

    kind: ClassVar[str] = "poisoned"
    weight: float = 1.0
    positions: tuple[int, ...] = ()
    loss: bool = False
    digests: tuple[str, ...] = ()

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        error = flow_error(prediction.velocity, prediction.noise - prediction.clean)
        bad = np.isin(batch["position"], self.positions)
        if self.digests:
            bad = np.isin(batch["digest"], self.digests)
        rows = torch.from_numpy(bad)
        if rows.any():
            error.register_hook(lambda gradient: torch.where(rows, torch.nan, gradient))
        loss = error + torch.where(rows, torch.nan if self.loss else 0.0, 0.0)
        return {"loss": loss, "poisoned": error.detach()}
