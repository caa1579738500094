"""Identity seen through the decoded one-step estimate.

sigma: [B] in [0, 1]; embeddings: unit vectors [B, D]. Every value is per sample, [B].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from anchorface.models.anchor import anchor
from anchorface.models.conditions import Conditions
from anchorface.models.pixels import levels_to_tensor
from anchorface.pipelines.feed.sample import Batch
from anchorface.records.bounds import AMOUNT, SHARE, Bounds, check
from anchorface.training.objectives.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The estimate's face shall be the references' person, and a little that of the target itself.

    weight: of the part; 0 leaves it out. hard: lambda_h, the largest share of the target's own embedding. floor: lower
    bound inside omega. The defaults are the paper's.
    fraction: share of the samples whose estimate is decoded and embedded; the loss of those is divided by it, so the
    expected gradient stays the same while decoding costs less (our choice; 1 is the paper).

    Source: IConFace eq. 9-12.
    """

    kind: ClassVar[str] = "identity"
    weight: Annotated[float, AMOUNT] = 0.30
    hard: Annotated[float, SHARE] = 0.25
    floor: Annotated[float, SHARE] = 0.25
    fraction: Annotated[float, Bounds(0, 1, above=True)] = 1.0

    def __post_init__(self) -> None:
        check(self, "losses.identity.")

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """`loss`, `identity` and `identity_cosine` to the target; without references the loss is 0.

        See training.objectives.prediction.Objective.
        """
        loss, shown, cosine = of_estimates(
            given, prediction, batch, self.fraction,
            lambda decoded: identity_loss(decoded.found, decoded.reference, decoded.truth, self.hard))
        weighted = self.weight * noise_weight(prediction.sigma, self.floor) * loss
        return {"loss": weighted, "identity": shown, "identity_cosine": cosine}


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Some samples' decoded one-step estimates: rows [n]; the loss's unit embeddings [n, D] of the estimate, with
    gradients (`found`), of the references (`reference`, their anchor) and of the target (`truth`).
    """

    rows: Tensor
    found: Tensor
    reference: Tensor
    truth: Tensor


def estimates(given: Conditions, prediction: Prediction, batch: Batch, fraction: float) -> Estimates | None:
    """Decode and embed the samples that carry an identity part: of those whose references the network heard, the
    `fraction` that their positions select; None if there are none.
    """
    chosen = selected(batch["position"], fraction) & judged(given, prediction)
    if not chosen.any():
        return None
    rows = torch.from_numpy(np.flatnonzero(chosen)).to(prediction.sigma.device)
    return estimates_of(given, prediction, batch, rows, prediction.images(rows))


def judged(given: Conditions, prediction: Prediction) -> NDArray[np.bool_]:
    """Whose likeness counts, bool [B]: their references were heard, and their target is a face as it is."""
    if not given.faces or given.identity is None:
        return np.zeros(len(prediction.sigma), np.bool_)
    counts = torch.ones_like(prediction.sigma, dtype=torch.bool)
    if given.heard is not None:
        counts &= given.heard
    if prediction.degraded_targets is not None:
        counts &= ~prediction.degraded_targets
    return counts.cpu().numpy()


def estimates_of(given: Conditions, prediction: Prediction, batch: Batch, rows: Tensor, images: Tensor) -> Estimates:
    """Embed pictures [n, 3, S, S] that the network made of some samples [n], which have references."""
    assert given.identity is not None
    chosen = rows.cpu().numpy()
    found = prediction.embeddings(images, batch["landmarks"][chosen])
    if prediction.loss_embedder is not None:
        reference, truth = _by_loss(prediction, batch, chosen)
        return Estimates(rows=rows, found=found, reference=reference, truth=truth)
    truth = torch.from_numpy(batch["target_embedding"]).to(rows.device)[rows]
    return Estimates(rows=rows, found=found, reference=given.identity[rows],
                     truth=functional.normalize(truth, dim=-1))


@torch.no_grad()
def _by_loss(prediction: Prediction, batch: Batch, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Unit embeddings [n, D] of the chosen samples' references and targets by a loss's embedder whose embeddings the
    feed has not. Each reference weighs what it does in the anchor: the lengths are those of the anchor's network, the
    directions the loss's (our choice).
    """
    device, encoders = prediction.sigma.device, prediction.encoders
    truth = prediction.embeddings(levels_to_tensor(batch["target"][chosen], device), batch["landmarks"][chosen])
    pictures, points = batch["references"][chosen], batch["reference_landmarks"][chosen]
    lengths = torch.from_numpy(batch["reference_embeddings"][chosen]).to(device).norm(dim=-1, keepdim=True)
    units = prediction.embeddings(levels_to_tensor(pictures.reshape(-1, *pictures.shape[2:]), device),
                                  points.reshape(-1, 5, 2))
    raw = units.unflatten(0, pictures.shape[:2]) * lengths
    return anchor(raw, encoders.temperature, encoders.quality), truth


def of_estimates(given: Conditions, prediction: Prediction, batch: Batch, fraction: float,
                 loss_of: Callable[[Estimates], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """A loss of the decoded estimates, spread over all samples.

    Args:
        loss_of: estimates to the loss of each, [n].

    Returns:
        By sample, [B]: the loss, divided by `fraction`, 0 where nothing was decoded; the same as it is, and the
        estimate's cosine to the target, both NaN there.
    """
    loss, cosine = torch.zeros_like(prediction.sigma), torch.full_like(prediction.sigma, torch.nan)
    decoded = estimates(given, prediction, batch, fraction)
    if decoded is not None:
        loss = loss.index_add(0, decoded.rows, loss_of(decoded) / fraction)
        cosine[decoded.rows] = (decoded.found.detach() * decoded.truth).sum(dim=-1)
    return loss, torch.where(cosine.isnan(), torch.nan, loss.detach() * fraction), cosine


def adaptive_share(reference: Tensor, truth: Tensor, hard: float = 0.25) -> Tensor:
    """lambda* = lambda_h (1 - cos(e_ref, e_gt)), [B]: the less the references resemble the target, the more the
    target's own embedding counts. No gradient. Source: IConFace eq. 11.
    """
    return hard * (1.0 - functional.cosine_similarity(reference, truth, dim=-1)).detach()


def noise_weight(sigma: Tensor, floor: float = 0.25) -> Tensor:
    """omega(sigma) = max(1 - sigma, floor)^2, [B]: early steps are weighed down, never skipped.

    Source: IConFace eq. 12.
    """
    return (1.0 - sigma).clamp_min(floor).square()


def identity_loss(embedding: Tensor, reference: Tensor, truth: Tensor, hard: float = 0.25) -> Tensor:
    """(1 - lambda*) L_ref-id + lambda* L_hard per sample, [B].

    Args:
        embedding: of the decoded estimate, gradients flow through it.
        reference: the anchor e_ref. truth: the target's e_gt. Both are constants.
        hard: lambda_h.

    Source: IConFace eq. 9-11.
    """
    share = adaptive_share(reference, truth, hard)
    to_reference = 1.0 - functional.cosine_similarity(embedding, reference.detach(), dim=-1)
    to_truth = 1.0 - functional.cosine_similarity(embedding, truth.detach(), dim=-1)
    return (1.0 - share) * to_reference + share * to_truth


def selected(positions: np.ndarray, fraction: float) -> np.ndarray:
    """Which positions carry the identity part: evenly spaced, a function of the position alone. bool [b]."""
    return np.floor((positions + 1) * fraction) > np.floor(positions * fraction)
