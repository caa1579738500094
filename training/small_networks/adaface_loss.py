"""The AdaFace margin loss: the better a face image, the more a hard sample is stressed.

features: float [B, D], not normalised; labels: int64 [B]. The norm of a feature stands for the image's quality.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class MarginSettings:
    """AdaFace's published numbers but the scale.

    margin: m. concentration: h. scale: s (64 in the paper; ours is lower where a run is short). momentum: of the
    running mean and deviation of the norms (0.01 in the authors' command line).
    """

    margin: float = 0.4
    concentration: float = 0.333
    scale: float = 64.0
    momentum: float = 0.01
    start_mean: float = 20.0
    start_deviation: float = 100.0


def quality(norm: Tensor, mean: Tensor, deviation: Tensor, concentration: float) -> Tensor:
    """zhat in [-1, 1] from the norms [B]: 0 at the mean norm, 1 for good images (AdaFace, section 3)."""
    return ((norm - mean) / (deviation + 1e-3) * concentration).clamp(-1.0, 1.0)


def margin_logits(cosine: Tensor, labels: Tensor, zhat: Tensor, margin: float, scale: float) -> Tensor:
    """Logits with the adaptive margin at the labels.

    Args:
        cosine: float [B, C], feature against class centre. labels: int64 [B]. zhat: float [B] in [-1, 1].

    Returns:
        float [B, C]: s (cos(theta_y - m zhat) - (m + m zhat)) at the label, s cos(theta_j) elsewhere.

    Source: AdaFace, loss as in the authors' code: zhat = -1 is ArcFace, 0 CosFace, +1 a negative angular margin.
    """
    cosine = cosine.clamp(-1.0 + 1e-3, 1.0 - 1e-3)
    own = cosine.gather(1, labels[:, None])[:, 0]
    angle = (own.acos() - margin * zhat).clamp(1e-3, torch.pi - 1e-3)
    hard = angle.cos() - (margin + margin * zhat)
    return scale * cosine.scatter(1, labels[:, None], hard[:, None])


class AdaFaceLoss(nn.Module):
    """Class centres, the running statistics of the norms, and the loss.

    Args:
        classes: number of identities. dimension: of the features.
    """

    running_mean: Tensor
    running_deviation: Tensor

    def __init__(self, classes: int, dimension: int, settings: MarginSettings) -> None:
        super().__init__()
        self.settings = settings
        self.centres = nn.Parameter(functional.normalize(torch.randn(classes, dimension), dim=1))
        self.register_buffer("running_mean", torch.tensor(settings.start_mean))
        self.register_buffer("running_deviation", torch.tensor(settings.start_deviation))

    def forward(self, unit: Tensor, norm: Tensor, labels: Tensor, share: float = 1.0) -> Tensor:
        """Cross entropy with the adaptive margin.

        Args:
            unit: float [B, D], unit features. norm: float [B, 1], their lengths before. labels: int64 [B].
            share: of the margin, 0..1: it grows over the first steps (our choice; short runs diverge otherwise).
        """
        chosen = self.settings
        safe = norm.detach()[:, 0].clamp(0.001, 100.0)
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(safe.mean(), chosen.momentum)
                self.running_deviation.lerp_(safe.std(), chosen.momentum)
        zhat = quality(safe, self.running_mean, self.running_deviation, chosen.concentration)
        cosine = unit @ functional.normalize(self.centres, dim=1).T
        return functional.cross_entropy(
            margin_logits(cosine, labels, zhat, chosen.margin * share, chosen.scale), labels)
