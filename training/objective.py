"""From a batch of the feed to one loss per sample: encode, noise, velocity, and the recipe's objectives.

In: the feed's dictionary of arrays (pipelines.feed). Out: float tensors [b], so that a loss keeps its position.
Noise and noise level of a sample come from (seed, purpose, position): they do not know which worker asks. Where samples
are clips of T frames, networks and objectives see B = b * T pictures (training.clips): noise of which frames share as
much as the system's settings say, one noise level a clip, and losses that are means over its frames.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anchorface.models.conditions import Conditions
from anchorface.models.encode import conditions, each_frame, identity_embedding
from anchorface.models.flow import logit_normal_sigma, mix, mode_sigma, uniform_sigma
from anchorface.models.pixels import levels_to_tensor
from anchorface.models.sampler import normal
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import derive, rng
from anchorface.records.attributes import ATTRIBUTE_NAMES, ATTRIBUTES, CLEAN, attribute_row
from anchorface.training.clips import OF_FRAMES, by_frame, frames_of, over_frames
from anchorface.training.networks import Networks
from anchorface.training.objectives.prediction import Prediction, Velocity, autocast, crop_matrices
from anchorface.training.recipes import Recipe

QUALITY, ARTEFACTS = (ATTRIBUTE_NAMES.index(name) for name in ("quality", "artefacts"))
SIGMAS = {"logit-normal": logit_normal_sigma, "uniform": uniform_sigma, "mode": mode_sigma}


def encode(recipe: Recipe, networks: Networks, batch: Batch, device: torch.device,
           empty: Tensor | bool = False) -> tuple[Tensor, Conditions]:
    """A batch's clean target tokens [B, L, C] and its conditions, under which a clean picture is asked for; cached
    latents are taken where the batch has them.

    Args:
        empty: which samples see the empty prompt.
    """
    rows, frames = by_frame({name: batch[name] for name in OF_FRAMES & batch.keys()}), frames_of(batch)
    empty = empty if isinstance(empty, bool) else each_frame(empty, frames)

    def encoded(name: str) -> Tensor:
        return torch.as_tensor(batch[name]).to(device)

    count, cached = batch["references"].shape[1], "target_latent" in batch
    pictures = [] if cached else [levels_to_tensor(batch["references"][:, place], device) for place in range(count)]
    raw = encoded("reference_embeddings") if count else None
    with torch.no_grad(), autocast(recipe.precision, device):
        given = conditions(networks.encoders, levels_to_tensor(rows["degraded"], device), pictures,
                           crop_matrices(rows["landmarks"]), raw, empty,
                           encoded("reference_latents").unbind(1) if cached else (), frames)
        target = encoded("target_latent") if cached else networks.encoders.autoencoder.encode(
            levels_to_tensor(rows["target"], device)).float()
    if recipe.model.system.hears_attributes:
        clean = torch.from_numpy(attribute_row(CLEAN)).to(device)
        given = given.with_attributes(clean.expand(len(target), -1))
    return target, given


def noise_of(recipe: Recipe, positions: NDArray[np.int64], shape: tuple[int, ...], purpose: str = "noise",
             frames: int = 1) -> Tensor:
    """Standard normal [b * frames, *shape], drawn on the CPU, a row per position and frame. A picture's is that of its
    position; of a clip's, frames share what the system's settings say."""
    seeds = [derive(recipe.seed, purpose, int(position)) for position in positions]
    return normal(seeds, shape, range(frames) if frames > 1 else (), recipe.model.system.shared_noise)


def sigma_of(recipe: Recipe, positions: NDArray[np.int64]) -> Tensor:
    """Noise levels [b]."""
    draw = SIGMAS[recipe.sigma_sampler]
    return torch.from_numpy(np.concatenate([draw(rng(recipe.seed, "sigma", int(p)), 1) for p in positions]))


def empty_prompts(recipe: Recipe, positions: NDArray[np.int64]) -> Tensor:
    """Which samples see the empty prompt, bool [b]."""
    drawn = [rng(recipe.seed, "prompt", int(p)).random() < recipe.prompt_dropout for p in positions]
    return torch.tensor(drawn)


def dropped(recipe: Recipe, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Which samples lose their degraded picture, and which what is known of their references, bool [b] each: who loses
    the first loses the second as well, since guidance asks for no other pair (our choice)."""
    drawn = np.array([rng(recipe.seed, "dropout", int(p)).random(2) for p in positions]).reshape(-1, 2)
    degraded = drawn[:, 0] < recipe.input_dropout
    return torch.from_numpy(degraded), torch.from_numpy(degraded | (drawn[:, 1] < recipe.context_dropout))


