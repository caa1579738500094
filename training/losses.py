"""IConFace's losses: flow matching, and identity seen through the decoded one-step estimate.

tokens: float [B, L, C]; sigma: [B] in [0, 1]; images: float [B, 3, S, S] RGB in [-1, 1]; landmarks: [B, 5, 2]
pixels of those images; embeddings: unit vectors [B, D] unless called raw. Every loss is per sample, [B], so that
the loop can say which position went wrong.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from anchorface.faces.align import arcface_matrix, inverse
from anchorface.faces.quality import NormCalibration

CROP = 112


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Weights of the losses; the defaults are the paper's (IConFace eq. 8-12).

    flow, identity: of the two parts. hard: lambda_h, the largest share of the target's own embedding.
    floor: lower bound inside omega. temperature: of the norm weights in the anchor.
    norm_weights: what weighs a reference in the anchor: `norm`, its embedding's length as in the paper, or `quality`,
    what that length lets expect of the picture by the embedder's stored calibration (faces.quality; our choice).
    identity_fraction: share of the samples whose estimate is decoded and embedded; the identity part of those is
    divided by it, so the expected gradient stays the same while decoding costs less (our choice; 1 is the paper).
    """

    flow: float = 0.75
    identity: float = 0.30
    hard: float = 0.25
    floor: float = 0.25
    temperature: float = 1.0
    norm_weights: str = "norm"
    identity_fraction: float = 1.0


def flow_loss(velocity: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the velocity per sample, [B]. Source: IConFace eq. 8."""
    return (velocity - target).square().flatten(1).mean(dim=1)


def anchor(raw: Tensor, temperature: float = 1.0, calibration: NormCalibration | None = None) -> Tensor:
    """The norm-weighted mean direction of raw reference embeddings.

    Args:
        raw: [B, R, D] before L2 normalisation, R >= 1.
        temperature: T; 1 weighs each reference by its norm.
        calibration: of the network that made the embeddings: its qualities stand in for the norms; None: the norms.

    Returns:
        Unit vectors [B, D]; the order of references changes them not at all. Source: IConFace eq. 3-5.
    """
    order = raw.norm(dim=-1).argsort(dim=1)  # one order of summation, whatever order they come in
    raw = raw.gather(1, order[..., None].expand_as(raw))
    norms = raw.norm(dim=-1).clamp_min(1e-6)
    heard = norms if calibration is None else torch.from_numpy(calibration.quality(norms.cpu().numpy())).to(norms)
    weights = torch.softmax(heard.log() / temperature, dim=-1)
    return functional.normalize((weights / norms)[..., None].mul(raw).sum(dim=1), dim=-1)


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


def total_loss(flow: Tensor, identity: Tensor, sigma: Tensor, settings: LossSettings) -> Tensor:
    """0.75 L_fm + 0.30 omega(sigma) L_id per sample, [B]; identity is zero where there are no references.

    Source: IConFace eq. 12 and supplement eq. 1.
    """
    return settings.flow * flow + settings.identity * noise_weight(sigma, settings.floor) * identity


def selected(positions: np.ndarray, fraction: float) -> np.ndarray:
    """Which positions carry the identity part: evenly spaced, a function of the position alone. bool [b]."""
    return np.floor((positions + 1) * fraction) > np.floor(positions * fraction)


def align(images: Tensor, landmarks: np.ndarray) -> Tensor:
    """Images to the crops that AdaFace takes, with gradients to the images.

    The similarity is that of `faces.align.arcface_matrix`, drawn bilinearly (`faces.align.warp` is bicubic when it
    does not shrink much); where it shrinks k times, k x k samples are averaged, so no pixel goes unread.

    Args:
        images: [B, 3, S, S] RGB.
        landmarks: float [B, 5, 2] in pixels of `images`.

    Returns:
        [B, 3, 112, 112] BGR, same range. Source: our choice (papers 1.6: not published).
    """
    size = images.shape[-1]
    matrices = np.stack([arcface_matrix(points) for points in np.asarray(landmarks)])
    scale = float(np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2]))).min())
    finer = min(8, max(1, int(np.ceil(1.0 / scale - 1e-6))))
    back = torch.from_numpy(np.stack([inverse(matrix) for matrix in matrices])).to(images.device)
    # Pixel centres of a crop drawn `finer` times larger, in the coordinates of the 112 px crop.
    line = (torch.arange(CROP * finer, device=images.device, dtype=torch.float64) + 0.5) / finer - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    source = torch.einsum("hwk,bjk->bhwj", places, back)
    grid = (2.0 * source / (size - 1) - 1.0).to(images.dtype)
    drawn = functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    crops = functional.avg_pool2d(drawn, finer) if finer > 1 else drawn
    return crops.flip(1)
