"""Distillation of the identity network: teachers say who invented pictures show, AdaFace's loss has the last word.

In: `Pictures` of real and invented persons with the teachers' codes, synthetic `Faces` with their names alone (the
teachers, who know photographs, tell synthetic persons apart no better than a small network that has met some).
Out: `AdaFaceNet`.

Every picture goes in twice, clean and damaged, its own colours, light and alignment each time. With f the raw feature,
u = f / |f|, t a teacher's code less the mean of all codes, made unit, and q the cosine of u to the u of the picture's
clean version (without gradient; 1 for the clean ones), the loss is the sum of

    likeness    1 - cos(W f, t) for each teacher, W a linear head that is thrown away
    certainty   |W f - t|^2: what cannot be seen is answered by less, so features of bad pictures shrink
    relations   (u_i . u_j - t_i . t_j)^2 over pairs of pictures, clean and damaged, by the first teacher
    quality     1 - correlation(|f|, q) over the batch: the norm follows quality
    identity    AdaFace's loss over the training persons, real and synthetic; it weighs most towards the end (centres
                of thousands of invented persons, each seen once in hundreds of steps, would only drift)

Sources: linear heads and cosines as usual for face embedders (EmbedDistill, 2023, for the heads); relations after
Relational Knowledge Distillation (CVPR 2019); AdaFace (CVPR 2022), whose norm follows quality by the loss alone in
millions of pictures. Certainty, quality and the mixture are our choice.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anchorface.faces.adaface import AdaFaceNet
from anchorface.records import derive, rng
from anchorface.training.small_networks.adaface_loss import AdaFaceLoss, MarginSettings
from anchorface.training.small_networks.augment import CROP, Augmentation, augmented, damaged
from anchorface.training.small_networks.corpus import ADAFACE_IDENTITIES
from anchorface.training.small_networks.embedder import rows_of, to_network
from anchorface.training.small_networks.people import Faces
from anchorface.training.small_networks.run import HERE, Budget, Machine, Run, Schedule, half_precision
from anchorface.training.small_networks.teachers import Pictures
from anchorface.training.small_networks.variety import INVENTED, VIEWS, Variety

CLEAN = Augmentation(turn=4.0, zoom=0.04, shift=1.5, point=0.7, grey=0.2, light=0.6, colour=0.4, low_resolution=0.0,
                     blur=0.0, noise=0.0, damage=0.0, cover=0.0)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of the parts of the loss. likeness, certainty: by teacher, dlib's and the second one. identity: before and after
    the recipe's `finish`.
    """

    likeness: tuple[float, float] = (1.0, 0.3)
    certainty: tuple[float, float] = (0.5, 0.15)
    relations: float = 10.0
    quality: float = 0.3
    identity: tuple[float, float] = (0.2, 0.4)


@dataclass(frozen=True, kw_only=True)
class DistilRecipe:
    """How the network is distilled.

    pictures: how many invented ones; variety: how they are drawn. identities: range of synthetic identity numbers.
    batch: pictures of each step, each of which goes in twice; own, synthetic: how many of them are photographs of
    training persons unchanged but for turn and light, and synthetic. ramp: share of the run over which AdaFace's margin
    grows; finish: after which AdaFace's loss weighs more. damage_finer: share of the damages that are done at twice the
    crop's resolution.
    """

    name: str = "adaface_small"
    architecture: str = "small"
    seed: int = 13
    pictures: int = 40_000
    variety: Variety = field(default=Variety())
    identities: tuple[int, int] = ADAFACE_IDENTITIES
    batch: int = 64
    own: int = 12
    synthetic: int = 16
    ramp: float = 0.3
    finish: float = 0.7
    damage_finer: float = 0.3
    budget: Budget = field(default=Budget(steps=7_000, minutes=100_000.0))
    schedule: Schedule = field(default=Schedule(peak=2e-3, warmup=200))
    weight_decay: float = 0.05
    weights: Weights = field(default=Weights())
    margin: MarginSettings = field(default=MarginSettings(scale=32.0))
    augmentation: Augmentation = field(default=CLEAN)


class Student(nn.Module):
    """Network, heads and class centres as one module, so that one run trains, averages and stores them.

    Args:
        classes: number of persons. codes: numbers of each teacher's code.
    """

    def __init__(self, recipe: DistilRecipe, classes: int, codes: tuple[int, ...]) -> None:
        super().__init__()
        self.network = AdaFaceNet(recipe.architecture).to(memory_format=torch.channels_last)
        self.heads = nn.ModuleList(nn.Linear(self.network.dimension, size) for size in codes)
        self.identity = AdaFaceLoss(classes, self.network.dimension, recipe.margin)


class Batch(NamedTuple):
    """One step's pictures, the clean crops before the damaged ones: crops uint8 [2 B, 112, 112, 3]; labels int64 [B],
    -1 for invented persons; numbers int64 [T] of the T pictures that teachers have seen, which come first. NumPy's
    arrays when drawn, tensors in training.
    """

    crops: Any
    labels: Any
    numbers: Any


