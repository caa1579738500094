"""What an objective sees: a network's prediction for a noisy batch, and what can be made of it.

B pictures of this rank, one for every frame where samples are clips; tokens float [B, L, C]; sigma [B] in 0..1; S: the
model's image size in pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anchorface.faces.align import arcface_matrix
from anchorface.models.conditions import Conditions
from anchorface.models.encode import Encoders, identity_embedding
from anchorface.models.flow import clean_estimate
from anchorface.pipelines.feed.sample import Batch

Velocity = Callable[[Tensor, Tensor, Conditions], Tensor]
"""A network: noisy tokens, noise levels and conditions to the velocity."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The velocity that a network predicts, with gradients, and the point where it was asked.

    clean, noise: ends of the path; noisy: z at sigma between them. side: tokens along one side of a picture.
    loss_embedder: who looks at faces for the loss, as `encoders.embedder` does; None: that one itself.
    precision: `bf16` runs the frozen networks under autocast.
    ask: the network itself, from tokens, noise levels and conditions to a velocity; what is asked must depend on `step`
    and the recipe alone, for ranks may have to ask together. seed: the run's. step: of the optimiser.
    degraded_targets: bool [B], whose target is a degraded picture and no face to look like; None: nobody's.
    """

    velocity: Tensor
    clean: Tensor
    noise: Tensor
    noisy: Tensor
    sigma: Tensor
    encoders: Encoders
    side: int
    loss_embedder: nn.Module | None = None
    precision: str = "fp32"
    ask: Velocity | None = None
    seed: int = 0
    step: int = 0
    degraded_targets: Tensor | None = None

    def images(self, rows: Tensor) -> Tensor:
        """The decoded one-step estimates of some samples, [n, 3, S, S], about -1..1; gradients flow back."""
        return self.decoded(clean_estimate(self.noisy[rows], self.velocity[rows], self.sigma[rows]))

    def decoded(self, tokens: Tensor) -> Tensor:
        """Clean tokens [n, L, C] as pictures [n, 3, S, S], about -1..1; gradients flow back."""
        with autocast(self.precision, tokens.device):
            return self.encoders.autoencoder.decode(tokens, self.side, self.side)

    def embeddings(self, images: Tensor, landmarks: NDArray[np.float32]) -> Tensor:
        """The loss's unit embeddings [n, D] of pictures [n, 3, S, S], cut by landmarks [n, 5, 2]; gradients flow back.
        """
        return seen_by_loss(self.encoders, self.loss_embedder, self.precision, images, landmarks)


class Objective(Protocol):
    """A part of the loss.

    kind: its name in recipes (`losses.<kind>.<field>`) and in MLflow. weight: of its part; 0 leaves it out.
    """

    kind: ClassVar[str]

    @property
    def weight(self) -> float: ...

    def __call__(self, given: Conditions, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """`loss` [B], weighted, with gradients and never NaN; and what is logged, [B] each, detached, NaN where a
        picture has no such value; a clip's are the mean over its frames. The keys depend on the settings alone.

        Args:
            given: the conditions that the network saw. prediction: what it said. batch: the feed's arrays, a row for
                every picture (training.clips).
        """
        ...


def seen_by_loss(encoders: Encoders, loss_embedder: nn.Module | None, precision: str, images: Tensor,
                 landmarks: NDArray[np.float32]) -> Tensor:
    """As `Prediction.embeddings`, of its fields."""
    with autocast(precision, images.device):
        return identity_embedding(loss_embedder or encoders.embedder, images, crop_matrices(landmarks))


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which frozen networks run."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def crop_matrices(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Landmarks [n, 5, 2] in pixels to the matrices [n, 2, 3] from those pictures to the embedder's crop."""
    return np.stack([arcface_matrix(points) for points in np.asarray(landmarks)])
