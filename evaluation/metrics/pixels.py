"""How near one restored picture is to the clean one, pixel by pixel; faces.likeness says who it looks like.

In: uint8 [N, S, S, 3] RGB pictures and their clean targets. Out: float64 [N], one value per picture (intervals.py
takes the means).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from anchorface.records import DataError

PSNR_CEILING = 100.0
CHUNK = 8 * 128 * 128
"""Pixels that are looked at at once: windows take more than a hundred bytes of each, and fit a CPU's cache so (half the
time of eight pictures of 512 px)."""


def psnr(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Peak signal to noise ratio of each picture, in dB over all three channels.

    Args:
        images, targets: uint8 [N, H, W, 3].

    Returns:
        float64 [N]; equal pictures (infinite ratio) count as 100 dB, so that a mean stays finite (our choice).
    """
    values = [peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3))
              for a, b in chunks(images, targets)]
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
              for a, b in chunks(images, targets)]
    return torch.cat(values).double().numpy()


def chunks(images: np.ndarray, targets: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A few pictures at a time as float32 [n, 3, H, W] in [0, 1]: the windows of many need gigabytes."""
    for name, array in (("pictures", images), ("targets", targets)):
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or array.shape != images.shape:
            raise DataError(f"{name} must be uint8 [N, H, W, 3] of one shape, not {array.dtype} {list(array.shape)}")
    several = at_once(images)
    for start in range(0, len(images), several):
        one, other = (torch.from_numpy(np.ascontiguousarray(array[start:start + several])).permute(0, 3, 1, 2) / 255.0
                      for array in (images, targets))
        yield one, other


def at_once(images: np.ndarray) -> int:
    """How many of pictures [N, H, W, 3] are looked at at once; at least one."""
    return max(1, CHUNK // max(1, images.shape[1] * images.shape[2]))
