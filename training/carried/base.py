"""Training of the tiny base restorer: the bare backbone, blind, on the layout [scene; degraded] with the fixed prompt.

Pairs of tokens are made first (the pool): target and degraded crops encoded by the frozen autoencoder, float16
[n, 64, 128] each, in shards of 500 pairs whose content depends on (seed, position) alone. Each pair is then seen
several times, always with new noise and a new sigma. Who a person is must come from references, later: the base has
none.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from degradation import apply, draw
from models.autoencoder import Autoencoder
from models.backbone import TextMemory, build_backbone, velocity
from models.configuration import tiny
from models.flow import logit_normal_sigma, mix, shift_schedule, target_velocity
from models.sampler import initial_noise, mean_estimate, sample
from records import derive, rng
from training.carried.autoencoder import IMAGE, to_images, to_tensor
from training.carried.people import MARGIN, SIDE, Faces
from training.carried.run import Budget, Run, Schedule

SHARD = 500


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """How the base is trained; all our choice.

    pairs: size of the pool. profiles: with their weights. turn (degrees), zoom (share), shift (pixels): jitter of the
    crops. sigma_mean, sigma_deviation: of the logit-normal noise levels; full_noise: share of samples at sigma 1
    exactly, where the one-step mean estimate starts. empty: share of samples with the empty prompt.
    """

    seed: int = 41
    pairs: int = 12000
    real_share: float = 0.4
    profiles: tuple[tuple[str, float], ...] = (
        ("refldm-severe", 0.4), ("refldm-train", 0.3), ("refldm-moderate", 0.1), ("gfpgan", 0.1), ("codeformer", 0.1))
    turn: float = 4.0
    zoom: float = 0.05
    shift: float = 3.0
    sigma_mean: float = 0.2
    sigma_deviation: float = 1.0
    full_noise: float = 0.12
    empty: float = 0.1
    budget: Budget = field(default=Budget(steps=12000, minutes=44))
    schedule: Schedule = field(default=Schedule(peak=1.5e-3, warmup=200))
    batch: int = 32


def crop_of(image: np.ndarray, recipe: BaseRecipe, g: np.random.Generator) -> np.ndarray:
    """A jittered 128 px FFHQ crop from a wide crop, uint8 [128, 128, 3]."""
    turn, zoom = np.radians(g.uniform(-recipe.turn, recipe.turn)), np.exp(g.uniform(-recipe.zoom, recipe.zoom))
    shift = g.uniform(-recipe.shift, recipe.shift, 2)
    scale = zoom * IMAGE * MARGIN / SIDE
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if g.random() < 0.5:
        linear[:, 0] *= -1
    middle = np.full(2, (SIDE - 1) / 2)
    matrix = np.column_stack([linear, (IMAGE - 1) / 2 + shift - linear @ middle])
    # drawn twice as large and averaged, as faces.align.warp does, so that nothing aliases
    double = np.column_stack([2 * matrix[:, :2], 2 * matrix[:, 2] + 0.5])
    drawn = cv2.warpAffine(image, double, (2 * IMAGE, 2 * IMAGE), flags=cv2.INTER_CUBIC,
                           borderMode=cv2.BORDER_REFLECT_101)
    return cv2.resize(drawn, (IMAGE, IMAGE), interpolation=cv2.INTER_AREA)


def pair(sets: tuple[Faces, Faces], recipe: BaseRecipe, position: int) -> tuple[np.ndarray, np.ndarray]:
    """Target and degraded crop of one position, uint8 [128, 128, 3] each. sets: synthetic, real."""
    g = rng(recipe.seed, "base pair", position)
    faces = sets[int(g.random() < recipe.real_share)]
    target = crop_of(faces.images[int(g.integers(len(faces)))], recipe, g)
    names, weights = zip(*recipe.profiles, strict=True)
    profile = names[int(g.choice(len(names), p=np.array(weights) / sum(weights)))]
    return target, apply(target, draw(profile, g, IMAGE))


@torch.no_grad()
def encode(autoencoder: Autoencoder, images: np.ndarray) -> Tensor:
    """Tokens [N, 64, 128] of uint8 [N, 128, 128, 3]."""
    return torch.cat([autoencoder.encode(to_tensor(images[i : i + 20])) for i in range(0, len(images), 20)])


def fill_pool(recipe: BaseRecipe, sets: tuple[Faces, Faces], autoencoder: Autoencoder, folder: Path,
              part: int = 0, parts: int = 1) -> None:
    """Make the pool's shards that are not there yet; several processes may each make their part."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(part, recipe.pairs // SHARD, parts):
        path = folder / f"{shard:04d}.npz"
        if path.is_file():
            continue
        crops = [pair(sets, recipe, shard * SHARD + k) for k in range(SHARD)]
        target, degraded = (encode(autoencoder, np.stack(side)).half().numpy() for side in zip(*crops, strict=True))
        draft = path.with_suffix(".part.npz")
        np.savez(draft, target=target, degraded=degraded)
        draft.rename(path)
        print(f"base  pool shard {shard + 1} of {recipe.pairs // SHARD}", flush=True)


