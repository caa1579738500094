"""RG-IPFR's identity loss: the estimate shall be like the target, and like the reference, which is a harder example.

    L = w(sigma) [ (1 - lambda) (1 - cos(A(x), e_gt)) + lambda (1 - cos(A(x), e_ref)) ]

x: the decoded one-step estimate. Close to the target its own term hardly pulls any more; another picture of the person
still does. sigma: [B] in [0, 1]; positions: int [B]; embeddings: unit vectors [B, D].
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from anchorface.models.conditions import Conditions
from anchorface.pipelines.feed.sample import Batch
from anchorface.records.bounds import AMOUNT, COUNT_OR_NONE, SHARE, Bounds, check
from anchorface.training.objectives.identity import of_estimates
from anchorface.training.objectives.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class HardExample:
    """The target's person, and the reference's as a harder example.

    weight: of the part at sigma = 0, ReF-LDM's. share: lambda at the end, 0 is the plain identity loss of the target
    alone; share_at_start: at position 0, and ramp: positions over which it goes from there to `share` in a line, 0 for
    at once. fraction: as of `identity.Identity`, share of the samples that are decoded.

    Source: RG-IPFR, hard example identity loss. It does not publish lambda: one half and no ramp are our choice, as is
    leaving out samples whose reference was dropped.
    """

    kind: ClassVar[str] = "hard_example"
    weight: Annotated[float, AMOUNT] = 0.1
    share: Annotated[float, SHARE] = 0.5
    share_at_start: Annotated[float, SHARE] = 0.0
    ramp: Annotated[int, COUNT_OR_NONE] = 0
    fraction: Annotated[float, Bounds(0, 1, above=True)] = 1.0

    def __post_init__(self) -> None:
        check(self, "losses.hard_example.")

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """`loss`; `hard_example`, before weights; `identity_cosine` to the target. Without references the loss is 0.

        See training.objectives.prediction.Objective.
        """
        sigma = prediction.sigma
        share = torch.from_numpy(self.share_at(batch["position"])).to(sigma)
        loss, shown, cosine = of_estimates(
            given, prediction, batch, self.fraction, lambda decoded: hard_example_loss(
                decoded.found, decoded.reference, decoded.truth, share[decoded.rows]))
        weighted = self.weight * signal_weight(sigma) * loss
        return {"loss": weighted, "hard_example": shown, "identity_cosine": cosine}

    def share_at(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """lambda at so many positions."""
        done = np.minimum(positions / self.ramp, 1.0) if self.ramp else np.ones(len(positions))
        return self.share_at_start + (self.share - self.share_at_start) * done


def hard_example_loss(embedding: Tensor, reference: Tensor, truth: Tensor, share: Tensor) -> Tensor:
    """(1 - lambda) (1 - cos(e, e_gt)) + lambda (1 - cos(e, e_ref)) per sample, [B].

    Args:
        embedding: of the decoded estimate, gradients flow through it. reference, truth: constants.
        share: lambda, [B].

    Source: RG-IPFR, hard example identity loss; the distance is ReF-LDM's.
    """
    to_truth = 1.0 - functional.cosine_similarity(embedding, truth.detach(), dim=-1)
    to_reference = 1.0 - functional.cosine_similarity(embedding, reference.detach(), dim=-1)
    return (1.0 - share) * to_truth + share * to_reference


def signal_weight(sigma: Tensor) -> Tensor:
    """ReF-LDM's sqrt(alpha_bar) at the flow's sigma, [B]: (1 - sigma) / sqrt((1 - sigma)^2 + sigma^2).

    A diffusion's point is sqrt(alpha_bar) z0 + sqrt(1 - alpha_bar) eps, the flow's (1 - sigma) z0 + sigma eps. Divided
    by the root above the flow's point is a diffusion's, of the same ratio of signal to noise, and what stands before z0
    is sqrt(alpha_bar). 1 at sigma = 0, 0.71 in the middle, 0 at pure noise.

    Source: ReF-LDM, timestep-scaled identity loss; the translation is our choice.
    """
    signal = 1.0 - sigma
    return signal / torch.sqrt(signal.square() + sigma.square())
