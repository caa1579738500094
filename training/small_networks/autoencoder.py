"""Training of the tiny autoencoder: 128 px faces as 64 tokens of 128 numbers, and back.

In: stored wide crops, of which a random 128 px square of the 128 px scale goes in. (Smaller squares give more steps,
but group normalisation sees other statistics in them: 64 px squares cost 2.5 dB at 128 px.)
Out: an `Autoencoder` with whitening statistics.
"""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from anchorface.models.autoencoder import Autoencoder
from anchorface.models.configuration import tiny
from anchorface.models.pixels import levels_to_tensor
from anchorface.records import derive, rng
from anchorface.training.small_networks.linear_start import start_linear
from anchorface.training.small_networks.people import MARGIN, Faces
from anchorface.training.small_networks.run import HERE, Budget, Machine, Run, Schedule, half_precision

IMAGE = 128
STORED = round(IMAGE * MARGIN)


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """How it is trained; all our choice.

    square: weight of the squared error beside the absolute one. gradient: of the loss on differences of neighbours.
    kl: of the divergence, per latent number. noise: standard deviation of the noise on the latents, in their own
    deviations: the decoder must bear a restorer's small errors. real_share: of the samples that are photographs.
    evenness: how far whitening goes; see `whiten`.
    """

    seed: int = 31
    budget: Budget = field(default=Budget(steps=2000, minutes=6))
    schedule: Schedule = field(default=Schedule(peak=2e-4, warmup=100))
    batch: int = 3
    patch: int = 128
    square: float = 4.0
    gradient: float = 0.3
    kl: float = 1e-6
    noise: float = 0.03
    real_share: float = 0.5
    evenness: float = 0.5


def at_scale(images: np.ndarray) -> np.ndarray:
    """Wide crops [N, 176, 176, 3] at the scale of the 128 px crop, uint8 [N, 141, 141, 3]."""
    return np.stack([cv2.resize(image, (STORED, STORED), interpolation=cv2.INTER_AREA) for image in images])


def middle(images: np.ndarray) -> np.ndarray:
    """The 128 px FFHQ crops in the middle of `at_scale` images."""
    edge = (STORED - IMAGE) // 2
    return images[:, edge : edge + IMAGE, edge : edge + IMAGE]


def decibels(first: Tensor, second: Tensor) -> float:
    """Mean PSNR over images in [-1, 1], dB."""
    error = ((first.clamp(-1, 1) - second) / 2).square().mean((1, 2, 3))
    return float((-10 * error.clamp_min(1e-10).log10()).mean())


def differences(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def loss_of(model: Autoencoder, images: Tensor, noise: Tensor, recipe: AutoencoderRecipe) -> tuple[Tensor, Tensor]:
    """The loss and the mean absolute error of one batch."""
    with half_precision(images.device):
        mean, log_variance = model.posterior(images)
        spread = mean.detach().float().std(dim=(0, 2, 3), keepdim=True)
        decoded = model.decode_latents(mean + recipe.noise * spread * noise)
    decoded, mean, log_variance = decoded.float(), mean.float(), log_variance.float().clamp(-30, 20)
    plain = functional.l1_loss(decoded, images)
    square = functional.mse_loss(decoded, images)
    edges = sum(functional.l1_loss(a, b) for a, b in zip(differences(decoded), differences(images), strict=True))
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return plain + recipe.square * square + recipe.gradient * edges + recipe.kl * divergence, plain


def patches(sets: tuple[np.ndarray, np.ndarray], recipe: AutoencoderRecipe, step: int) -> np.ndarray:
    """The squares of one step, uint8 [batch, patch, patch, 3]: photographs from the second set."""
    return squares(sets, rng(recipe.seed, "autoencoder", step), recipe.batch, recipe.patch, recipe.real_share)


def squares(sets: tuple[np.ndarray, np.ndarray], g: np.random.Generator, count: int, side: int,
            real_share: float) -> np.ndarray:
    """Random squares of `at_scale` images, half of them mirrored, uint8 [count, side, side, 3]: photographs, the
    share `real_share`, from the second set.
    """
    chosen = []
    for _ in range(count):
        images = sets[int(g.random() < real_share)]
        top, left = g.integers(0, STORED - side + 1, 2)
        square = images[int(g.integers(len(images)))][top : top + side, left : left + side]
        chosen.append(square[:, ::-1] if g.random() < 0.5 else square)
    return np.stack(chosen)


def train(recipe: AutoencoderRecipe, synthetic: Faces, people: Faces, work: Path,
          machine: Machine = HERE) -> Autoencoder:
    """Train, average, whiten.

    Args:
        synthetic, people: training faces; held-out persons must not be in them.
        work: folder of the state to go on from. machine: where.
    """
    torch.manual_seed(derive(recipe.seed, "autoencoder weights"))
    model = Autoencoder(tiny().autoencoder).to(memory_format=torch.channels_last)
    run = Run(name="autoencoder", work=work, module=model, budget=recipe.budget, schedule=recipe.schedule,
              weight_decay=0.0, machine=machine)
    sets = at_scale(synthetic.images), at_scale(people.images)
    if run.step == 0:
        start_linear(model, np.concatenate([middle(sets[0][:: max(1, len(sets[0]) // 400)]), middle(sets[1])]))
    tokens = (recipe.batch, tiny().backbone.in_channels, recipe.patch // 16, recipe.patch // 16)

    def made(step: int) -> tuple[np.ndarray, Tensor]:
        generator = torch.Generator().manual_seed(derive(recipe.seed, "latent noise", step))
        return patches(sets, recipe, step), torch.randn(tokens, generator=generator)

    for images, noise in run.batches(made):
        loss, plain = loss_of(model, levels_to_tensor(images, run.device), noise, recipe)
        run.update(loss, l1=plain)
    run.save()
    finished = run.average.cpu()
    whiten(finished, middle(np.concatenate([sets[0][:: max(1, len(sets[0]) // 400)], sets[1]])), recipe.evenness)
    return finished


@torch.no_grad()
def whiten(model: Autoencoder, images: np.ndarray, evenness: float = 1.0) -> None:
    """Measure the latent channels over images uint8 [N, 128, 128, 3] and store mean and scale.

    A channel's weight is what it does to pixels: the RMS change of a decoded picture when the channel is moved by its
    own deviation. Tokens get deviations in proportion to weight ** (1 - evenness), with a mean square of 1 over all
    channels. At 1 all channels are equally strong, and noise drowns a patch's colour as early as its finest texture;
    below 1 colour and coarse shape stay readable longer, and a sampler settles them first (our choice).
    """
    latents = torch.cat([model.posterior(levels_to_tensor(images[i : i + 16]))[0] for i in range(0, len(images), 16)])
    mean, variance = latents.mean((0, 2, 3)), latents.var((0, 2, 3))
    some = latents[:: max(1, len(latents) // 16)]
    plain = model.decode_latents(some)
    weight = torch.empty_like(mean)
    for channel, deviation in enumerate(variance.sqrt()):
        moved = some.clone()
        moved[:, channel] += deviation
        weight[channel] = (model.decode_latents(moved) - plain).square().mean().sqrt()
    strength = weight.square() ** (1 - evenness)
    model.set_whitening(mean, variance * strength.mean() / strength)


@torch.no_grad()
def reconstruct(model: Autoencoder, images: np.ndarray) -> Tensor:
    """Encode and decode uint8 [N, 128, 128, 3]; float [N, 3, 128, 128]."""
    side = IMAGE // 16
    return torch.cat([model.decode(model.encode(levels_to_tensor(images[i : i + 16])), side, side)
                      for i in range(0, len(images), 16)])  # fmt: skip