class Chooser:
    """Draws batches: of each invented and each training person two views, of synthetic persons one photograph."""

    def __init__(self, pictures: Pictures, synthetic: Faces, recipe: DistilRecipe) -> None:
        self.pictures, self.synthetic, self.recipe = pictures, synthetic, recipe
        self.rows = rows_of(synthetic)
        self.names = list(self.rows)
        real = [str(name) for name in np.unique(pictures.person) if not name.startswith(INVENTED)]
        number = {name: len(self.names) + k for k, name in enumerate(real)}
        self.labels = np.array([number.get(str(name), -1) for name in pictures.person])
        self.classes = len(self.names) + len(real)
        own = self.labels[::VIEWS] >= 0
        self.groups = np.flatnonzero(own), np.flatnonzero(~own)

    def batch(self, step: int) -> Batch:
        """The batch of a step: the same at every call."""
        recipe, crops, labels = self.recipe, [], []
        g = rng(recipe.seed, "distil batch", step)
        wanted = recipe.own, recipe.batch - recipe.synthetic - recipe.own
        groups = np.concatenate([g.choice(among, count // 2, replace=False)
                                 for among, count in zip(self.groups, wanted, strict=True)])
        numbers = np.concatenate([VIEWS * group + g.permutation(VIEWS)[:2] for group in groups])
        for number in numbers:
            crops.append(self._versions(self.pictures.image(number), self.pictures.landmarks[number], g))
            labels.append(int(self.labels[number]))
        for person in g.choice(len(self.names), recipe.synthetic, replace=False):
            row = int(g.choice(self.rows[self.names[person]]))
            crops.append(self._versions(self.synthetic.images[row], self.synthetic.landmarks[row], g))
            labels.append(int(person))
        return Batch(np.concatenate(list(np.stack(crops, axis=1))), np.array(labels), numbers)

    def _versions(self, image: np.ndarray, landmarks: np.ndarray, g: np.random.Generator) -> np.ndarray:
        clean, worse = (augmented(image, landmarks, self.recipe.augmentation, g) for _ in range(2))
        if g.random() < self.recipe.damage_finer:
            fine = damaged(cv2.resize(worse, (2 * CROP, 2 * CROP), interpolation=cv2.INTER_CUBIC), g)
            worse = cv2.resize(fine, (CROP, CROP), interpolation=cv2.INTER_AREA)
        else:
            worse = damaged(worse, g)
        return np.stack([clean, worse])


def centred(codes: np.ndarray) -> Tensor:
    """Codes [N, D] less their mean, unit: two of dlib's are alike by .84 if they are of strangers."""
    moved = codes - codes.mean(axis=0)
    return torch.from_numpy(moved / np.linalg.norm(moved, axis=1, keepdims=True)).float()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's, of two lists [N]."""
    a, b = first - first.mean(), second - second.mean()
    return (a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-9)


def parts_of(student: Student, batch: Batch, codes: tuple[Tensor, ...], recipe: DistilRecipe,
             share: float) -> dict[str, Tensor]:
    """The parts of the loss, weighed.

    Args:
        batch: of tensors. codes: by teacher, of the pictures it has seen [T, D]. share: of the run, 0..1.
    """
    with half_precision(batch.crops.device):
        unit, norm = student.network(to_network(batch.crops))
    unit, norm, weights = unit.float(), norm.float()[:, 0], recipe.weights
    half, seen = len(batch.labels), len(batch.numbers)
    clean, worse = unit[:half], unit[half:]
    numbers = torch.arange(seen, device=unit.device)
    shown = torch.cat([numbers, half + numbers])
    feature = (unit * norm[:, None])[shown] / unit.shape[1] ** 0.5
    found = {name: unit.new_zeros(()) for name in ("likeness", "certainty")}
    for head, code, likeness, certainty in zip(student.heads, codes, weights.likeness, weights.certainty, strict=True):
        answer, target = head(feature), code.repeat(2, 1)
        found["likeness"] = found["likeness"] + likeness * (1 - functional.cosine_similarity(answer, target).mean())
        found["certainty"] = found["certainty"] + certainty * (answer - target).square().sum(1).mean()
    other = 1 - torch.eye(seen, device=unit.device).repeat(2, 1)
    other[seen:] = 1
    alike = unit[shown] @ clean[:seen].T - codes[0].repeat(2, 1) @ codes[0].T
    found["relations"] = weights.relations * (alike.square() * other).sum() / other.sum()
    quality = torch.cat([torch.ones(half, device=unit.device), (worse * clean).sum(1)]).detach()
    found["quality"] = weights.quality * (1 - correlation(norm, quality))
    labels = batch.labels.repeat(2)
    known = labels >= 0
    weight = weights.identity[int(share >= recipe.finish)]
    found["identity"] = weight * student.identity(
        unit[known], norm[known, None], labels[known], min(1.0, share / recipe.ramp))
    return found


def train(recipe: DistilRecipe, pictures: Pictures, synthetic: Faces, work: Path,
          machine: Machine = HERE) -> AdaFaceNet:
    """Distil, finish, average.

    Args:
        pictures: see `teachers.read_pictures`. synthetic: the recipe's identities. work: folder of the state. machine:
            where.
    """
    chooser = Chooser(pictures, synthetic, recipe)
    codes = tuple(centred(code) for code in pictures.codes.values())
    torch.manual_seed(derive(recipe.seed, "distil weights"))
    student = Student(recipe, chooser.classes, tuple(code.shape[1] for code in codes)).train()
    run = Run(name=recipe.name, work=work, module=student, budget=recipe.budget, schedule=recipe.schedule,
              weight_decay=recipe.weight_decay, decay=0.998, machine=machine)
    codes = tuple(code.to(run.device) for code in codes)
    for batch in run.batches(chooser.batch):
        parts = parts_of(student, batch, tuple(code[batch.numbers] for code in codes), recipe, run.settled)
        run.update(torch.stack(list(parts.values())).sum(), clip=5.0, **parts)
    run.save()
    return run.average.network.cpu()
