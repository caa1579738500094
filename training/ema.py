"""The moving average of the trainable parameters, the same at every ZeRO stage.

In: whole parameters by name after each optimiser step (`engine.trainable` gathers them at stage 3).
Out: averages by name, float32, held whole on every rank: they are the adapters, not the network.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


class MovingAverage:
    """average <- decay average + (1 - decay) parameter, decay = 0.5 ^ (positions of the step / half-life).

    While fewer positions than ten half-lives have been seen the half-life is a tenth of them, so that the start is
    forgotten (our choice).

    Args:
        parameters: the start, name -> tensor; copied.
        half_life: positions after which a parameter value counts half.
    """

    ramp = 0.1

    def __init__(self, parameters: Mapping[str, Tensor], half_life: int) -> None:
        self.half_life = half_life
        self.average = {name: tensor.detach().float().clone() for name, tensor in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], *, clock: int, positions: int) -> None:
        """Take in the parameters after a step.

        Args:
            parameters: the same names as at the start.
            clock: positions seen including this step. positions: of this step.
        """
        decay = 0.5 ** (positions / max(min(self.half_life, self.ramp * clock), 1e-6))
        for name, average in self.average.items():
            average.lerp_(parameters[name].float(), 1.0 - decay)

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint's averages."""
        for name, average in self.average.items():
            average.copy_(state[name])
