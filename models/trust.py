"""How far references are believed to show the person of a degraded face.

Another person's photographs pull what is restored towards that person. A degraded face shows enough of its own to tell:
by the cosine of its embedding with the references' anchor. A run measures on its held-out samples where the cosines of
own references and of strangers' lie (training.trust), and its checkpoints carry it. Restorations then go from what is
drawn without references towards what is drawn with them by that share (restoration.restorer).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import mannwhitneyu

from anchorface.models.settings import Settings, require

OWN = 0.9
"""How many of the references that people give show the person, before anybody looked. Our choice."""
LEAST_AUC = 0.8
"""Cosines that tell less are not heard: all references are believed."""
LEAST_SPREAD = 0.02
"""Of either side's cosines, so that a handful of samples which happen to agree make no cliff."""


@dataclass(frozen=True, kw_only=True)
class Trust(Settings):
    """The chance that references of this cosine are the person's own, where a share OWN of all are and the cosines of
    own ones and of strangers' are two normal distributions of one spread. middle: the cosine that tells nothing: half
    way between their means. slope: how fast the log of the odds grows with the cosine. pictures: on how many it was
    measured. auc: share of the pairs of one own and one stranger's cosine in which the own one is larger.

    Source: linear discriminant analysis; that references are believed by it is our choice.
    """

    middle: float
    slope: float
    pictures: int
    auc: float

    def __post_init__(self) -> None:
        numbers = all(isinstance(value, int | float) and np.isfinite(value) for value in (self.middle, self.slope))
        require(numbers and self.slope > 0,
                f"trust: middle {self.middle!r}, slope {self.slope!r}: a cosine and a number above 0 are needed")

    def share(self, cosines: ArrayLike) -> NDArray[np.float64]:
        """Of references with these cosines, 0..1."""
        return np.asarray(expit(self.slope * (np.asarray(cosines, np.float64) - self.middle) + logit(OWN)))


def fitted(own: NDArray[np.floating], strangers: NDArray[np.floating]) -> Trust | None:
    """What cosines of n faces with their own references' anchors and of m with strangers' tell; None if that is little.
    """
    if len(own) < 2 or len(strangers) < 2:
        return None
    auc = float(mannwhitneyu(own, strangers).statistic) / (len(own) * len(strangers))
    if auc < LEAST_AUC:
        return None
    spread = max((own.var() + strangers.var()) / 2, LEAST_SPREAD**2)
    return Trust(middle=float(own.mean() + strangers.mean()) / 2, slope=float((own.mean() - strangers.mean()) / spread),
                 pictures=len(own), auc=auc)
