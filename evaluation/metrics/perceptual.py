"""LPIPS, DISTS and FLIP: how different two pictures look, 0 for equal ones.

In: uint8 [N, H, W, 3] RGB pictures and targets. Out: float64 [N].

torchmetrics has LPIPS and DISTS, but only beside torchvision, which cannot stand beside every build of torch. So the
two formulas stand here over plain networks, with the heads that torchmetrics carries, and tests hold them against
torchmetrics' own classes; the networks' weights are torchvision's, by name (`vgg16_imagenet`, `alexnet_imagenet`).
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files

import flip_evaluator
import numpy as np
import torch
from torch import Tensor, nn

from anchorface.evaluation.metrics.pixels import chunks
from anchorface.faces.tensors import load_state
from anchorface.faces.weights import find
from anchorface.records import WeightsError

Pairs = Callable[[np.ndarray, np.ndarray], np.ndarray]

VGG16: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of VGG16's convolutions, stage by stage."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""LPIPS' normalisation of values in -1..1."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of values in 0..1."""


def vgg16(pooled: Callable[[int], nn.Module]) -> tuple[nn.ModuleDict, tuple[tuple[str, ...], ...]]:
    """VGG16's layers under torchvision's numbers, and which make up each stage up to its last activation.

    Args:
        pooled: makes the pooling before a stage, given its channels.
    """
    layers, stages, number, width = nn.ModuleDict(), [], 0, 3
    for widths in VGG16:
        stage = []
        for place, out in enumerate(widths):
            if place == 0 and number:
                layers[str(number)], number = pooled(width), number + 1
                stage.append(str(number - 1))
            layers[str(number)], layers[str(number + 1)] = nn.Conv2d(width, out, 3, padding=1), nn.ReLU()
            stage += [str(number), str(number + 1)]
            number, width = number + 2, out
        stages.append(tuple(stage))
    return layers, tuple(stages)


def alexnet() -> tuple[nn.ModuleDict, tuple[tuple[str, ...], ...]]:
    """AlexNet's layers under torchvision's numbers, and those of each stage."""
    layers = nn.ModuleDict({
        "0": nn.Conv2d(3, 64, 11, 4, 2), "1": nn.ReLU(), "2": nn.MaxPool2d(3, 2), "3": nn.Conv2d(64, 192, 5, padding=2),
        "4": nn.ReLU(), "5": nn.MaxPool2d(3, 2), "6": nn.Conv2d(192, 384, 3, padding=1), "7": nn.ReLU(),
        "8": nn.Conv2d(384, 256, 3, padding=1), "9": nn.ReLU(), "10": nn.Conv2d(256, 256, 3, padding=1),
        "11": nn.ReLU(),
    })
    return layers, (("0", "1"), ("2", "3", "4"), ("5", "6", "7"), ("8", "9"), ("10", "11"))


