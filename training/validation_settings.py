"""What a run is asked while it trains: how often, on how many held-out samples, by which judge, and what is best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from anchorface.faces.weights import weight
from anchorface.records import ConfigurationError
from anchorface.records.bounds import COUNT_OR_NONE, SIZE, SIZE_OR_NONE, Bounds, check

METRICS = {"flow": "least", "likeness": "greatest"}
"""What can decide which checkpoint is best, and which end of it is."""


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """Validation of one run. It reads weights and changes none; `patience` alone can shorten a run.

    every: positions, 0 for never; the end of the run is validated as well. samples: of split `val`, the same each time.
    sigmas: noise levels in (0, 1) at which each sample's velocity is asked. pictures: how many of the samples are
    restored with `steps` steps of the sampler and shown to the judge, 0 for none. judge: a face network that is neither
    in the anchor nor in the loss. kept: on how many of the samples is measured, once, when the run ends, how much of a
    degraded face restorations keep (training.keep, which asks the judge); 0 for none. trusted: on how many is measured,
    once as well, how far references are believed (training.trust); 0 for none. metric: what decides which
    validation is best: `flow`, the least, or `likeness`, the greatest. patience: the run ends after so many validations
    in a row without a better one; 0 for never.

    One validation costs samples x sigmas + pictures x steps forward passes of the network, shared by the ranks; a
    training step costs about three per sample. All numbers are our choice.
    """

    every: Annotated[int, COUNT_OR_NONE] = 0
    samples: Annotated[int, SIZE] = 16
    sigmas: Annotated[tuple[float, ...], Bounds(0, 1, above=True, below=True)] = (0.1, 0.3, 0.5, 0.7, 0.9)
    pictures: Annotated[int, SIZE_OR_NONE] = 8
    steps: Annotated[int, Bounds(1, 1000)] = 6
    judge: str = "judge_small"
    kept: Annotated[int, SIZE_OR_NONE] = 16
    trusted: Annotated[int, SIZE_OR_NONE] = 128
    metric: str = "flow"
    patience: Annotated[int, COUNT_OR_NONE] = 0

    def __post_init__(self) -> None:
        check(self, "validation.")
        self._require(self.pictures <= self.samples, f"pictures {self.pictures}: 0 to samples, {self.samples}")
        self._require(bool(self.sigmas) and len(set(self.sigmas)) == len(self.sigmas),
                      f"sigmas {self.sigmas}: different noise levels between 0 and 1")
        self._require(self.metric in METRICS, f"metric {self.metric!r}: it is {' or '.join(map(repr, METRICS))}")
        self._require(self.metric != "likeness" or self.pictures > 0, "metric likeness: pictures must be above 0")
        self._require(not self.patience or self.every > 0, f"patience {self.patience}: `every` must be above 0")
        weight(self.judge, "embedder")

    def require_apart(self, embedders: Sequence[str]) -> None:
        """Refuse a judge that is in the anchor or the loss.

        Raises:
            ConfigurationError: it is one of these networks.
        """
        self._require(not (self.every and self.pictures) or self.judge not in embedders,
                      f"judge {self.judge!r} is a network in anchor or loss; judge with another one: judge_small "
                      "(synthetic) or mobilefacenet_y1_ms1m_112 (photographs)")

    @staticmethod
    def _require(condition: bool, text: str) -> None:
        if not condition:
            raise ConfigurationError(f"validation: {text}")
