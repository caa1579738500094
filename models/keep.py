"""How much of a degraded face stays in what is restored of it: nothing of a bad one, nearly all of a good one.

A restorer takes likeness away from a face that was recognisable already. How good a face is shows in the length of its
raw embedding by the anchor's network (AdaFace's proxy of quality); the share that is kept rises with it along a ramp.
A run measures the ramp on its held-out samples (training.keep) and its checkpoints carry it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from anchorface.models.settings import Settings, require

HARM = 2.0
"""How much more than once it counts that a picture is worth less than its degraded face alone."""
STARTS = 17
"""Places for either end of a ramp that are tried: quantiles of the lengths."""


@dataclass(frozen=True, kw_only=True)
class Keep(Settings):
    """A ramp. low, high: lengths of the raw embedding up to which nothing, and from which all of the degraded face is
    kept; equal ones keep nothing at all. pictures: on how many it was measured. judge: by which network. before,
    restored, kept: mean likeness to the truth of the degraded faces, of what is restored alone, and with the ramp.

    Source: our choice.
    """

    low: float
    high: float
    pictures: int
    judge: str
    before: float
    restored: float
    kept: float

    def __post_init__(self) -> None:
        numbers = all(isinstance(value, int | float) and np.isfinite(value) for value in (self.low, self.high))
        require(numbers and self.low <= self.high,
                f"keep: low {self.low!r}, high {self.high!r}: two lengths, the lower first, are needed")

    def share(self, lengths: ArrayLike) -> NDArray[np.float64]:
        """Of faces with raw embeddings of these lengths, 0..1."""
        return ramp(np.asarray(lengths, np.float64), self.low, self.high)


def ramp(lengths: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """0 up to `low`, 1 from `high` on, straight between; 0 everywhere if they are equal."""
    return np.clip((lengths - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(lengths)


def best_ramp(lengths: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the ramp that is worth most in the mean, harm counting more than help (HARM); equal ends if none is
    worth more than keeping nothing.

    Args:
        lengths: of n degraded faces' raw embeddings. values: [n, K], what each picture is worth where 0, 1 / (K - 1),
            ..., 1 of the degraded face is kept; between them it is taken as straight.
    """
    values = values - HARM * np.maximum(0.0, values[:, -1:] - values)
    places = np.quantile(lengths, np.linspace(0, 1, STARTS))
    best, ends = values[:, 0].mean(), (float(places[0]), float(places[0]))
    for low in places:
        for high in places[places > low]:
            worth = kept_of(values, ramp(lengths, low, high)).mean()
            if worth > best:
                best, ends = worth, (float(low), float(high))
    return ends


def kept_of(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each picture's value, [n], where this share of its degraded face is kept; values as of `best_ramp`."""
    place = shares * (values.shape[1] - 1)
    left = np.minimum(place.astype(np.int64), values.shape[1] - 2)
    rows, weight = np.arange(len(values)), place - left
    return values[rows, left] * (1 - weight) + values[rows, left + 1] * weight


def blend(restored: Tensor, degraded: Tensor, shares: NDArray[np.float64]) -> Tensor:
    """Restored pictures with a share of the degraded ones in them, pixel by pixel.

    Args:
        restored, degraded: [B, 3, S, S], same range. shares: [B], 0..1.
    """
    share = torch.from_numpy(shares).to(restored)[:, None, None, None]
    return torch.where(share > 0, torch.lerp(restored, degraded.to(restored), share), restored)

