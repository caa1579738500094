"""Training of the tiny base restorer: the bare backbone on [scene; degraded; references] with the fixed prompt.

It stands in for FLUX.2-klein-base, which was trained to edit with several reference pictures and has them in its
context; so the base learns here, by flow matching alone, that pictures after the degraded one may show the same
person. It has no anchor, no identity loss and no idea of a good reference: those are the restorer's.

Tokens are made first (the pool): jittered views of every face, clean and damaged, encoded by the frozen autoencoder,
float16 [n, 64, 128], in shards whose content depends on (seed, number) alone. A sample is a view, one of its damaged
versions, and views of other photographs of the same person, always with new noise and a new sigma. In some samples the
other photographs are a stranger's, and some damages are light or none: what a reference or a sound input says must be
weighed, not taken.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anchorface.degradation import apply, draw
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory, build_backbone, velocity
from anchorface.models.configuration import tiny
from anchorface.models.flow import logit_normal_sigma, mix, shift_schedule, target_velocity
from anchorface.models.pixels import levels_to_tensor, tensor_to_levels
from anchorface.models.sampler import initial_noise, mean_estimate, sample
from anchorface.records import derive, rng
from anchorface.training.small_networks.augment import graded
from anchorface.training.small_networks.autoencoder import IMAGE
from anchorface.training.small_networks.people import MARGIN, SIDE, Faces
from anchorface.training.small_networks.run import HERE, Budget, Machine, Run, Schedule, half_precision, place

SHARD = 500
DAMAGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "none": lambda crop, g: crop, "graded": graded}
"""What a recipe may name beside the profiles: no damage, and one kind alone of any strength."""


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """How the base is trained; all our choice.

    invented: how many persons are joined from two real ones. views: of each synthetic, each real and each invented
    photograph in the pool, even numbers: half of them mirrored. damages: damaged versions of each view. references:
    probabilities of 0, 1, 2, 3 references in a batch. shares: of the samples that are synthetic, real and invented,
    where these have so many other photographs of the person. strangers: share of the samples with references whose
    references are of another person. profiles: with their weights, `DAMAGES` among them.
    turn (degrees), zoom (share), shift (pixels): jitter of the crops.
    sigma_mean, sigma_deviation: of the logit-normal noise levels; full_noise: share of samples at sigma 1
    exactly, where the one-step mean estimate starts. empty: share of samples with the empty prompt.
    muon: whether Muon trains the blocks' matrices.
    """

    seed: int = 41
    invented: int = 1200
    views: tuple[int, int, int] = (4, 24, 6)
    damages: int = 3
    references: tuple[float, ...] = (0.3, 0.3, 0.1, 0.3)
    shares: tuple[float, float, float] = (0.5, 0.2, 0.3)
    strangers: float = 0.1
    profiles: tuple[tuple[str, float], ...] = (
        ("refldm-severe", 0.38), ("refldm-train", 0.24), ("refldm-moderate", 0.08), ("gfpgan", 0.06),
        ("codeformer", 0.06), ("graded", 0.12), ("none", 0.06))
    turn: float = 4.0
    zoom: float = 0.05
    shift: float = 3.0
    sigma_mean: float = 0.2
    sigma_deviation: float = 1.0
    full_noise: float = 0.12
    empty: float = 0.1
    budget: Budget = field(default=Budget(steps=40000, minutes=75))
    schedule: Schedule = field(default=Schedule(peak=1.5e-3, warmup=200))
    batch: int = 32
    muon: bool = True


@dataclass(frozen=True)
class Pool:
    """Which view is of whom. View numbers run over all views of all photographs; the tokens stand in that order.

    photo, person: int [n], numbers of photograph and person. mirrored: bool [n]. kind: int [n], 0 synthetic, 1 real,
    2 invented.
    clean: float16 [n, 64, 128]; damaged: float16 [n, damages, 64, 128]; both empty until `read_pool`.
    """

    photo: np.ndarray
    person: np.ndarray
    mirrored: np.ndarray
    kind: np.ndarray
    clean: Tensor = field(default_factory=lambda: torch.empty(0))
    damaged: Tensor = field(default_factory=lambda: torch.empty(0))

    def __len__(self) -> int:
        return len(self.photo)


def views_of(sets: tuple[Faces, ...], recipe: BaseRecipe) -> Pool:
    """The pool's views, without tokens. sets: synthetic, real, invented."""
    _, person = np.unique(np.concatenate([faces.person for faces in sets]), return_inverse=True)
    kind = np.repeat(np.arange(len(sets)), [len(faces) for faces in sets])
    count = np.array(recipe.views)[kind]
    photo = np.repeat(np.arange(len(count)), count)
    turn = np.concatenate([np.arange(n) for n in count])
    return Pool(photo, person[photo], turn % 2 == 1, kind[photo])


def apart(invented: Faces) -> Faces:
    """Of each invented person the two pictures that share no photograph: else the better part of one would be the
    other's, and a restorer would learn to copy.
    """
    return invented.select(np.array([first == second for first, second in (role.split("+") for role in invented.role)]))


