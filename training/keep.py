"""How much of a degraded face a run's restorations keep (models.keep), measured when the run ends.

Held-out samples are damaged in five ways, from not at all to as the run's own profile does, and restored with their
references. A picture is worth its likeness to the truth, by the validation's judge, and its PSNR, 20 dB counting as
much as a cosine of 1; the ramp that is worth most in the mean is taken (models.keep). All our choice. The numbers are
functions of (seed, position) and the weights, as a validation's.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anchorface.degradation import apply, draw
from anchorface.faces.likeness import judge_crop
from anchorface.models.encode import looked_at
from anchorface.models.keep import Keep, best_ramp, blend, kept_of
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.pipelines.feed.sample import Sample, collate
from anchorface.records import rng
from anchorface.training.objectives.prediction import crop_matrices
from anchorface.training.preview import restored
from anchorface.training.recipes import Recipe
from anchorface.training.shares import dealt, gathered
from anchorface.training.validation import Validation

SHARES = np.linspace(0.0, 1.0, 9)
PROFILES = ("gfpgan", "refldm-moderate")
SMALLEST = 4.0
"""How many times smaller a picture is made at most, before it is enlarged again."""
DECIBELS, MOST_DECIBELS = 20.0, 50.0

Images = NDArray[np.uint8]


@torch.no_grad()
def measured(validation: Validation, network: Any, rank: int = 0, world: int = 1) -> Keep | None:
    """The ramp of a run's averaged network, on every rank; all must call this. None where no judge is asked, and for
    clips, of which nothing is kept: a share of each frame's own would flicker (our choice).

    Args:
        validation: the run's. network: the system under autocast, as the engine holds it.
    """
    recipe, judge = validation.recipe, validation.judge
    count = min(recipe.validation.kept, recipe.validation.samples)
    if judge is None or not count or recipe.feed.frames > 1:
        return None
    own, rows = dealt(validation.counts[:count], rank, world), []
    for position in own:
        sample = validation.sample(position)
        truth = judge.embed(judge_crop(sample.target, sample.target_landmarks)[None])[0][0]

        def value(images: Images, sample: Sample = sample, truth: NDArray[np.float32] = truth) -> NDArray[np.float64]:
            units = judge.embed(np.stack([judge_crop(image, sample.target_landmarks) for image in images]))[0]
            errors = ((images.astype(np.float64) - sample.target) ** 2).mean(axis=(1, 2, 3))
            decibels = 10 * np.log10(255.0**2 / np.maximum(errors, 1e-3))
            return np.stack([units @ truth, np.minimum(decibels, MOST_DECIBELS)])

        rows.append(torch.stack([_worth(validation, network, sample, degraded, value)
                                 for degraded in damaged(sample.target, recipe, position)]))
    table = gathered(own, torch.stack(rows), count, world).flatten(0, 1).numpy()
    lengths, like, decibels = table[:, 0], *np.split(table[:, 1:], 2, axis=1)
    low, high = best_ramp(lengths, like + decibels / DECIBELS)
    found = Keep(low=low, high=high, pictures=len(table), judge=recipe.validation.judge,
                 before=float(like[:, -1].mean()), restored=float(like[:, 0].mean()), kept=0.0)
    return replace(found, kept=float(kept_of(like, found.share(lengths)).mean()))


def damaged(target: Images, recipe: Recipe, position: int) -> list[Images]:
    """A picture uint8 [S, S, 3] undamaged, resized, and as three profiles damage it, the recipe's last."""
    size, g = len(target), rng(recipe.seed, "keep", position)
    side = int(size / SMALLEST ** g.random())
    small = cv2.resize(target, (side, side), interpolation=cv2.INTER_AREA)
    resized = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    profiles = (*PROFILES, recipe.fed.degradations())
    return [target, resized, *(apply(target, draw(profile, g, size)) for profile in profiles)]


def _worth(validation: Validation, network: Any, sample: Sample, degraded: Images,
           value: Callable[[Images], NDArray[np.float64]]) -> Tensor:
    """The length of the degraded face's raw embedding, then likeness and PSNR where each of SHARES is kept."""
    recipe, networks, device = validation.recipe, validation.networks, validation.device
    batch = collate([replace(sample, degraded=degraded)])
    before = levels_to_tensor(batch["degraded"], device)
    after = restored(recipe, networks, network, batch, device, steps=recipe.validation.steps, seeds=[sample.position])
    length = looked_at(networks.encoders.embedder, before, crop_matrices(batch["landmarks"]))[1]
    blends = [tensor_to_levels(blend(after, before, np.array([share])))[0] for share in SHARES]
    return torch.from_numpy(np.concatenate([[float(length)], value(np.stack(blends)).ravel()])).to(device)
