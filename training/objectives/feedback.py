"""Identity-preserving feedback learning: the network samples, and is told how much the people in its frames look like
the references.

With T frames of a clip, a schedule 1 = sigma_0 > ... > sigma_n = 0 of n steps, and k drawn from its last `window`
steps, the same k for all samples of an optimiser step:

    z_k = sample(noise; sigma_0 ... sigma_k)                        without gradient, the flow term's own noise
    x_i = decode(z_k - sigma_k v(z_k, sigma_k))_i                   with gradient, frame i = 1 ... T
    R = sum_i w_i cos(A(x_i), e_ref)                                w_i = 2 i / (T (T + 1)), or 1 / T
    L = weight (1 - R)

The flow term stands beside it as the rein on what pleases A alone. Source: IP-FVR's abstract names reward and
suffix-weighted aggregation and publishes no formula; all of the above is our choice, in the manner of ReFL.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from anchorface.models.conditions import Conditions
from anchorface.models.flow import clean_estimate, shift_schedule
from anchorface.models.sampler import sample
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import ConfigurationError, rng
from anchorface.records.bounds import AMOUNT, Bounds, check
from anchorface.training.objectives.identity import estimates_of, judged, selected
from anchorface.training.objectives.prediction import Prediction

FRAME_WEIGHTS = ("suffix", "uniform")


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Sampled frames shall be the references' person, the later the more.

    weight: of the part. frame_weights: `suffix` or `uniform`. steps: of the sampler. window: its last steps, one of
    which is taken with gradient. fraction: share of the optimiser steps that sample; their loss is divided by it.

    One such step costs, beside the flow term's, up to steps - 1 forward passes and one pass with gradient, decoder and
    embedder included.
    """

    kind: ClassVar[str] = "feedback"
    weight: Annotated[float, AMOUNT] = 0.1
    frame_weights: str = "suffix"
    steps: Annotated[int, Bounds(1, 1000)] = 6
    window: Annotated[int, Bounds(1, 1000)] = 3
    fraction: Annotated[float, Bounds(0, 1, above=True)] = 0.5

    def __post_init__(self) -> None:
        check(self, "losses.feedback.")
        if self.frame_weights not in FRAME_WEIGHTS:
            raise ConfigurationError(f"losses.feedback.frame_weights {self.frame_weights!r}: it is 'suffix' or "
                                     "'uniform'")
        if self.window > self.steps:
            raise ConfigurationError(f"losses.feedback.window {self.window}: at most losses.feedback.steps, "
                                     f"{self.steps}")

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """`loss`; `reward`, whose mean over a clip's frames is R, NaN where nothing was sampled.

        See training.objectives.prediction.Objective.
        """
        loss, reward = torch.zeros_like(prediction.sigma), torch.full_like(prediction.sigma, torch.nan)
        # Ranks sample in the same steps, whoever has something to judge: at ZeRO stage 3 they must ask together.
        if not given.faces or not selected(np.array([prediction.step]), self.fraction)[0]:
            return {"loss": loss, "reward": reward}
        estimate = self.estimate(given, prediction)
        rows = torch.from_numpy(np.flatnonzero(judged(given, prediction))).to(loss.device)
        if not len(rows):
            return {"loss": loss + 0.0 * estimate.flatten(1).sum(dim=1), "reward": reward}
        found = estimates_of(given, prediction, batch, rows, prediction.decoded(estimate[rows]))
        share = given.frames * self.weights_of(given.frames).to(loss)[rows % given.frames]
        cosine = (found.found * found.reference.detach()).sum(dim=-1)
        reward[rows] = (share * cosine).detach()
        return {"loss": loss.index_add(0, rows, self.weight / self.fraction * share * (1.0 - cosine)), "reward": reward}

    def estimate(self, given: Conditions, prediction: Prediction) -> Tensor:
        """The clean tokens [B, L, C] that the step with gradient sees from where the sampler has come."""
        assert prediction.ask is not None, "feedback asks the network"
        ask, schedule = prediction.ask, shift_schedule(self.steps, prediction.side**2)
        place = int(rng(prediction.seed, "feedback", prediction.step).integers(self.steps - self.window, self.steps))
        z = sample(lambda z, sigma: ask(z, sigma, given), prediction.noise, schedule[: place + 1])
        level = torch.full_like(prediction.sigma, float(schedule[place]))
        return clean_estimate(z, ask(z, level, given), level)

    @property
    def mean_steps(self) -> float:
        """Steps without gradient before the one that has it, in the mean over `window`."""
        return self.steps - (self.window + 1) / 2

    def weights_of(self, frames: int) -> Tensor:
        """w_1 ... w_T, which add up to 1: float32 [T]."""
        return suffix_weights(frames) if self.frame_weights == "suffix" else torch.full((frames,), 1.0 / frames)


def suffix_weights(frames: int) -> Tensor:
    """w_i = 2 i / (T (T + 1)), float32 [T]: frame i counts in each of the i suffixes that hold it."""
    return 2.0 * torch.arange(1, frames + 1) / (frames * (frames + 1))