def crop_of(image: np.ndarray, mirrored: bool, recipe: BaseRecipe, g: np.random.Generator) -> np.ndarray:
    """A jittered 128 px FFHQ crop from a wide crop, uint8 [128, 128, 3]."""
    turn, zoom = np.radians(g.uniform(-recipe.turn, recipe.turn)), np.exp(g.uniform(-recipe.zoom, recipe.zoom))
    shift = g.uniform(-recipe.shift, recipe.shift, 2)
    scale = zoom * IMAGE * MARGIN / SIDE
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if mirrored:
        linear[:, 0] *= -1
    middle = np.full(2, (SIDE - 1) / 2)
    matrix = np.column_stack([linear, (IMAGE - 1) / 2 + shift - linear @ middle])
    # drawn twice as large and averaged, as faces.align.warp does, so that nothing aliases
    double = np.column_stack([2 * matrix[:, :2], 2 * matrix[:, 2] + 0.5])
    drawn = cv2.warpAffine(image, double, (2 * IMAGE, 2 * IMAGE), flags=cv2.INTER_CUBIC,
                           borderMode=cv2.BORDER_REFLECT_101)
    return cv2.resize(drawn, (IMAGE, IMAGE), interpolation=cv2.INTER_AREA)


def view(image: np.ndarray, mirrored: bool, recipe: BaseRecipe, number: int) -> np.ndarray:
    """View `number` of a wide crop, and its damaged versions, uint8 [1 + damages, 128, 128, 3]."""
    g = rng(recipe.seed, "base view", number)
    clean = crop_of(image, mirrored, recipe, g)
    names, weights = zip(*recipe.profiles, strict=True)
    found = [clean]
    for _ in range(recipe.damages):
        profile = names[int(g.choice(len(names), p=np.array(weights) / sum(weights)))]
        found.append(DAMAGES[profile](clean, g) if profile in DAMAGES else apply(clean, draw(profile, g, IMAGE)))
    return np.stack(found)


@torch.no_grad()
def encode(autoencoder: Autoencoder, images: np.ndarray) -> Tensor:
    """Tokens [N, 64, 128] of uint8 [N, 128, 128, 3], on the autoencoder's device."""
    device = next(autoencoder.parameters()).device
    return torch.cat([autoencoder.encode(levels_to_tensor(images[i : i + 20], device))
                      for i in range(0, len(images), 20)])


def pool_folder(recipe: BaseRecipe, work: Path) -> Path:
    """Where the pool of a recipe lies: another recipe's views are other views."""
    drawn = (recipe.invented, recipe.views, recipe.damages, recipe.profiles, recipe.turn, recipe.zoom, recipe.shift)
    return work / f"pool-{derive(recipe.seed, repr(drawn)):016x}"


