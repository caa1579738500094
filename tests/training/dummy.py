"""A system of forty lines outside models/: what the ordinary verbs need of one, and no more."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from anchorface.models.adapter import Adapter
from anchorface.models.cache import Cache
from anchorface.models.conditions import Conditions
from anchorface.models.settings import SystemSettings
from anchorface.models.stream import Hooks, stream_velocity
from anchorface.pipelines.feed.sample import Batch
from anchorface.training.objectives.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class DummySettings(SystemSettings):
    """strength: of the learned shift."""

    kind: str = "dummy"
    strength: float = 1.0


class Dummy(Adapter):
    """A learned shift of the image stream after every block."""

    settings_type: ClassVar[type[SystemSettings]] = DummySettings

    def add_pathways(self) -> None:
        blocks = self.backbone.config.num_layers + self.backbone.config.num_single_layers
        self.shift = nn.Parameter(0.01 * torch.randn(blocks, self.backbone.inner_dim))

    def forward(self, z: Tensor, sigma: Tensor, given: Conditions, cache: Cache | None = None) -> Tensor:
        kept = cache or Cache()
        kept.begin()
        strength, shift = self.settings.strength, self.shift
        hooks = Hooks(run=self.run, after=lambda block, stream, start: stream + strength * shift[block])
        return stream_velocity(self.backbone, z, sigma, given, self.layout(z, given), hooks, kept)


@dataclass(frozen=True, kw_only=True)
class Distance:
    """An objective of its own: the mean distance of the velocity, instead of its square."""

    kind: ClassVar[str] = "distance"
    weight: float = 1.0

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        apart = (prediction.velocity - (prediction.noise - prediction.clean)).abs().flatten(1).mean(dim=1)
        return {"loss": self.weight * apart, "distance": apart.detach()}
