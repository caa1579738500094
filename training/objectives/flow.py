"""Flow matching: the mean squared error of the velocity."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from anchorface.models.conditions import Conditions
from anchorface.models.flow import target_velocity
from anchorface.pipelines.feed.sample import Batch
from anchorface.records.bounds import AMOUNT, check
from anchorface.training.objectives.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class Flow:
    """weight: of the mean squared error; the paper's. Source: IConFace eq. 8 and 12."""

    kind: ClassVar[str] = "flow"
    weight: Annotated[float, AMOUNT] = 0.75

    def __post_init__(self) -> None:
        check(self, "losses.flow.")

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """`loss`, `flow`: see training.objectives.prediction.Objective."""
        error = flow_error(prediction.velocity, target_velocity(prediction.clean, prediction.noise))
        return {"loss": self.weight * error, "flow": error.detach()}


def flow_error(velocity: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the velocity per sample, [B]. Source: IConFace eq. 8."""
    return (velocity - target).square().flatten(1).mean(dim=1)
