"""dlib's face recognition network in torch, read from the file that its author put into the public domain.

In: RGB in 0..255, float [B, 3, 150, 150], chips as `chip_matrix` cuts them. Out: descriptors float [B, 128], of length
about 1.4. On one core it is several times as fast as dlib itself, whose descriptors it gives to 1e-4.
Source: dlib's `dnn_face_recognition_ex.cpp` (the network's definition) and `dlib/dnn/tensor.h` (the file's format).
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anchorface.faces.align import Matrix, arcface_matrix, compose
from anchorface.records import WeightsError

CHIP = 150
MEAN = (122.782, 117.001, 104.298)
LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""From the picture to the code: channels, units, and whether the first unit halves the side."""
_SIZE = rb"(\x01.|\x02..|\x03...)"
_HEAD = re.compile(rb"(?:con_4|affine_|fc_2.{5})\x01\x02" + _SIZE + _SIZE + rb"\x01\x01\x01\x01", re.DOTALL)
"""A layer's name and its tensor of N x K numbers: version 2, then N, K, 1, 1, each as its count of bytes and its bytes,
the lowest first."""


class DlibUnit(nn.Module):
    """Two convolutions beside a shortcut that fills up with zeros where it is narrower or smaller."""

    def __init__(self, width_in: int, width: int, halves: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, 2 if halves else 1, 0 if halves else 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        self.halves = halves

    def forward(self, features: Tensor) -> Tensor:
        inner = self.second(functional.relu(self.first(features)))
        kept = functional.avg_pool2d(features, 2) if self.halves else features
        side = max(inner.shape[-1], kept.shape[-1])
        return functional.relu(_filled(inner, inner.shape[1], side) + _filled(kept, inner.shape[1], side))


class DlibResNet(nn.Module):
    """The network; its scales after each convolution are part of the convolutions here."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, 2)
        units, width_in = [], 32
        for width, count, halves in LEVELS:
            for number in range(count):
                units.append(DlibUnit(width_in, width, halves and number == 0))
                width_in = width
        self.units = nn.Sequential(*units)
        self.code = nn.Linear(width_in, 128, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        pixels = (chips - chips.new_tensor(MEAN)[:, None, None]) / 256.0
        features = self.units(functional.max_pool2d(functional.relu(self.stem(pixels)), 3, 2))
        return self.code(features.mean((2, 3)))


def read_network(path: Path) -> DlibResNet:
    """The network of `dlib_face_recognition_resnet_model_v1.dat`, frozen.

    Raises:
        WeightsError: the file holds other tensors.
    """
    network = DlibResNet()
    tensors = _tensors(path.read_bytes())
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    try:
        for layer in convolutions:
            width, numbers = layer.out_channels, layer.weight.numel()
            weight, bias = _taken(next(tensors), numbers + width).split([numbers, width])
            scale, shift = _taken(next(tensors), 2 * width).split(width)
            layer.weight.data = weight.view_as(layer.weight) * scale[:, None, None, None]
            layer.bias.data = bias * scale + shift
        network.code.weight.data = _taken(next(tensors), 256 * 128).view(256, 128).T.contiguous()
    except StopIteration:
        raise WeightsError(f"{path}: fewer tensors than dlib's face recognition network has") from None
    except ValueError as error:
        raise WeightsError(f"{path}: not dlib's face recognition network: {error}") from None
    return network.eval().requires_grad_(False)


def chip_matrix(landmarks: np.ndarray) -> Matrix:
    """The similarity from picture points to the 150 px chip.

    Args:
        landmarks: [5, 2] picture points.

    dlib's own five points are corners of the eyes and the nose's base. The ArcFace template's place in its chips
    (the mean over real portraits) is fixed here, so that one set of landmarks serves teacher and student.
    """
    return compose(TEMPLATE_TO_CHIP, arcface_matrix(landmarks))


TEMPLATE_TO_CHIP = np.array([[1.477, 0.0, -8.03], [0.0, 1.477, -33.12]])


def _filled(features: Tensor, width: int, side: int) -> Tensor:
    short = side - features.shape[-1]
    return functional.pad(features, (0, short, 0, short, 0, width - features.shape[1]))


def _tensors(content: bytes) -> Iterator[np.ndarray]:
    """The tensors with numbers in them, in the file's order."""
    position = 0
    while (head := _HEAD.search(content, position)) is not None:
        count = math.prod(int.from_bytes(size[1:], "little") for size in head.groups())
        end = head.end() + 4 * count
        if end > len(content):
            position = head.start() + 1
            continue
        yield np.frombuffer(content, "<f4", count, head.end())
        position = end


def _taken(found: np.ndarray, count: int) -> Tensor:
    if len(found) != count:
        raise ValueError(f"a tensor of {len(found)} numbers where {count} belong")
    return torch.from_numpy(found.copy())
