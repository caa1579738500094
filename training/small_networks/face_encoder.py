"""Training of the small face encoder by masked reconstruction: of a face three patches in four are hidden, and what the
encoder makes of the rest must tell a small decoder what was in them.

In: stored wide crops, of which a random 128 px square of the 128 px scale goes in. Out: a `FaceEncoder`; the decoder is
left behind. Source: masked autoencoders (He et al. 2022); sizes are our choice.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from anchorface.faces.face_encoder import SHAPES, FaceEncoder
from anchorface.models.pixels import levels_to_tensor
from anchorface.records import derive, rng
from anchorface.training.small_networks.autoencoder import IMAGE, at_scale, squares
from anchorface.training.small_networks.people import Faces
from anchorface.training.small_networks.run import HERE, Budget, Machine, Run, Schedule, half_precision


@dataclass(frozen=True, kw_only=True)
class FaceEncoderRecipe:
    """How it is trained; all our choice.

    hidden: share of the patches that the encoder does not see. real_share: of the samples that are photographs.
    decoder_width, decoder_layers: of what is left behind.
    """

    seed: int = 51
    budget: Budget = field(default=Budget(steps=20_000, minutes=20))
    schedule: Schedule = field(default=Schedule(peak=1e-3, warmup=200))
    batch: int = 64
    hidden: float = 0.75
    real_share: float = 0.4
    decoder_width: int = 64
    decoder_layers: int = 2


class MaskedReconstruction(nn.Module):
    """Encoder and decoder as one module, so that one run trains, averages and stores both."""

    def __init__(self, recipe: FaceEncoderRecipe) -> None:
        super().__init__()
        self.encoder = FaceEncoder(SHAPES["small"])
        shape, width = self.encoder.shape, recipe.decoder_width
        self.patch, self.visible = shape.patch, round((shape.tokens - 1) * (1 - recipe.hidden))
        self.enter = nn.Linear(shape.width, width)
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.position = nn.Parameter(0.02 * torch.randn(shape.tokens, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True,
                                           norm_first=True)
        self.decoder = nn.TransformerEncoder(layer, recipe.decoder_layers, enable_nested_tensor=False)
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * shape.patch**2))

    def forward(self, images: Tensor, order: Tensor) -> Tensor:
        """The mean squared error over hidden patches, each brought to zero mean and unit variance.

        Args:
            images: [B, 3, 128, 128] in [-1, 1]. order: of the patches, [B, 64]; the first of them are seen.
        """
        vision = self.encoder.vision
        normed = self.encoder.normed(images)
        tokens = vision.embeddings(normed)
        seen = torch.cat([torch.zeros_like(order[:, :1]), 1 + order[:, : self.visible]], dim=1)
        hidden_states = vision.pre_layrnorm(_gathered(tokens, seen))
        told = self.enter(vision.encoder(inputs_embeds=hidden_states).last_hidden_state)
        filled = self.hidden.expand(len(images), len(self.position), -1).to(told.dtype)
        filled = filled.scatter(1, seen[..., None].expand_as(told), told) + self.position.to(told.dtype)
        guessed = self.leave(self.decoder(filled)[:, 1:])
        patches = rearrange(normed, "b c (h p) (w q) -> b (h w) (p q c)", p=self.patch, q=self.patch)
        mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
        error = (guessed.float() - (patches - mean) / (variance + 1e-4).sqrt()).square().mean(-1)
        return error.gather(1, order[:, self.visible :]).mean()


def _gathered(tokens: Tensor, places: Tensor) -> Tensor:
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


def draw_batch(sets: tuple[np.ndarray, np.ndarray], recipe: FaceEncoderRecipe, patches: int,
               step: int) -> tuple[np.ndarray, np.ndarray]:
    """The squares of one step, uint8 [batch, 128, 128, 3], photographs from the second set; each one's order of
    patches, int64 [batch, patches].
    """
    g = rng(recipe.seed, "face encoder", step)
    chosen = squares(sets, g, recipe.batch, IMAGE, recipe.real_share)
    return chosen, g.random((recipe.batch, patches)).argsort(axis=1)


def train(recipe: FaceEncoderRecipe, synthetic: Faces, people: Faces, work: Path,
          machine: Machine = HERE) -> FaceEncoder:
    """Train and average.

    Args:
        synthetic, people: training faces; held-out persons must not be in them.
        work: folder of the state to go on from. machine: where.
    """
    torch.manual_seed(derive(recipe.seed, "face encoder weights"))
    module = MaskedReconstruction(recipe)
    run = Run(name="face_encoder", work=work, module=module, budget=recipe.budget, schedule=recipe.schedule,
              weight_decay=0.05, betas=(0.9, 0.95), machine=machine)
    sets = at_scale(synthetic.images), at_scale(people.images)
    patches = module.encoder.shape.tokens - 1
    for chosen, order in run.batches(lambda step: draw_batch(sets, recipe, patches, step)):
        with half_precision(run.device):
            loss = module(levels_to_tensor(chosen, run.device), order)
        run.update(loss)
    run.save()
    return run.average.encoder.cpu()


@torch.no_grad()
def tokens_of(network: FaceEncoder, images: np.ndarray) -> np.ndarray:
    """Tokens float32 [N, 65, 128] of uint8 [N, 128, 128, 3]."""
    return torch.cat([network(levels_to_tensor(images[i : i + 64])) for i in range(0, len(images), 64)]).numpy()
