"""A decoder without seams: more training of the tiny autoencoder's decoder, on tokens that the base restorer predicts.

A restorer's tokens are right one by one and do not fit each other at their borders; a decoder that saw encoded pictures
alone draws what it is told, and a step stands between the 16 px tokens. Here half of each batch is what the base says
of a damaged face at some noise level, z0 = z_sigma - sigma u, and the decoder is to give the true face; the other half
is the face's own tokens. Encoder and whitening stay as they are, so tokens keep their meaning and the base its weights.

In: wide crops as in `people`, the autoencoder, the base. Out: the autoencoder with another decoder. All our choice.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory, velocity
from anchorface.models.configuration import tiny
from anchorface.models.flow import mix
from anchorface.models.pixels import levels_to_tensor
from anchorface.records import rng
from anchorface.training.small_networks.autoencoder import differences
from anchorface.training.small_networks.base import BaseRecipe, view
from anchorface.training.small_networks.people import Faces
from anchorface.training.small_networks.run import HERE, Budget, Machine, Run, Schedule, half_precision


@dataclass(frozen=True, kw_only=True)
class DecoderRecipe:
    """How it is trained.

    batch: faces of a step, each once by its own tokens and once by predicted ones. real_share: of the faces that are
    photographs. noisiest: greatest noise level, drawn evenly from 0; full_noise: share of faces at level 1, where the
    one-step mean estimate stands. square, gradient: as for the autoencoder. border: weight of the error of steps across
    the tokens' borders alone.
    """

    seed: int = 51
    budget: Budget = field(default=Budget(steps=6000, minutes=25))
    schedule: Schedule = field(default=Schedule(peak=1e-4, warmup=50))
    batch: int = 3
    real_share: float = 0.5
    noisiest: float = 0.8
    full_noise: float = 0.15
    square: float = 4.0
    gradient: float = 0.3
    border: float = 1.0
    views: BaseRecipe = field(default=BaseRecipe(damages=1))


def border_error(decoded: Tensor, images: Tensor, stride: int) -> Tensor:
    """Mean absolute error of the steps between pixels on both sides of the tokens' borders.

    Args:
        decoded, images: [B, 3, H, W]. stride: pixels of a token's side.
    """
    down, across = (second - first for first, second in zip(differences(decoded), differences(images), strict=True))
    return down[..., stride - 1 :: stride, :].abs().mean() + across[..., stride - 1 :: stride].abs().mean()


@torch.no_grad()
def predicted(backbone: nn.Module, text: TextMemory, clean: Tensor, damaged: Tensor, noise: Tensor,
              sigma: Tensor) -> Tensor:
    """What the base takes for the clean tokens: z_sigma - sigma u, each [B, L, C]; sigma [B]."""
    noisy = mix(clean, noise, sigma)
    with half_precision(clean.device):
        found = velocity(backbone, noisy, sigma, text(len(clean)), damaged, ())
    return noisy - sigma[:, None, None] * found.float()


def train(recipe: DecoderRecipe, model: Autoencoder, backbone: nn.Module, synthetic: Faces, people: Faces,
          work: Path, machine: Machine = HERE) -> Autoencoder:
    """Train the decoder and average it.

    Args:
        model: is changed. synthetic, people: training faces; held-out persons must not be in them.
        work: folder of the state to go on from. machine: where.
    """
    settings = tiny()
    text = TextMemory.fixed(settings.backbone, settings.text_seed)
    side, stride = settings.tokens_per_side, settings.autoencoder.token_stride
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("vae.decoder.", "vae.post_quant_conv.")))
    run = Run(name="decoder", work=work, module=model.to(memory_format=torch.channels_last), budget=recipe.budget,
              schedule=recipe.schedule, weight_decay=0.0, machine=machine)
    backbone, text = backbone.to(run.device), text.to(run.device)
    sets, shape = (synthetic.images, people.images), (recipe.batch, side * side, settings.backbone.in_channels)

    def made(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        g = rng(recipe.seed, "decoder", step)
        pairs = []
        for _ in range(recipe.batch):
            images = sets[int(g.random() < recipe.real_share)]
            image = images[int(g.integers(len(images)))]
            pairs.append(view(image, bool(g.random() < 0.5), recipe.views, int(g.integers(2**31))))
        sigma = g.uniform(0.0, recipe.noisiest, recipe.batch).astype(np.float32)
        sigma[g.random(recipe.batch) < recipe.full_noise] = 1.0
        return np.stack(pairs), sigma, g.standard_normal(shape, dtype=np.float32)

    for seen, sigma, noise in run.batches(made):
        truth = levels_to_tensor(seen[:, 0], run.device)
        with torch.no_grad():
            clean, damaged = model.encode(torch.cat([truth, levels_to_tensor(seen[:, 1], run.device)])).chunk(2)
        tokens = torch.cat([clean, predicted(backbone, text, clean, damaged, noise, sigma)])
        with half_precision(run.device):
            decoded = model.decode(tokens, side, side)
        target = torch.cat([truth, truth])
        plain = functional.l1_loss(decoded, target)
        edges = sum(functional.l1_loss(a, b) for a, b in zip(differences(decoded), differences(target), strict=True))
        border = border_error(decoded, target, stride)
        run.update(plain + recipe.square * functional.mse_loss(decoded, target) + recipe.gradient * edges
                   + recipe.border * border, l1=plain, border=border)
    run.save()
    return run.average.cpu()