def told(recipe: Recipe, positions: NDArray[np.int64], known: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """What training says of samples, and which of them shall be what they say.

    Every clean target is told as such (quality 1, artefacts 0), and each attribute of it is left unsaid now and then. A
    share of the samples has its degraded picture for a target and is told so, by quality 0, by artefacts 1 or by both
    (our choice): a network asked for that can be guided away from it.

    Args:
        known: attributes [b, A], NaN where unknown.

    Returns:
        Attributes float32 [b, A], and bool [b], whose target is the degraded picture.
    """
    said, degraded = known.copy(), np.zeros(len(positions), np.bool_)
    for row, position in enumerate(positions):
        draws = rng(recipe.seed, "attributes", int(position))
        degraded[row] = draws.random() < recipe.degraded_targets
        unsaid = np.less(draws.random(said.shape[1]), recipe.attribute_dropout)
        said[row, [QUALITY, ARTEFACTS]] = (0.0, 1.0) if degraded[row] else (1.0, 0.0)
        if degraded[row]:
            unsaid[[QUALITY, ARTEFACTS]] = ((False, True), (True, False), (False, False))[draws.integers(3)]
        said[row, unsaid] = np.nan
    return torch.from_numpy(said), torch.from_numpy(degraded)


def _thinned(recipe: Recipe, networks: Networks, batch: Batch, given: Conditions, device: torch.device) -> Conditions:
    """The conditions that training shows: some samples without a part of theirs, some batches without the references'
    tokens. batch: a row for every picture."""
    step = int(batch["position"][0]) // recipe.feed.batch
    if recipe.anchor_alone and rng(recipe.seed, "anchor alone", step).random() < recipe.anchor_alone:
        given = replace(given, references=())  # its faces stay: the identity loss goes by them
    if not (recipe.input_dropout or recipe.context_dropout):
        return given
    degraded, references = (rows.to(device) for rows in dropped(recipe, batch["position"]))
    with torch.no_grad(), autocast(recipe.precision, device):
        own = identity_embedding(networks.encoders.embedder, levels_to_tensor(batch["degraded"], device),
                                 crop_matrices(batch["landmarks"]))
    return given.dropped(degraded, references, own)


def objective(recipe: Recipe, networks: Networks, velocity_of: Velocity, batch: Batch,
              device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of each sample of a batch.

    Args:
        velocity_of: the network, or the engine around it.
        batch: the feed's arrays, b samples with equally many references, pictures or clips.

    Returns:
        The losses [b] with gradients, and what is logged of them: `loss`, `sigma` and what each objective gives, [b]
        each, NaN where a sample has no such value.
    """
    positions, frames, rows = batch["position"], frames_of(batch), by_frame(batch)
    target, given = encode(recipe, networks, batch, device, empty_prompts(recipe, positions).to(device))
    degraded = None
    if recipe.model.system.hears_attributes:
        unknown = np.full((len(positions), len(ATTRIBUTES)), np.nan, np.float32)
        said, degraded = (each_frame(tensor.to(device), frames)
                          for tensor in told(recipe, positions, batch.get("attributes", unknown)))
        given = given.with_attributes(said)
        target = torch.where(degraded[:, None, None], given.degraded, target)
    given = _thinned(recipe, networks, rows, given, device)
    noise = noise_of(recipe, positions, tuple(target.shape[1:]), frames=frames).to(device)
    sigma = each_frame(sigma_of(recipe, positions).to(device), frames)
    noisy = mix(target, noise, sigma)
    prediction = Prediction(
        velocity=velocity_of(noisy, sigma, given), clean=target, noise=noise, noisy=noisy, sigma=sigma,
        encoders=networks.encoders, loss_embedder=networks.loss_embedder, side=recipe.model.tokens_per_side,
        precision=recipe.precision, ask=velocity_of, seed=recipe.seed, step=int(positions[0]) // recipe.feed.batch,
        degraded_targets=degraded,
    )
    loss, logged = torch.zeros_like(sigma), {"sigma": sigma}
    for part in recipe.losses:
        if part.weight:
            found = part(given, prediction, rows)
            loss = loss + found.pop("loss")
            logged |= found
    loss = loss.unflatten(0, (-1, frames)).mean(dim=1)  # a frame's that is not finite shall be seen
    return loss, {"loss": loss.detach(), **{name: over_frames(values, frames) for name, values in logged.items()}}
