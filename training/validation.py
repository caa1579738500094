"""Validation while a run trains: how well the network does on persons it never saw.

In: a run's networks, its dataset version, the network as it stands (the caller puts the averaged weights in). Out: a
few numbers, the same bits on every rank and at every number of ranks of equally many threads on one kind of machine.

    validation/flow                mean squared error of the velocity, over all samples and noise levels
    validation/flow/sigma_0.3      of one noise level
    validation/likeness            cosine of the restored picture to the target, by the judge
    validation/copy_rate           share of restored pictures nearer to the first reference than the target itself is
    validation/surplus             by how much, as a cosine (faces.likeness)
    validation/reward              cosine of the restored picture to its references, by the network in the loss
    validation/reward_by_judge     the same by the judge: where the first alone grows, the network in the loss is fooled
    validation/drift               of clips: how fast likeness grows (above 0) or is lost along a clip, per frame
    validation/held_out            1, or 0 where split `val` is empty and the training split stands in
    validation/seconds             what it took

Samples, their degradations, references and noise are functions of (seed, position), so two validations differ by the
weights alone. A clip's values are means over its frames; all but likeness and drift are of the samples that have
references, and missing where none has.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anchorface.faces.embed import Embedder, embedder
from anchorface.faces.likeness import judge_crop, likeness
from anchorface.faces.weights import find
from anchorface.models.flow import mix, target_velocity
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.sample import Batch, Sample, collate
from anchorface.records import ConfigurationError
from anchorface.records.hashes import sha256
from anchorface.training.clips import frames_of, over_frames
from anchorface.training.degrade import degraded_on
from anchorface.training.held_out import held_out_feed
from anchorface.training.networks import Networks
from anchorface.training.objective import encode, noise_of
from anchorface.training.objectives.flow import flow_error
from anchorface.training.objectives.prediction import seen_by_loss
from anchorface.training.preview import restored
from anchorface.training.recipes import Recipe
from anchorface.training.shares import dealt, gathered

GROUP = 4
"""Samples in a row that have equally many references; the number is drawn for each group as the feed draws it."""


class Validation:
    """The held-out samples of a run and the judge; made once, measured as often as `due` says.

    Args:
        recipe: its `validation` says what is measured. networks: the run's own. dataset_uri: the dataset version.

    Raises:
        ConfigurationError: the judge's file is that of a network in anchor or loss.
        WeightsError: the judge's file is missing or damaged. DataError: a dataset without faces.
    """

    def __init__(self, recipe: Recipe, networks: Networks, dataset_uri: str, device: torch.device) -> None:
        self.recipe, self.networks, self.device = recipe, networks, device
        settings = self.settings = recipe.validation
        self._feed: Feed | None
        self.dataset_uri = dataset_uri
        self._feed, self.held_out = held_out_feed(recipe, dataset_uri, GROUP)
        counts = [len(self._feed.sample(first).references) for first in range(0, settings.samples, GROUP)]
        self.counts = [counts[position // GROUP] for position in range(settings.samples)]
        self._samples: dict[int, Sample] = {}
        self._seen: dict[int, tuple[NDArray[np.float64], ...]] = {}
        self.judge: Embedder | None = None
        if settings.pictures:
            self.judge = embedder(settings.judge, device=str(device))
            for name in recipe.embedders:
                if self.judge.sha256 == sha256(find(name)):
                    raise ConfigurationError(f"validation.judge {settings.judge!r} is the file of {name!r}, a network "
                                             "in anchor or loss; judge with another one")

    def due(self, clock: int) -> bool:
        """Whether the step that ended at `clock` is to be validated: each `every` positions, and the last."""
        return self.recipe.due(clock, self.settings.every)

    @torch.no_grad()
    def measure(self, network: Any, rank: int = 0, world: int = 1) -> dict[str, float]:
        """The numbers that the module describes, on every rank; all must call this.

        Args:
            network: the system under autocast, as the engine holds it, with the weights that are to be judged.
        """
        begun = time.monotonic()
        values = self._flow(network, rank, world)
        if self.judge is not None:
            values |= self._likeness(network, self.judge, rank, world)
        self._feed = None  # this rank has its samples: a large dataset's table need not stay
        return values | {"validation/held_out": float(self.held_out), "validation/seconds": time.monotonic() - begun}

    def _flow(self, network: Any, rank: int, world: int) -> dict[str, float]:
        own = dealt(self.counts, rank, world)
        errors = gathered(own, torch.stack([self._errors(network, position) for position in own]), len(self.counts),
                          world).numpy()
        levels = dict(zip(self.settings.sigmas, errors.mean(axis=0).tolist(), strict=True))
        return {"validation/flow": float(errors.mean()),
                **{f"validation/flow/sigma_{sigma:g}": error for sigma, error in levels.items()}}

    def _errors(self, network: Any, position: int) -> Tensor:
        """A sample's error at each noise level, float64 [sigmas]; the noise is the same at all of them."""
        batch = self._batch(position)
        target, given = encode(self.recipe, self.networks, batch, self.device)
        frames = frames_of(batch)
        noise = noise_of(self.recipe, batch["position"], tuple(target.shape[1:]), "validation noise", frames).to(
            self.device)
        errors = []
        for sigma in self.settings.sigmas:
            level = torch.full((frames,), sigma, device=self.device)
            velocity = network(mix(target, noise, level), level, given)
            errors.append(over_frames(flow_error(velocity, target_velocity(target, noise)).double(), frames))
        return torch.cat(errors)

    def _likeness(self, network: Any, judge: Embedder, rank: int, world: int) -> dict[str, float]:
        settings = self.settings
        positions = [number * settings.samples // settings.pictures for number in range(settings.pictures)]
        own = dealt([self.counts[position] for position in positions], rank, world)
        crops, looks = [], []
        for position in (positions[item] for item in own):
            images = restored(self.recipe, self.networks, network, self._batch(position), self.device,
                              steps=settings.steps, seeds=[position])
            landmarks = self.sample(position).target_landmarks.reshape(-1, 5, 2)
            crops += [judge_crop(*pair) for pair in zip(tensor_to_levels(images), landmarks, strict=True)]
            looks.append(self._by_loss(images, landmarks))
        units = judge.embed(np.stack(crops))[0].astype(np.float64)
        rows = []
        for item, frames, seen in zip(own, units.reshape(len(own), -1, units.shape[-1]), looks, strict=True):
            targets, references, of_loss = self._judged(judge, positions[item])
            found = [likeness(*pair, references) for pair in zip(frames, targets, strict=True)]
            told = [[np.nan if value is None else float(value)
                     for value in (one.target, one.copied, one.surplus, one.mean)] for one in found]
            reward = (seen @ of_loss.T).mean() if len(of_loss) else np.nan
            rows.append([*np.mean(told, axis=0), reward, _slope([one[0] for one in told])])
        table = torch.tensor(np.array(rows), dtype=torch.float64, device=self.device)
        to_target, copied, surplus, by_judge, reward, drift = gathered(own, table, len(positions), world).numpy().T
        values = {"validation/likeness": float(to_target.mean())}
        if not np.isnan(drift).all():
            values["validation/drift"] = float(drift.mean())
        if not np.isnan(copied).all():
            values |= {"validation/copy_rate": float(np.nanmean(copied)),
                       "validation/surplus": float(np.nanmean(surplus)),
                       "validation/reward": float(np.nanmean(reward)),
                       "validation/reward_by_judge": float(np.nanmean(by_judge))}
        return values

    def _judged(self, judge: Embedder, position: int) -> tuple[NDArray[np.float64], ...]:
        """The judge's unit embeddings of a sample's frames [T, D], one for a picture, and references [R, D], and the
        references' by the network in the loss; looked at once."""
        if position not in self._seen:
            sample, size = self.sample(position), self.recipe.model.image_size
            targets = zip(sample.target.reshape(-1, size, size, 3), sample.target_landmarks.reshape(-1, 5, 2),
                          strict=True)
            pairs = [*targets, *zip(sample.references, sample.reference_landmarks, strict=True)]
            crops = np.stack([judge_crop(image, landmarks) for image, landmarks in pairs])
            units, of_targets = judge.embed(crops)[0].astype(np.float64), len(pairs) - len(sample.references)
            of_loss = self._by_loss(levels_to_tensor(np.stack(sample.references), self.device),
                                    np.stack(sample.reference_landmarks)) if sample.references else units[:0]
            self._seen[position] = units[:of_targets], units[of_targets:], of_loss
        return self._seen[position]

    def _by_loss(self, images: Tensor, landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
        """Unit embeddings [n, D] of pictures [n, 3, S, S] by the network that looks at faces in the loss."""
        units = seen_by_loss(self.networks.encoders, self.networks.loss_embedder, self.recipe.precision, images,
                             landmarks)
        return units.double().cpu().numpy()

    def sample(self, position: int) -> Sample:
        """A held-out sample, kept: a rank holds those alone that it computes."""
        if position not in self._samples:
            if self._feed is None:
                self._feed, _ = held_out_feed(self.recipe, self.dataset_uri, GROUP)
            self._samples[position] = self._feed.sample(position)
        return self._samples[position]

    def _batch(self, position: int) -> Batch:
        return degraded_on(collate([self.sample(position)]), self.device)


def _slope(values: Sequence[float]) -> float:
    """Of the line through a clip's values, per frame; NaN for a picture."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 1 else np.nan
