"""Sample grids: what the adapters restore right now, for a person's eyes.

In: a few fixed samples of the validation split, with as many references as they can have. Out: one uint8 picture,
a row per sample, three of a clip: degraded | references | restored | target; and two numbers that a curve can be drawn
of.
The ranks share the samples and restore them one by one, so pictures and numbers do not depend on how many they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anchorface.models.encode import identity_embedding
from anchorface.models.flow import shift_schedule
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.models.sampler import initial_noise, sample
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import StorageError
from anchorface.records.patience import Patience
from anchorface.records.storage import write_atomic
from anchorface.training.clips import by_frame, frames_of
from anchorface.training.degrade import degraded_on
from anchorface.training.held_out import held_out_feed
from anchorface.training.networks import Networks
from anchorface.training.objective import encode
from anchorface.training.objectives.prediction import crop_matrices
from anchorface.training.recipes import Recipe
from anchorface.training.shares import dealt, gathered

Images = NDArray[np.uint8]
MOST_WAITING = 8
"""Grids that wait for a storage; of more the oldest is given up (our choice)."""


def fixed_batch(recipe: Recipe, dataset_uri: str, device: torch.device) -> Batch:
    """The samples that every grid of a run shows: of split `val`, or of the training split where that is empty."""
    most = len(recipe.feed.reference_count_probabilities)
    shares = tuple(float(count == most - 1) for count in range(most))
    batch = degraded_on(held_out_feed(recipe, dataset_uri, recipe.grid_images, shares)[0].batch(0), device)
    return batch | {"degraded": torch.as_tensor(batch["degraded"]).cpu().numpy()}


@torch.no_grad()
def restore(recipe: Recipe, networks: Networks, network: Any, batch: Batch, device: torch.device, rank: int = 0,
            world: int = 1) -> tuple[Images, dict[str, float]]:
    """Restore a batch with the sampler; every rank calls this.

    Args:
        network: the system under autocast, as the engine holds it.

    Returns:
        On every rank: uint8 [B, S, S, 3], clips frame by frame, and `sample/identity_cosine` to the target (by the
        anchor's own embedder, so not a judgement) and `sample/psnr` in dB.
    """
    count, encoders = len(batch["position"]), networks.encoders
    own, pictures, measures = dealt([0] * count, rank, world), [], []
    for index in own:
        one = {name: array[index : index + 1] for name, array in batch.items()}
        images = restored(recipe, networks, network, one, device, steps=recipe.grid_steps, seeds=[index])
        rows = by_frame(one)
        truth = torch.nn.functional.normalize(torch.from_numpy(rows["target_embedding"]).to(device), dim=-1)
        cosine = (identity_embedding(encoders.embedder, images, crop_matrices(rows["landmarks"])) * truth).sum(dim=1)
        error = (images - levels_to_tensor(rows["target"], device)).square().mean() / 4.0
        measures.append(torch.stack([cosine.mean(), error]).double())
        pictures.append(torch.from_numpy(tensor_to_levels(images)).to(device))
    cosines, errors = gathered(own, torch.stack(measures), count, world).numpy().T
    judged = {"sample/identity_cosine": float(cosines.mean()), "sample/psnr": float(-10.0 * np.log10(errors.mean()))}
    return gathered(own, torch.stack(pictures), count, world).flatten(0, 1).numpy(), judged


@torch.no_grad()
def restored(recipe: Recipe, networks: Networks, network: Any, batch: Batch, device: torch.device, *, steps: int,
             seeds: Sequence[int]) -> Tensor:
    """A batch's pictures by the sampler, [B, 3, S, S] in -1..1, clips frame by frame.

    Args:
        steps: of the sampler. seeds: of each sample's first noise, [b], of which a clip's frames share as much as the
            system's settings say.
    """
    target, given = encode(recipe, networks, batch, device)
    side, frames = recipe.model.tokens_per_side, frames_of(batch)
    noise = initial_noise(seeds, tuple(target.shape[1:]), device, range(frames) if frames > 1 else (),
                          recipe.model.system.shared_noise)
    clean = sample(lambda z, sigma: network(z, sigma, given), noise, shift_schedule(steps, side * side))
    return networks.encoders.autoencoder.picture(clean, side, side).clamp(-1, 1)


def grid(batch: Batch, restored: Images, gap: int = 4) -> Images:
    """One picture, uint8 [H, W, 3], white between the images; of a clip its first, middle and last frame."""
    frames, rows = frames_of(batch), []
    batch, shown = by_frame(batch), sorted({0, frames // 2, frames - 1})
    for index in (first + place for first in range(0, len(restored), frames) for place in shown):
        images = [batch["degraded"][index], *batch["references"][index], restored[index], batch["target"][index]]
        padded = [np.pad(image, ((0, gap), (0, gap), (0, 0)), constant_values=255) for image in images]
        rows.append(np.concatenate(padded, axis=1))
    return np.concatenate(rows)


class Pictures:
    """Grids on their way to a storage. One that cannot be written waits; when patience is over, or `MOST_WAITING` wait
    already, it is given up with a word to the user.

    Args:
        patience: the run's. tell: takes a line for the user.
    """

    def __init__(self, patience: Patience, tell: Callable[[str], None]) -> None:
        self.patience, self.tell = patience, tell
        self._waiting: dict[str, bytes] = {}

    def add(self, path: str, image: Images) -> None:
        """One more, as PNG."""
        done, content = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
        assert done
        self._waiting[path] = content.tobytes()
        for oldest in list(self._waiting)[:-MOST_WAITING]:
            self._give_up(oldest, f"more than {MOST_WAITING} wait")

    def write(self, *, last: bool = False) -> list[str]:
        """Write what waits, each whole or not at all; those that now stand. last: what does not is given up."""
        written = []
        for path, content in list(self._waiting.items()):
            try:
                write_atomic(path, content)
            except OSError as error:
                self._failed(path, error, last=last)
                continue
            written.append(path)
            del self._waiting[path]
            self.patience.worked(path)
        return written

    def _failed(self, path: str, error: OSError, *, last: bool) -> None:
        try:
            self.patience.failed(path, error)
        except StorageError as over:
            self._give_up(path, str(over))
        else:
            if last:
                self._give_up(path, str(error))

    def _give_up(self, path: str, why: str) -> None:
        del self._waiting[path]
        self.patience.given_up(path)
        self.tell(f"warning: the sample grid {path} is not kept: {why}")