def read_pool(recipe: BaseRecipe, folder: Path) -> tuple[Tensor, Tensor]:
    """All pairs, float16 [pairs, 64, 128] each."""
    shards = [np.load(folder / f"{shard:04d}.npz") for shard in range(recipe.pairs // SHARD)]
    return tuple(torch.from_numpy(np.concatenate([s[name] for s in shards])) for name in ("target", "degraded"))  # type: ignore[return-value]


def train(recipe: BaseRecipe, pool: tuple[Tensor, Tensor], work: Path,
          each: Callable[[nn.Module], None] | None = None, every_minutes: float = 8.0) -> nn.Module:
    """Train the backbone on the pool and give its weight average.

    Args:
        pool: from `read_pool`. work: folder of the state to go on from.
        each: called with the average every `every_minutes`, so that a first version exists early.
    """
    torch.manual_seed(derive(recipe.seed, "base weights"))
    settings = tiny()
    backbone = build_backbone(settings.backbone)
    text = TextMemory.fixed(settings.backbone, settings.text_seed)
    run = Run(name="base", work=work, module=backbone, budget=recipe.budget, schedule=recipe.schedule, decay=0.999)
    target, degraded = pool
    told = run.elapsed
    while run.going():
        g = rng(recipe.seed, "base step", run.step)
        rows = torch.from_numpy(g.integers(len(target), size=recipe.batch))
        z0, condition = target[rows].float(), degraded[rows].float()
        noise = torch.from_numpy(g.standard_normal(z0.shape, dtype=np.float32))
        levels = logit_normal_sigma(g, recipe.batch, recipe.sigma_mean, recipe.sigma_deviation)
        levels[g.random(recipe.batch) < recipe.full_noise] = 1.0
        sigma = torch.from_numpy(levels)
        prompt = text(recipe.batch, torch.from_numpy(g.random(recipe.batch) < recipe.empty))
        with torch.autocast("cpu", torch.bfloat16):
            found = velocity(backbone, mix(z0, noise, sigma), sigma, prompt, condition)
        run.update(functional.mse_loss(found.float(), target_velocity(z0, noise)))
        if each is not None and run.elapsed - told > every_minutes * 60:
            told = run.elapsed
            each(run.average)
    run.save()
    return run.average


@torch.no_grad()
def restore(backbone: nn.Module, autoencoder: Autoencoder, images: np.ndarray, *, steps: int = 12,
            mean: bool = False, seed: int = 0) -> np.ndarray:
    """Restore degraded crops uint8 [N, 128, 128, 3], by sampling or by the one-step mean estimate."""
    settings = tiny()
    text = TextMemory.fixed(settings.backbone, settings.text_seed)
    side, results = settings.tokens_per_side, []
    for start in range(0, len(images), 32):
        condition = encode(autoencoder, images[start : start + 32])
        count = len(condition)

        def speed(z: Tensor, sigma: Tensor, condition: Tensor = condition, count: int = count) -> Tensor:
            return velocity(backbone, z, sigma, text(count), condition)  # type: ignore[arg-type]

        noise = initial_noise([derive(seed, "restore", start + k) for k in range(count)], tuple(condition.shape[1:]))
        tokens = mean_estimate(speed, noise) if mean else sample(speed, noise, shift_schedule(steps, side * side))
        results.append(to_images(autoencoder.decode(tokens, side, side)))
    return np.concatenate(results)