def fill_pool(recipe: BaseRecipe, sets: tuple[Faces, ...], autoencoder: Autoencoder, folder: Path,
              part: int = 0, parts: int = 1) -> Pool:
    """Make the pool's shards that are not there yet; several processes may each make their part.

    Args:
        sets: synthetic, real, invented. folder: `pool_folder`.

    Returns:
        The views, without tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    autoencoder = autoencoder.to(memory_format=torch.channels_last)
    images = np.concatenate([faces.images for faces in sets])
    pool = views_of(sets, recipe)
    shards = range(0, len(pool), SHARD)
    for shard in range(part, len(shards), parts):
        path = folder / f"{shard:04d}.npy"
        if path.is_file():
            continue
        numbers = range(shards[shard], min(shards[shard] + SHARD, len(pool)))
        crops = np.concatenate([view(images[pool.photo[n]], bool(pool.mirrored[n]), recipe, n) for n in numbers])
        tokens = encode(autoencoder, crops).half().cpu().numpy()
        draft = path.with_suffix(".part.npy")
        np.save(draft, tokens.reshape(len(numbers), 1 + recipe.damages, *tokens.shape[1:]))
        draft.rename(path)
        print(f"base  pool shard {shard + 1} of {len(shards)}", flush=True)
    return pool


def read_pool(pool: Pool, folder: Path) -> Pool:
    """The pool with its tokens."""
    shards = range(0, len(pool), SHARD)
    tokens = torch.from_numpy(np.concatenate([np.load(folder / f"{shard:04d}.npy") for shard in range(len(shards))]))
    return replace(pool, clean=tokens[:, 0], damaged=tokens[:, 1:])


class Chooser:
    """Which views make up a batch."""

    def __init__(self, pool: Pool, recipe: BaseRecipe) -> None:
        self.pool, self.recipe = pool, recipe
        self.views: dict[tuple[int, bool], np.ndarray] = {}
        photos = np.unique(pool.photo, return_index=True)
        self.photos_of: dict[int, np.ndarray] = {
            int(person): photos[0][pool.person[photos[1]] == person] for person in np.unique(pool.person)}
        for photo in photos[0]:
            mine = np.arange(*np.searchsorted(pool.photo, [photo, photo + 1]))
            self.views |= {(int(photo), side): mine[pool.mirrored[mine] == side] for side in (False, True)}
        others = np.array([len(self.photos_of[int(person)]) - 1 for person in pool.person])
        self.able = {(kind, count): np.flatnonzero((pool.kind == kind) & (others >= count))
                     for kind in range(len(recipe.shares)) for count in range(len(recipe.references))}

    def batch(self, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """View numbers of the targets [batch] and of their references [batch, count]; each reference is another
        photograph of the target's person, or all are a stranger's of the same kind; mirrored where the target is.
        """
        recipe, pool = self.recipe, self.pool
        count = int(g.choice(len(recipe.references), p=recipe.references))
        targets, references = [], []
        for _ in range(recipe.batch):
            kind = int(g.choice(len(recipe.shares), p=recipe.shares))
            able = self.able[kind, count] if len(self.able[kind, count]) else self.able[0, count]
            target = int(able[g.integers(len(able))])
            person = shown = int(pool.person[target])
            while count and shown == person and g.random() < recipe.strangers:
                shown = int(pool.person[able[g.integers(len(able))]])
            photos = self.photos_of[shown]
            chosen = g.permutation(photos[photos != pool.photo[target]])[:count]
            side = bool(pool.mirrored[target])
            targets.append(target)
            references.append([int(g.choice(self.views[int(photo), side])) for photo in chosen])
        return np.array(targets), np.array(references, dtype=np.int64).reshape(recipe.batch, count)


def train(recipe: BaseRecipe, pool: Pool, work: Path, each: Callable[[nn.Module], None] | None = None,
          every_minutes: float = 20.0, machine: Machine = HERE) -> nn.Module:
    """Train the backbone on the pool and give its weight average.

    Args:
        pool: from `read_pool`. work: folder of the state to go on from.
        each: called with the average every `every_minutes`, so that a first version exists early. machine: where.
    """
    torch.manual_seed(derive(recipe.seed, "base weights"))
    settings = tiny()
    backbone = build_backbone(settings.backbone)
    text = TextMemory.fixed(settings.backbone, settings.text_seed)
    blocks = (backbone.transformer_blocks, backbone.single_transformer_blocks) if recipe.muon else ()
    run = Run(name="base", work=work, module=backbone, budget=recipe.budget, schedule=recipe.schedule, decay=0.999,
              matrices=blocks, machine=machine)
    chooser, told = Chooser(pool, recipe), run.elapsed
    text, clean, damaged = text.to(run.device), pool.clean.to(run.device), pool.damaged.to(run.device)
    number, count = place()
    mine, shape = slice(number, None, count), (recipe.batch, *pool.clean.shape[1:])

    def made(step: int) -> tuple[np.ndarray, ...]:
        g = rng(recipe.seed, "base step", step)
        targets, others = chooser.batch(g)
        damage = g.integers(recipe.damages, size=recipe.batch)
        noise = g.standard_normal(shape, dtype=np.float32)
        levels = logit_normal_sigma(g, recipe.batch, recipe.sigma_mean, recipe.sigma_deviation)
        levels[g.random(recipe.batch) < recipe.full_noise] = 1.0
        empty = g.random(recipe.batch) < recipe.empty
        return tuple(part[mine] for part in (targets, others, damage, noise, levels, empty))

    for targets, others, damage, noise, sigma, empty in run.batches(made):
        z0, condition = clean[targets].float(), damaged[targets, damage].float()
        references = tuple(clean[column].float() for column in others.T)
        prompt = text(len(z0), empty)
        with half_precision(run.device):
            found = velocity(backbone, mix(z0, noise, sigma), sigma, prompt, condition, references)
        run.update(functional.mse_loss(found.float(), target_velocity(z0, noise)))
        if number == 0 and each is not None and run.elapsed - told > every_minutes * 60:
            told = run.elapsed
            each(copy.deepcopy(run.average).cpu())
    run.save()
    return run.average.cpu()


@torch.no_grad()
def restore(backbone: nn.Module, autoencoder: Autoencoder, images: np.ndarray,
            references: tuple[np.ndarray, ...] = (), *, steps: int = 12, mean: bool = False,
            seed: int = 0) -> np.ndarray:
    """Restore degraded crops uint8 [N, 128, 128, 3], by sampling or by the one-step mean estimate.

    Args:
        references: crops of the same persons, uint8 [N, 128, 128, 3] each.
    """
    settings = tiny()
    text = TextMemory.fixed(settings.backbone, settings.text_seed)
    side, results = settings.tokens_per_side, []
    for start in range(0, len(images), 32):
        condition, *others = (encode(autoencoder, group[start : start + 32]) for group in (images, *references))
        count = len(condition)

        def speed(z: Tensor, sigma: Tensor, condition: Tensor = condition, others: tuple[Tensor, ...] = tuple(others),
                  count: int = count) -> Tensor:
            return velocity(backbone, z, sigma, text(count), condition, others)  # type: ignore[arg-type]

        noise = initial_noise([derive(seed, "restore", start + k) for k in range(count)], tuple(condition.shape[1:]))
        tokens = mean_estimate(speed, noise) if mean else sample(speed, noise, shift_schedule(steps, side * side))
        results.append(tensor_to_levels(autoencoder.picture(tokens, side, side)))
    return np.concatenate(results)
