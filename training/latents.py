"""Filling a cache of latents: the frozen autoencoder's tokens of every clean face of a split, encoded once.

In: a recipe whose `latents` says where, an opened dataset version and the recipe's autoencoder. Out: the folder that
`pipelines.feed.latents.Latents` reads. Degraded pictures are drawn anew for every sample and encoded by the training.

A part is a shard of the dataset; those that stand there are left as they are, so filling again after a kill goes on.
Pictures are encoded in batches of BATCH, the last one filled up, so no part depends on how the work was divided; where
the precision is `fp32`, tokens are float32 and differ from those of a training batch only as convolutions of another
batch size round; where it is `bf16`, they are kept as float16, three bits finer than what bfloat16 tells apart.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anchorface.models.autoencoder import Autoencoder
from anchorface.models.pixels import levels_to_tensor
from anchorface.pipelines.feed.dataset import Dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.latents import DESCRIPTION, TYPES, faces_hash, part_name, shard_rows
from anchorface.records import DataError
from anchorface.records.patience import Patience
from anchorface.records.state import read_state
from anchorface.records.storage import exists, join, write_atomic, writing
from anchorface.training.objectives.prediction import autocast
from anchorface.training.recipes import Recipe

BATCH = 16
IN_DATASET = "dataset"
FORMAT = 2


def fill_latents(recipe: Recipe, dataset: Dataset, autoencoder: Autoencoder, device: torch.device, *, rank: int = 0,
                 world: int = 1, report: Callable[[str], None] | None = None,
                 patience: Patience | None = None) -> str:
    """Encode what is missing of a recipe's latents; every rank takes every world-th part.

    Args:
        recipe: `latents` is `dataset` for the version's own folder, where an erasure takes the latents along with the
            version, or a URI; there they stand below the version's id, and whoever erases a person deletes them.
        autoencoder: the recipe's, on `device`.
        rank, world: all ranks must have come back before one of them reads.
        report: takes a line for each part.
        patience: for how long a part may wait for a full disk or a store that is away; none by default.

    Returns:
        The cache's folder: its name holds the hash of all that tokens depend on, so that another autoencoder, size,
        precision or version has another folder.

    Raises:
        DataError: another description in that folder, or a damaged crop. StorageError: it cannot be written.
    """
    told = _description(recipe, dataset, autoencoder)
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    base = join(dataset.uri, "latents") if recipe.latents == IN_DATASET else join(recipe.latents, dataset.manifest_id)
    folder = join(base, key)
    description = join(folder, DESCRIPTION)
    if exists(description) and read_state(description, dict[str, Any]) != told:
        raise DataError(f"{description}: describes latents of other weights or pictures; delete the folder and fill it "
                        "again")
    feed, patience = Feed(dataset, recipe.fed), patience or Patience()
    numbers = np.unique(dataset.table.shards[feed.rows])[rank::world].tolist()
    for done, number in enumerate(numbers, 1):
        place = join(folder, part_name(dataset, number))
        if not exists(place):
            tokens = partial(_encoded, recipe, feed, autoencoder, device, number)
            patience.persist(place, partial(_write_part, place, told, dataset, number, tokens))
            if report is not None:
                report(f"latents: part {done} of {len(numbers)}{f' of rank {rank}' if world > 1 else ''}")
    text = json.dumps(told, sort_keys=True, indent=1).encode()
    patience.persist(description, partial(write_atomic, description, text))
    return folder


def weights_hash(autoencoder: Autoencoder) -> str:
    """SHA-256 of an autoencoder's weights, by name."""
    total = hashlib.sha256()
    for name, tensor in sorted(autoencoder.state_dict().items()):
        total.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _description(recipe: Recipe, dataset: Dataset, autoencoder: Autoencoder) -> dict[str, Any]:
    side, channels = recipe.model.tokens_per_side, recipe.model.backbone.in_channels
    return {
        "format": FORMAT, "weights": weights_hash(autoencoder), "manifest_id": dataset.manifest_id,
        "size": recipe.model.image_size, "precision": recipe.precision, "batch": BATCH,
        "type": "F32" if recipe.precision == "fp32" else "F16",
        "shape": [1 + recipe.feed.flip, side * side, channels],
    }


@torch.no_grad()
def _encoded(recipe: Recipe, feed: Feed, autoencoder: Autoencoder, device: torch.device,
             number: int) -> Iterator[NDArray[np.float32]]:
    """The tokens of a shard's faces in order, BATCH pictures at a time, [n, L, C]."""
    ways = (False, True) if recipe.feed.flip else (False,)
    wanted = [(row, mirrored) for row in shard_rows(feed.dataset, number) for mirrored in ways]
    for first in range(0, len(wanted), BATCH):
        pictures = np.stack([feed.picture(row, mirrored)[0] for row, mirrored in wanted[first : first + BATCH]])
        filled = np.concatenate([pictures, np.zeros((BATCH - len(pictures), *pictures.shape[1:]), np.uint8)])
        with autocast(recipe.precision, device):
            tokens = autoencoder.encode(levels_to_tensor(filled, device)).float()
        yield tokens[: len(pictures)].cpu().numpy()


def _write_part(uri: str, told: dict[str, Any], dataset: Dataset, number: int,
                tokens: Callable[[], Iterator[NDArray[np.float32]]]) -> None:
    """A shard's safetensors file, streamed, whole or not at all; its header holds the SHA-256 of the tokens."""
    kind, shape = TYPES[told["type"]], [len(shard_rows(dataset, number)), *told["shape"]]
    said: dict[str, Any] = {
        "__metadata__": {"faces": faces_hash(dataset, number), "sha256": "0" * 64},
        "tokens": {"dtype": told["type"], "shape": shape,
                   "data_offsets": [0, int(np.prod(shape)) * kind.itemsize]}}
    with writing(uri) as file:
        file.write(header_bytes(said))
        total = hashlib.sha256()
        for some in tokens():
            content = some.astype(kind).tobytes()
            total.update(content)
            file.write(content)
        file.seek(0)
        said["__metadata__"]["sha256"] = total.hexdigest()
        file.write(header_bytes(said))


def header_bytes(said: dict[str, Any]) -> bytes:
    """The beginning of a safetensors file: the header's length and the header, padded."""
    header = json.dumps(said).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header
