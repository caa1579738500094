"""Training of `judge_small`, the embedder that judges, and what trainings of embedders share.

It has nothing in common with `adaface_small`, which guides (see `distil`): another architecture, other synthetic
identities, and no real person. In: `Faces`. Out: `AdaFaceNet`, images BGR in [-1, 1].
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from anchorface.faces.adaface import AdaFaceNet
from anchorface.models.pixels import levels_to_tensor
from anchorface.records import derive, rng
from anchorface.training.small_networks.adaface_loss import AdaFaceLoss, MarginSettings
from anchorface.training.small_networks.augment import Augmentation, augmented, plain
from anchorface.training.small_networks.corpus import JUDGE_IDENTITIES
from anchorface.training.small_networks.people import Faces
from anchorface.training.small_networks.run import HERE, Budget, Machine, Run, Schedule, half_precision

ASKS_FOR_DETAIL = Augmentation(low_resolution=0.0, blur=0.0, damage=0.0, noise=0.05, cover=0.1)
"""The judge sees sharp faces only: as public recognition networks do, it then finds a blurred face unlike its person.
A judge that is trained on blur forgives it, and would rank a degraded input above every restoration."""


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """How the judge is trained.

    identities: range of synthetic identity numbers. ramp: share of the run over which the margin grows to its full size
    (our choice).
    """

    name: str = "judge_small"
    architecture: str = "judge"
    seed: int = 12
    identities: tuple[int, int] = JUDGE_IDENTITIES
    budget: Budget = field(default=Budget(steps=4000, minutes=12))
    schedule: Schedule = field(default=Schedule(peak=2e-3, warmup=100))
    weight_decay: float = 0.05
    batch: int = 64
    ramp: float = 0.3
    margin: MarginSettings = field(default=MarginSettings(scale=32.0))
    augmentation: Augmentation = field(default=ASKS_FOR_DETAIL)


def to_network(crops: np.ndarray | Tensor) -> Tensor:
    """uint8 RGB [B, 112, 112, 3] to float BGR [B, 3, 112, 112] in [-1, 1], on the device of the crops."""
    given = torch.as_tensor(crops)
    return levels_to_tensor(given.flip(-1), given.device)


class Labelled(nn.Module):
    """Network and loss as one module, so that one run trains, averages and stores both."""

    def __init__(self, network: AdaFaceNet, loss: AdaFaceLoss) -> None:
        super().__init__()
        self.network, self.loss = network, loss


def draw_batch(faces: Faces, rows: dict[str, np.ndarray], recipe: JudgeRecipe,
               step: int) -> tuple[np.ndarray, np.ndarray]:
    """The crops of one step and the numbers of their persons, each as likely as every other."""
    crops, persons, names = [], [], list(rows)
    for k in range(recipe.batch):
        g = rng(recipe.seed, "sample", step * recipe.batch + k)
        person = int(g.integers(len(names)))
        row = int(g.choice(rows[names[person]]))
        crops.append(augmented(faces.images[row], faces.landmarks[row], recipe.augmentation, g))
        persons.append(person)
    return np.stack(crops), np.array(persons)


def rows_of(faces: Faces) -> dict[str, np.ndarray]:
    """Person -> row numbers."""
    return {str(person): np.flatnonzero(faces.person == person) for person in np.unique(faces.person)}


def train(recipe: JudgeRecipe, synthetic: Faces, work: Path, machine: Machine = HERE) -> AdaFaceNet:
    """Train and average.

    Args:
        synthetic: the recipe's identities. work: folder of the state to go on from. machine: where.
    """
    rows = rows_of(synthetic)
    torch.manual_seed(derive(recipe.seed, "embedder weights"))
    network = AdaFaceNet(recipe.architecture).to(memory_format=torch.channels_last)
    module = Labelled(network, AdaFaceLoss(len(rows), network.dimension, recipe.margin)).train()
    run = Run(name=recipe.name, work=work, module=module, budget=recipe.budget, schedule=recipe.schedule,
              weight_decay=recipe.weight_decay, decay=0.995, machine=machine)
    for crops, labels in run.batches(lambda step: draw_batch(synthetic, rows, recipe, step)):
        with half_precision(run.device):
            unit, norm = network(to_network(crops))
        loss = module.loss(unit.float(), norm.float(), labels, min(1.0, run.share / recipe.ramp))
        run.update(loss, clip=5.0, norm=norm.mean())
    run.save()
    return run.average.network.cpu()


@torch.no_grad()
def embed(network: AdaFaceNet, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings float32 [N, D] and norms [N] of uint8 RGB crops [N, 112, 112, 3]."""
    network.eval()
    parts = [network(to_network(crops[i : i + 64])) for i in range(0, len(crops), 64)]
    return torch.cat([p[0] for p in parts]).numpy(), torch.cat([p[1][:, 0] for p in parts]).numpy()


def plain_crops(faces: Faces) -> np.ndarray:
    """The 112 px crops that an embedder sees in use, uint8 [N, 112, 112, 3]."""
    return np.stack([plain(image, points) for image, points in zip(faces.images, faces.landmarks, strict=True)])