class Stages(nn.Module):
    """The activations at the end of each stage of a network of layers."""

    def __init__(self, layers: nn.ModuleDict, stages: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.layers, self.stages = layers, stages

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [B, 3, H, W], normalised. Returns one [B, C, h, w] a stage."""
        found = []
        for stage in self.stages:
            for name in stage:
                x = self.layers[name](x)
            found.append(x)
        return found

    def load(self, name: str) -> "Stages":
        """Take the weights of that name: torchvision's whole network, of which the first layers are used.

        Raises:
            WeightsError: missing, or of another shape.
        """
        path = find(name)
        state = {key.removeprefix("features."): value for key, value in load_state(path).items()}
        try:
            self.layers.load_state_dict({key: state[key] for key in self.layers.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise WeightsError(f"{path}: not the network of {name}: {str(error).splitlines()[0]}") from error
        return self


class Lpips(nn.Module):
    """Learned perceptual distance. Source: Zhang et al., CVPR 2018: over the stages, the head's weighted sum of squared
    differences of unit-length activations, averaged over the picture.
    """

    def __init__(self, network: Stages, heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ParameterList([nn.Parameter(head, requires_grad=False) for head in heads])
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """one, other: [B, 3, H, W] in 0..1. Returns [B]."""
        total = one.new_zeros(len(one))
        for a, b, head in zip(self._units(one), self._units(other), self.heads, strict=True):
            total = total + ((a - b).square() * head).sum(dim=1).mean(dim=(1, 2))
        return total

    def _units(self, x: Tensor) -> Iterator[Tensor]:
        for found in self.network((2 * x - 1 - self.shift) / self.scale):
            yield found / (found.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()


class RootPooling(nn.Module):
    """Pooling of DISTS: the root of the squares' Hann-weighted mean over 3 x 3, every second pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64)
        window = torch.outer(line, line) / 4
        self.register_buffer("window", window.float().repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (nn.functional.conv2d(x.square(), self.window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class Dists(nn.Module):
    """Deep structure and texture similarity. Source: Ding et al., TPAMI 2020: over pixels and stages, 1 minus the
    weighted likeness of the channels' means (texture, alpha) and of their covariances (structure, beta).
    """

    def __init__(self, network: Stages, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.network = network
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha.flatten() / total)
        self.register_buffer("beta", beta.flatten() / total)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """one, other: [B, 3, H, W] in 0..1. Returns [B]."""
        texture, structure = [], []
        for a, b in zip(self._stages(one), self._stages(other), strict=True):
            at, bt = a.mean(dim=(2, 3)), b.mean(dim=(2, 3))
            spread_a = (a - at[:, :, None, None]).square().mean(dim=(2, 3))
            spread_b = (b - bt[:, :, None, None]).square().mean(dim=(2, 3))
            together = (a * b).mean(dim=(2, 3)) - at * bt
            texture.append((2 * at * bt + 1e-6) / (at.square() + bt.square() + 1e-6))
            structure.append((2 * together + 1e-6) / (spread_a + spread_b + 1e-6))
        return 1 - torch.cat(texture, dim=1) @ self.alpha - torch.cat(structure, dim=1) @ self.beta

    def _stages(self, x: Tensor) -> list[Tensor]:
        return [x, *self.network((x - self.mean) / self.deviation)]


def lpips(net: str, device: str) -> Pairs:
    """LPIPS v0.1 over `alex` or `vgg`: two metrics, whose values must not stand in one column."""
    layers, stages = alexnet() if net == "alex" else vgg16(lambda _: nn.MaxPool2d(2, 2))
    network = Stages(layers, stages).load("alexnet_imagenet" if net == "alex" else "vgg16_imagenet")
    heads = load_state(str(files("torchmetrics.functional.image") / f"lpips_models/{net}.pth"))
    return in_chunks(Lpips(network, [heads[f"lin{n}.model.1.weight"] for n in range(len(stages))]), device)


def dists(device: str) -> Pairs:
    """DISTS over VGG16 with its pooling smoothed."""
    network = Stages(*vgg16(RootPooling)).load("vgg16_imagenet")
    heads = load_state(str(files("torchmetrics.functional.image") / "dists_models/weights.pt"))
    return in_chunks(Dists(network, heads["alpha"], heads["beta"]), device)


def in_chunks(metric: nn.Module, device: str) -> Pairs:
    """A network of pairs over pictures, a few at a time."""
    frozen = metric.to(device).eval().requires_grad_(False)

    def values(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = [frozen(a.to(device), b.to(device)).cpu() for a, b in chunks(images, targets)]
        return torch.cat(found).double().numpy()

    return values


def flip(images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """LDR-FLIP, 67 pixels per degree: what an eye sees that flips between the two. Source: Andersson et al., HPG 2020;
    complete in its package, without weights.
    """
    return np.array([flip_evaluator.evaluate(target.astype(np.float32) / 255, image.astype(np.float32) / 255, "LDR",
                                             applyMagma=False)[1]
                     for image, target in zip(images, targets, strict=True)], dtype=np.float64)
