"""Training of the two small face embedders: `adaface_small`, which guides, and `judge_small`, which judges.

They share code and nothing else: other architectures, other synthetic identities, and only `adaface_small` sees real
persons. In: `Faces`. Out: `AdaFaceNet`, images BGR in [-1, 1].
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from anchorface.faces.adaface import AdaFaceNet
from anchorface.models.pixels import levels_to_tensor
from anchorface.records import ConfigurationError, derive, rng
from anchorface.training.small_networks.adaface_loss import AdaFaceLoss, MarginSettings
from anchorface.training.small_networks.augment import Augmentation, augmented, plain
from anchorface.training.small_networks.corpus import ADAFACE_IDENTITIES, JUDGE_IDENTITIES
from anchorface.training.small_networks.people import Faces
from anchorface.training.small_networks.run import HERE, Budget, Machine, Run, Schedule, half_precision

ASKS_FOR_DETAIL = Augmentation(low_resolution=0.0, blur=0.0, damage=0.0, noise=0.05, cover=0.1)
"""The judge sees sharp faces only: as public recognition networks do, it then finds a blurred face unlike its person.
A judge that is trained on blur forgives it, and would rank a degraded input above every restoration."""


@dataclass(frozen=True, kw_only=True)
class EmbedderRecipe:
    """How one embedder is trained.

    identities: range of synthetic identity numbers. real_share, invented_share: of the samples that are photographs
    of real persons and of persons joined from two; 0 and 0 for none. ramp: share of the run over which the margin
    grows to its full size (our choice).
    """

    name: str
    architecture: str
    seed: int
    identities: tuple[int, int]
    real_share: float = 0.0
    invented_share: float = 0.0
    invented: int = 0
    budget: Budget = field(default=Budget(steps=6000, minutes=25))
    schedule: Schedule = field(default=Schedule(peak=2e-3, warmup=100))
    weight_decay: float = 0.05
    batch: int = 64
    ramp: float = 0.3
    margin: MarginSettings = field(default=MarginSettings(scale=32.0))
    augmentation: Augmentation = field(default=Augmentation())


def recipe_of(name: str) -> EmbedderRecipe:
    """The recipe of `adaface` or `judge`.

    Raises:
        ConfigurationError: another name.
    """
    if name == "adaface":
        return EmbedderRecipe(name="adaface_small", architecture="small", seed=11, identities=ADAFACE_IDENTITIES,
                              real_share=0.3, invented_share=0.25, invented=600,
                              budget=Budget(steps=6000, minutes=20))
    if name == "judge":
        return EmbedderRecipe(name="judge_small", architecture="judge", seed=12, identities=JUDGE_IDENTITIES,
                              budget=Budget(steps=4000, minutes=12), augmentation=ASKS_FOR_DETAIL)
    raise ConfigurationError(f"no embedder recipe {name!r}; known: adaface, judge")


def to_network(crops: np.ndarray | Tensor) -> Tensor:
    """uint8 RGB [B, 112, 112, 3] to float BGR [B, 3, 112, 112] in [-1, 1], on the device of the crops."""
    given = torch.as_tensor(crops)
    return levels_to_tensor(given.flip(-1), given.device)


class Labelled(nn.Module):
    """Network and loss as one module, so that one run trains, averages and stores both."""

    def __init__(self, network: AdaFaceNet, loss: AdaFaceLoss) -> None:
        super().__init__()
        self.network, self.loss = network, loss


def draw_batch(sets: tuple[Faces, ...], rows: tuple[dict[str, np.ndarray], ...], recipe: EmbedderRecipe,
               step: int) -> tuple[np.ndarray, list[str]]:
    """The crops and the persons of one step; in each set every person is as likely as every other."""
    crops, persons = [], []
    names = [list(of_set) for of_set in rows]
    shares = np.array([1 - recipe.real_share - recipe.invented_share, recipe.real_share, recipe.invented_share])
    for k in range(recipe.batch):
        g = rng(recipe.seed, "sample", step * recipe.batch + k)
        kind = int(g.choice(3, p=shares))
        person = names[kind][int(g.integers(len(names[kind])))]
        row = int(g.choice(rows[kind][person]))
        crops.append(augmented(sets[kind].images[row], sets[kind].landmarks[row], recipe.augmentation, g))
        persons.append(person)
    return np.stack(crops), persons


def rows_of(faces: Faces) -> dict[str, np.ndarray]:
    """Person -> row numbers."""
    return {str(person): np.flatnonzero(faces.person == person) for person in np.unique(faces.person)}


def train(recipe: EmbedderRecipe, synthetic: Faces, people: Faces | None, invented: Faces | None,
          work: Path, machine: Machine = HERE) -> AdaFaceNet:
    """Train and average.

    Args:
        synthetic: the recipe's identities. people: real training persons. invented: from `composites.invent`.
        work: folder of the state to go on from. machine: where.
    """
    sets = tuple(faces for faces in (synthetic, people, invented) if faces is not None)
    rows = tuple(rows_of(faces) for faces in sets)
    label = {person: k for k, person in enumerate(person for of_set in rows for person in of_set)}
    torch.manual_seed(derive(recipe.seed, "embedder weights"))
    network = AdaFaceNet(recipe.architecture).to(memory_format=torch.channels_last)
    module = Labelled(network, AdaFaceLoss(len(label), network.dimension, recipe.margin)).train()
    run = Run(name=recipe.name, work=work, module=module, budget=recipe.budget, schedule=recipe.schedule,
              weight_decay=recipe.weight_decay, decay=0.995, machine=machine)

    def made(step: int) -> tuple[np.ndarray, np.ndarray]:
        crops, persons = draw_batch(sets, rows, recipe, step)
        return crops, np.array([label[person] for person in persons])

    for crops, labels in run.batches(made):
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
