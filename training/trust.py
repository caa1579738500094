"""How far the references of a run's restorations are believed (models.trust), measured when the run ends.

Held-out samples, degraded as the run's own profile does, are compared with their references' anchor and with that of
the next sample of another person. No network of the run is asked but the anchor's.
"""

import numpy as np
import torch
from torch import Tensor

from anchorface.models.anchor import anchor
from anchorface.models.encode import identity_embedding
from anchorface.models.pixels import levels_to_tensor
from anchorface.models.trust import Trust, fitted
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.sample import collate
from anchorface.training.degrade import degraded_on
from anchorface.training.held_out import held_out_feed
from anchorface.training.objectives.prediction import crop_matrices
from anchorface.training.shares import dealt, gathered
from anchorface.training.validation import Validation


@torch.no_grad()
def measured(validation: Validation, rank: int = 0, world: int = 1) -> Trust | None:
    """What the cosines of `validation.trusted` held-out samples tell, on every rank; all must call this. None where
    that is too little, or is not asked for."""
    recipe = validation.recipe
    count, most = recipe.validation.trusted, len(recipe.feed.reference_count_probabilities) - 1
    if not count or not most:
        return None
    feed, _ = held_out_feed(recipe, validation.dataset_uri, 1, (0.0,) * most + (1.0,))
    own = dealt([0] * count, rank, world)
    table = gathered(own, torch.stack([_looked_at(validation, feed, position) for position in own]), count, world)
    faces, anchors = table.numpy().swapaxes(0, 1)
    targets = np.array([int(feed.target_rows(position)[0]) for position in range(count)])
    people = feed.dataset.columns["identity"][targets]
    shown = np.flatnonzero(~np.isnan(anchors).any(axis=1))
    strangers = [(place, next((other for other in np.roll(shown, -number - 1) if people[other] != people[place]), None))
                 for number, place in enumerate(shown)]
    return fitted((faces[shown] * anchors[shown]).sum(axis=1),
                  np.array([faces[place] @ anchors[other] for place, other in strangers if other is not None]))


def _looked_at(validation: Validation, feed: Feed, position: int) -> Tensor:
    """[2, D], float64: a degraded face's embedding, of a clip the mean of its frames', and its references' anchor, NaN
    without any."""
    device, encoders = validation.device, validation.networks.encoders
    batch = degraded_on(collate([feed.sample(position)]), device)
    images = levels_to_tensor(batch["degraded"].reshape(-1, *batch["degraded"].shape[-3:]), device)
    matrices = crop_matrices(batch["landmarks"].reshape(-1, 5, 2))
    face = identity_embedding(encoders.embedder, images, matrices).double().mean(0)
    raw = torch.from_numpy(batch["reference_embeddings"]).to(device, torch.float64)
    known = anchor(raw, encoders.temperature, encoders.quality)[0] if raw.shape[1] else torch.full_like(face, torch.nan)
    return torch.stack([face, known])
