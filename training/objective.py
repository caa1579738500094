"""From a batch of the feed to one loss per sample: encode, noise, velocity, one-step estimate, identity.

In: the feed's dictionary of arrays (pipelines.feed). Out: float tensors [b], so that a loss keeps its position.
Noise and noise level of a sample come from (seed, purpose, position): they do not know which worker asks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anchorface.models.flow import clean_estimate, logit_normal_sigma, mix, mode_sigma, target_velocity, uniform_sigma
from anchorface.records import derive, rng
from anchorface.training.losses import align, anchor, flow_loss, identity_loss, selected, total_loss
from anchorface.training.networks import Networks
from anchorface.training.recipes import Recipe

Velocity = Callable[..., Tensor]
SIGMAS = {"logit-normal": logit_normal_sigma, "uniform": uniform_sigma, "mode": mode_sigma}
PARTS = ("loss", "flow", "identity", "identity_cosine", "sigma")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the network is told about a batch: tokens [b, L, C], R reference token tensors, identity [b, D] unit."""

    target: Tensor
    degraded: Tensor
    references: tuple[Tensor, ...]
    identity: Tensor


def pixels(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 [B, S, S, 3] to float [B, 3, S, S] in [-1, 1]."""
    moved = torch.from_numpy(np.ascontiguousarray(images)).to(device, non_blocking=True)
    return moved.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The context in which frozen networks run."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16")


@torch.no_grad()
def conditions(recipe: Recipe, networks: Networks, batch: dict[str, NDArray[Any]], device: torch.device) -> Conditions:
    """Encode a batch and find its identity anchor: the references' raw embeddings weighted by their norms, or the
    degraded image's own embedding where there are none (IConFace 1.3).
    """
    count, references = batch["references"].shape[:2]
    stacked = np.concatenate([batch["target"], batch["degraded"], *np.moveaxis(batch["references"], 1, 0)])
    images = pixels(stacked, device)
    with autocast(recipe, device):
        tokens = networks.autoencoder.encode(images).float().split(count)
        if references:
            identity = anchor(torch.from_numpy(batch["reference_embeddings"]).to(device), recipe.losses.temperature,
                              networks.calibration)
        else:
            identity = embed(networks, images[count : 2 * count], batch["landmarks"])
    return Conditions(target=tokens[0], degraded=tokens[1], references=tuple(tokens[2:]), identity=identity)


def embed(networks: Networks, images: Tensor, landmarks: NDArray[np.float32]) -> Tensor:
    """Unit AdaFace embeddings [B, D] of images [B, 3, S, S]; gradients flow to the images."""
    crops = align(images.float(), landmarks).contiguous(memory_format=torch.channels_last)
    return networks.embedder(crops)[0].float()


def noise_of(recipe: Recipe, positions: NDArray[np.int64], shape: tuple[int, ...]) -> Tensor:
    """Standard normal [b, *shape], drawn on the CPU, a row per position."""
    rows = [
        torch.randn(shape, generator=torch.Generator().manual_seed(derive(recipe.seed, "noise", int(position))))
        for position in positions
    ]
    return torch.stack(rows)


def sigma_of(recipe: Recipe, positions: NDArray[np.int64]) -> Tensor:
    """Noise levels [b]."""
    draw = SIGMAS[recipe.sigma_sampler]
    return torch.from_numpy(np.concatenate([draw(rng(recipe.seed, "sigma", int(p)), 1) for p in positions]))


def empty_prompts(recipe: Recipe, positions: NDArray[np.int64]) -> Tensor:
    """Which samples see the empty prompt, bool [b]."""
    drawn = [rng(recipe.seed, "prompt", int(p)).random() < recipe.prompt_dropout for p in positions]
    return torch.tensor(drawn)


def objective(
    recipe: Recipe, networks: Networks, velocity_of: Velocity, batch: dict[str, NDArray[Any]], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The loss of each sample of a batch. Source: IConFace eq. 1-12.

    Args:
        velocity_of: IConFace, or the engine around it.
        batch: the feed's arrays, b samples with equally many references.

    Returns:
        The losses [b] with gradients, and what is logged of them, float64 [b, len(PARTS)], NaN where a sample has
        no such part.
    """
    positions = batch["position"]
    given = conditions(recipe, networks, batch, device)
    noise = noise_of(recipe, positions, tuple(given.target.shape[1:])).to(device)
    sigma = sigma_of(recipe, positions).to(device)
    noisy = mix(given.target, noise, sigma)
    text = networks.text(len(positions), empty_prompts(recipe, positions).to(device))
    velocity = velocity_of(noisy, sigma, text, given.degraded, given.references, given.identity)
    flow = flow_loss(velocity, target_velocity(given.target, noise))

    identity = torch.zeros_like(flow)
    cosine = torch.full_like(flow, torch.nan)
    chosen = np.flatnonzero(selected(positions, recipe.losses.identity_fraction))
    if given.references and len(chosen) and recipe.losses.identity:
        rows = torch.from_numpy(chosen).to(device)
        side = recipe.model.tokens_per_side
        estimate = clean_estimate(noisy[rows], velocity[rows], sigma[rows])
        with autocast(recipe, device):
            found = embed(networks, networks.autoencoder.decode(estimate, side, side), batch["landmarks"][chosen])
        truth = torch.nn.functional.normalize(torch.from_numpy(batch["target_embedding"]).to(device)[rows], dim=-1)
        each = identity_loss(found, given.identity[rows], truth, recipe.losses.hard)
        identity = identity.index_add(0, rows, each / recipe.losses.identity_fraction)
        cosine[rows] = (found.detach() * truth).sum(dim=-1)
    loss = total_loss(flow, identity, sigma, recipe.losses)
    shown = torch.where(cosine.isnan(), torch.nan, identity.detach() * recipe.losses.identity_fraction)
    return loss, torch.stack([loss.detach(), flow.detach(), shown, cosine, sigma], dim=1).double()
