"""How far a set of pictures lies from another: FID and KID, by torchmetrics.

In: features float32 [N, 2048] of both sets. Out: one number a set. FID against the truth and FID against FFHQ are two
metrics: values of one must not be compared with values of the other.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from anchorface.faces.tensors import load_state
from anchorface.faces.weights import find
from anchorface.records import WeightsError

FFHQ_PICTURES = 70000
SUBSETS, SUBSET = 100, 1000


class Ready(nn.Module):
    """Hands features on: they were computed when the picture was judged."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features


def fid(features: np.ndarray, truth: np.ndarray) -> float:
    """Frechet distance of two sets of at least two pictures each."""
    metric = _frechet(features)
    metric.update(torch.from_numpy(truth), real=True)
    return float(metric.compute())


def fid_to(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray, pictures: int = FFHQ_PICTURES) -> float:
    """Frechet distance to a set that is known by its mean [D] and covariance [D, D]."""
    metric = _frechet(features)
    mu = torch.from_numpy(np.asarray(mean, dtype=np.float64))
    metric.real_features_num_samples = torch.tensor(pictures)
    metric.real_features_sum = mu * pictures
    metric.real_features_cov_sum = (torch.from_numpy(np.asarray(covariance, dtype=np.float64)) * (pictures - 1)
                                    + torch.outer(mu, mu) * pictures)
    return float(metric.compute())


def fid_to_ffhq(features: np.ndarray) -> float:
    """Frechet distance to FFHQ at 512 px, by the published statistics.

    Raises:
        WeightsError: missing, or another file.
    """
    path = find("inception_ffhq_512")
    state = load_state(path)
    if not {"mean", "cov"} <= state.keys():
        raise WeightsError(f"{path}: no statistics of FFHQ: no `mean` and `cov` in it")
    return fid_to(features, state["mean"].numpy(), state["cov"].numpy())


def kid(features: np.ndarray, truth: np.ndarray, seed: int = 0) -> float:
    """Kernel distance: the mean over 100 subsets of at most 1,000 pictures, of a third-degree polynomial kernel."""
    metric = KernelInceptionDistance(feature=Ready(features.shape[1]), subsets=SUBSETS,
                                     subset_size=min(SUBSET, len(features), len(truth)))
    metric.update(torch.from_numpy(truth), real=True)
    metric.update(torch.from_numpy(features), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return float(metric.compute()[0])


def _frechet(features: np.ndarray) -> FrechetInceptionDistance:
    metric = FrechetInceptionDistance(feature=Ready(features.shape[1]))
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(features), real=False)
    return metric
