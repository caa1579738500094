"""A good start for the tiny autoencoder: it begins as principal components of 8x8 px patches, and learns from there.

From a random start, group normalisation keeps so small a network from the plain linear code for a long time. Here
every residual block starts as the identity; the 32 leading components run through the rest as pairs (x, -x), of
which silu(x) - silu(-x) = x makes a line again; and a pair of large constants in each normalisation group keeps its
statistics almost fixed, so that normalisation starts as a division by a known number. Training may change all of it.
"""

import numpy as np
import torch
from torch import Tensor, nn

from anchorface.models.autoencoder import Autoencoder
from anchorface.records import DataError

CONSTANT = 20.0


def components(images: np.ndarray, fold: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components of fold x fold patches.

    Args:
        images: uint8 [N, S, S, 3], S a multiple of fold.

    Returns:
        mean [3 fold^2], directions [count, 3 fold^2] (rows, largest first), deviations [count]; pixels in [-1, 1],
        channels in `pixel_unshuffle` order (colour, row, column).
    """
    n, side = len(images), images.shape[1] // fold
    patches = images.reshape(n, side, fold, side, fold, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3 * fold * fold)
    values = patches.astype(np.float32) / 127.5 - 1
    mean = values.mean(axis=0)
    spread, directions = np.linalg.eigh(np.cov((values - mean).T.astype(np.float64)))
    order = np.argsort(spread)[::-1][:count]
    return (torch.from_numpy(mean), torch.from_numpy(directions[:, order].T.astype(np.float32).copy()),
            torch.from_numpy(np.sqrt(np.maximum(spread[order], 1e-8)).astype(np.float32)))


class _Places:
    """Which channel carries what: per normalisation group two constants, then pairs (+, -) of components."""

    def __init__(self, channels: int, groups: int, count: int) -> None:
        size, each = channels // groups, -(-count // groups)
        if 2 * each + 2 > size:
            raise DataError(f"{channels} channels in {groups} groups have no room for {count} pairs and the constants")
        first = torch.arange(groups) * size
        index = torch.arange(count)
        self.plus = first[index % groups] + 2 + 2 * (index // groups)
        self.minus = self.plus + 1
        self.up, self.down = first, first + 1
        # variance in a group: two constants and `each` pairs of unit variance, over `size` channels
        self.deviation = float(np.sqrt((2 * CONSTANT**2 + 2 * each) / size))


@torch.no_grad()
def start_linear(model: Autoencoder, images: np.ndarray) -> None:
    """Set a fresh autoencoder with one level to the patches' principal components.

    Args:
        images: uint8 [N, S, S, 3], training images.
    """
    settings, vae = model.settings, model.vae
    count = settings.latent_channels
    mean, directions, deviations = components(images, settings.pixel_fold, count)
    places = _Places(settings.block_out_channels[0], settings.norm_num_groups, count)
    for block in (*vae.encoder.mid_block.resnets, *vae.decoder.mid_block.resnets, *vae.encoder.down_blocks[0].resnets,
                  *vae.decoder.up_blocks[0].resnets):
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
        block.norm1.weight.fill_(places.deviation)
        block.norm1.weight[places.up] = block.norm1.weight[places.down] = 0.1
    whiten = directions / deviations[:, None]
    _spread(vae.encoder.conv_in, places, whiten, -whiten @ mean)
    _gather(vae.encoder.conv_out, places, torch.eye(2 * count)[:, :count], torch.zeros(2 * count))
    vae.encoder.conv_out.bias[count:] = -6.0
    vae.quant_conv.weight.copy_(torch.eye(2 * count)[..., None, None])
    vae.post_quant_conv.weight.copy_(torch.eye(count)[..., None, None])
    for layer in (vae.quant_conv, vae.post_quant_conv):
        nn.init.zeros_(layer.bias)
    _spread(vae.decoder.conv_in, places, torch.eye(count), torch.zeros(count))
    _gather(vae.decoder.conv_out, places, directions.T * deviations, mean)


def _spread(layer: nn.Conv2d, places: _Places, matrix: Tensor, offset: Tensor) -> None:
    """Let a convolution write matrix @ input + offset as pairs, beside the constants; other channels start small."""
    layer.weight.mul_(0.3)
    nn.init.zeros_(layer.bias)
    for rows, sign in ((places.plus, 1.0), (places.minus, -1.0)):
        layer.weight[rows] = 0.0
        layer.weight[rows, :, 1, 1] = sign * matrix
        layer.bias[rows] = sign * offset
    for rows, value in ((places.up, CONSTANT), (places.down, -CONSTANT)):
        layer.weight[rows] = 0.0
        layer.bias[rows] = value


def _gather(layer: nn.Conv2d, places: _Places, matrix: Tensor, offset: Tensor) -> None:
    """Let a convolution after normalisation and silu read the pairs: matrix @ components + offset."""
    nn.init.zeros_(layer.weight)
    layer.weight[:, places.plus, 1, 1] = matrix * places.deviation
    layer.weight[:, places.minus, 1, 1] = -matrix * places.deviation
    layer.bias.copy_(offset)
