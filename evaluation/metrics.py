"""What one restored picture is worth: fidelity in pixels, likeness to the person, and copying of the reference.

In: uint8 [N, S, S, 3] RGB pictures and their clean targets; unit embeddings [N, D] of a judge network that was
neither in the anchor nor in the loss. Out: float64 [N], one value per picture (intervals.py takes the means).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from anchorface.records import DataError

PSNR_CEILING = 100.0
CHUNK = 8


def psnr(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Peak signal to noise ratio of each picture, in dB over all three channels.

    Args:
        images, targets: uint8 [N, H, W, 3].

    Returns:
        float64 [N]; equal pictures (infinite ratio) count as 100 dB, so that a mean stays finite (our choice).
    """
    values = [peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3))
              for a, b in _chunks(images, targets)]
    return np.minimum(torch.cat(values).double().numpy(), PSNR_CEILING)


def ssim(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Structural similarity of each picture: Gaussian window 11 px, sigma 1.5, mean over RGB channels.

    The border counts, mirrored, as in torchmetrics; libraries that cut it off give other values.

    Args:
        images, targets: uint8 [N, H, W, 3], sides of at least 11 px.

    Returns:
        float64 [N], 1 for equal pictures.
    """
    values = [torch.atleast_1d(structural_similarity_index_measure(a, b, data_range=1.0, reduction="none"))
              for a, b in _chunks(images, targets)]
    return torch.cat(values).double().numpy()


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How the judge sees one output (cosines of unit embeddings, -1..1).

    target: to the clean target. first, mean: to the first reference, and the mean over all of them.
    truth_first, truth_mean: what the clean target itself has to them.
    surplus: first - truth_first. copied: nearer to the first reference than the target itself is. copied_any:
    nearer to some reference than the target is to that one. All but `target` are None where there is no reference.
    """

    target: float
    first: float | None = None
    mean: float | None = None
    truth_first: float | None = None
    truth_mean: float | None = None
    surplus: float | None = None
    copied: bool | None = None
    copied_any: bool | None = None


def likeness(output: np.ndarray, target: np.ndarray, references: np.ndarray) -> Likeness:
    """Compare an output with its target and with the protocol's references, whether it was shown them or not.

    The share of outputs with `copied` is the copy rate. It is the disease of reference-aware restoration: a
    likeness to the reference above the truth's own is no merit. Degraded input and outputs made without
    references give the level that chance and blur explain.

    Copy rate alone can mislead: an output equal to the truth but for tiny errors has about 50 %, with a surplus
    near 0. Copying is a high rate with a clear surplus.

    Args:
        output, target: unit embeddings [D] by the judge.
        references: unit embeddings [R, D], in the protocol's order; R may be 0.
    """
    to_target = float(output @ target)
    if len(references) == 0:
        return Likeness(target=to_target)
    own, truth = references @ output, references @ target
    return Likeness(target=to_target, first=float(own[0]), mean=float(own.mean()), truth_first=float(truth[0]),
                    truth_mean=float(truth.mean()), surplus=float(own[0] - truth[0]), copied=bool(own[0] > truth[0]),
                    copied_any=bool((own > truth).any()))


def _chunks(images: np.ndarray, targets: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A few pictures at a time as float32 [n, 3, H, W] in [0, 1]: the windows of many need gigabytes."""
    for name, array in (("pictures", images), ("targets", targets)):
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or array.shape != images.shape:
            raise DataError(f"{name} must be uint8 [N, H, W, 3] of one shape, not {array.dtype} {list(array.shape)}")
    for start in range(0, len(images), CHUNK):
        one, other = (torch.from_numpy(np.ascontiguousarray(array[start:start + CHUNK])).permute(0, 3, 1, 2) / 255.0
                      for array in (images, targets))
        yield one, other
