"""Sample grids: what the adapters restore right now, for a person's eyes.

In: a few fixed samples of the validation split, with as many references as they can have. Out: one uint8 picture,
a row per sample: degraded | references | restored | target; and two numbers that a curve can be drawn of.
Every rank computes it (at ZeRO stage 3 the parameters are in pieces), rank 0 alone writes it.
"""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anchorface.models.encode import identity_embedding
from anchorface.models.flow import shift_schedule
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.models.sampler import initial_noise, sample
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import DataError
from anchorface.records.storage import write_atomic
from anchorface.training.networks import Networks
from anchorface.training.objective import encode
from anchorface.training.objectives.prediction import crop_matrices
from anchorface.training.recipes import Recipe

Images = NDArray[np.uint8]


def fixed_batch(recipe: Recipe, dataset_uri: str) -> Batch:
    """The samples that every grid of a run shows: of split `val`, or of the training split where that is empty."""
    most = len(recipe.feed.reference_count_probabilities)
    shares = tuple(float(count == most - 1) for count in range(most))
    settings = replace(recipe.fed, dataset=dataset_uri, batch=recipe.grid_images, flip=False,
                       reference_count_probabilities=shares)
    dataset = open_dataset(dataset_uri)
    try:
        return Feed(dataset, replace(settings, split="val", identities=None)).batch(0)
    except DataError:
        return Feed(dataset, settings).batch(0)


@torch.no_grad()
def restore(recipe: Recipe, networks: Networks, network: Any, batch: Batch,
            device: torch.device) -> tuple[Images, dict[str, float]]:
    """Restore a batch with the sampler.

    Args:
        network: the system under autocast, as the engine holds it.

    Returns:
        uint8 [b, S, S, 3], and `sample/identity_cosine` to the target (by the training's own embedder, so not a
        judgement) and `sample/psnr` in dB.
    """
    target, given = encode(recipe, networks, batch, device)
    side, encoders = recipe.model.tokens_per_side, networks.encoders
    noise = initial_noise(list(range(len(target))), tuple(target.shape[1:]), device)
    clean = sample(lambda z, sigma: network(z, sigma, given), noise, shift_schedule(recipe.grid_steps, side * side))
    images = encoders.autoencoder.decode(clean, side, side).clamp(-1, 1)
    truth = torch.nn.functional.normalize(torch.from_numpy(batch["target_embedding"]).to(device), dim=-1)
    cosine = (identity_embedding(encoders, images, crop_matrices(batch["landmarks"])) * truth).sum(dim=-1).mean()
    error = (images - levels_to_tensor(batch["target"], device)).square().mean() / 4.0
    judged = {"sample/identity_cosine": float(cosine), "sample/psnr": float(-10.0 * torch.log10(error))}
    return tensor_to_levels(images), judged


def grid(batch: Batch, restored: Images, gap: int = 4) -> Images:
    """One picture, uint8 [H, W, 3], white between the images."""
    rows = []
    for index in range(len(restored)):
        images = [batch["degraded"][index], *batch["references"][index], restored[index], batch["target"][index]]
        padded = [np.pad(image, ((0, gap), (0, gap), (0, 0)), constant_values=255) for image in images]
        rows.append(np.concatenate(padded, axis=1))
    return np.concatenate(rows)


def write_png(path: str, image: Images) -> None:
    """Write a picture, whole or not at all."""
    done, content = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    assert done
    write_atomic(path, content.tobytes())
