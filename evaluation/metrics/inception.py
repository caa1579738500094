"""Inception-v3 as FID knows it: a picture as 2048 numbers.

In: uint8 [N, H, W, 3] RGB. Out: float32 [N, 2048]. The layers bear the names of the weight `inception_fid` (the 2015
TensorFlow network, converted by torch-fidelity), whose blocks differ from torchvision's: averages leave the padding
out, and the last block pools by maximum. Pictures are resized to 299 px, bilinear and antialiased, as torchmetrics
does it (libraries that do not antialias get other values).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from anchorface.faces.tensors import load_state
from anchorface.faces.weights import find
from anchorface.records import WeightsError

FEATURES = 2048
SIDE = 299
CHUNK = 8
Size = int | tuple[int, int]


class Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, width: int, out: int, size: Size, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


def _average(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return max_pool2d(x, 3, stride=1, padding=1)


class BlockA(nn.Module):
    """35 x 35: 1 x 1, 5 x 5, twice 3 x 3, and pooling."""

    def __init__(self, width: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(width, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Convolution(width, 48, 1), Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Convolution(width, 64, 1), Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(width, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double,
                          self.branch_pool(_average(x))], dim=1)


class BlockB(nn.Module):
    """35 to 17."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = Convolution(288, 384, 3, stride=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Convolution(288, 64, 1), Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, max_pool2d(x, 3, stride=2)], dim=1)


class BlockC(nn.Module):
    """17 x 17: 7 x 7 as 1 x 7 and 7 x 1, once and twice."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        wide, tall = ((1, 7), (0, 3)), ((7, 1), (3, 0))
        self.branch1x1 = Convolution(768, 192, 1)
        self.branch7x7_1 = Convolution(768, inner, 1)
        self.branch7x7_2 = Convolution(inner, inner, wide[0], padding=wide[1])
        self.branch7x7_3 = Convolution(inner, 192, tall[0], padding=tall[1])
        self.branch7x7dbl_1 = Convolution(768, inner, 1)
        self.branch7x7dbl_2 = Convolution(inner, inner, tall[0], padding=tall[1])
        self.branch7x7dbl_3 = Convolution(inner, inner, wide[0], padding=wide[1])
        self.branch7x7dbl_4 = Convolution(inner, inner, tall[0], padding=tall[1])
        self.branch7x7dbl_5 = Convolution(inner, 192, wide[0], padding=wide[1])
        self.branch_pool = Convolution(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = x
        for layer in (self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3, self.branch7x7dbl_4,
                      self.branch7x7dbl_5):
            double = layer(double)
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        return torch.cat([self.branch1x1(x), once, double, self.branch_pool(_average(x))], dim=1)


class BlockD(nn.Module):
    """17 to 8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Convolution(768, 192, 1), Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(768, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, max_pool2d(x, 3, stride=2)], dim=1)


class BlockE(nn.Module):
    """8 x 8: 3 x 3 split into 1 x 3 beside 3 x 1."""

    def __init__(self, width: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        wide, tall = ((1, 3), (0, 1)), ((3, 1), (1, 0))
        self.pool = pool
        self.branch1x1 = Convolution(width, 320, 1)
        self.branch3x3_1 = Convolution(width, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, wide[0], padding=wide[1])
        self.branch3x3_2b = Convolution(384, 384, tall[0], padding=tall[1])
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Convolution(width, 448, 1), Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, wide[0], padding=wide[1])
        self.branch3x3dbl_3b = Convolution(384, 384, tall[0], padding=tall[1])
        self.branch_pool = Convolution(width, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return torch.cat([self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once),
                          self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(self.pool(x))],
                         dim=1)


class Inception(nn.Module):
    """The network up to its 2048 averages; called with uint8 [B, 3, H, W], as torchmetrics calls its extractor."""

    num_features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3, self.Conv2d_2b_3x3 = Convolution(32, 32, 3), Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Convolution(64, 80, 1), Convolution(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = BlockC(128), BlockC(160), BlockC(160), BlockC(192)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = BlockD(), BlockE(1280, _average), BlockE(2048, _maximum)

    def forward(self, pictures: Tensor) -> Tensor:
        x = interpolate(pictures.float(), (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3((x - 128) / 128)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(x, 3, stride=2)))
        x = max_pool2d(x, 3, stride=2)
        for block in (self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c,
                      self.Mixed_6d, self.Mixed_6e, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c):
            x = block(x)
        return x.mean(dim=(2, 3))


def inception(device: str) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures as features, by the weight `inception_fid`.

    Raises:
        WeightsError: missing, or of another shape.
    """
    path = find("inception_fid")
    state = {key: value for key, value in load_state(path).items() if not key.startswith("fc.")}
    network = Inception()
    try:
        network.load_state_dict({key: state[key] for key in network.state_dict() if key in state
                                 or not key.endswith("num_batches_tracked")}, strict=False)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: not FID's Inception: {str(error).splitlines()[0]}") from error
    network = network.to(device).eval().requires_grad_(False)

    def features(images: np.ndarray) -> np.ndarray:
        found = [np.zeros((0, FEATURES), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(images), CHUNK):
                part = torch.from_numpy(np.ascontiguousarray(images[start:start + CHUNK])).to(device)
                found.append(network(part.permute(0, 3, 1, 2)).cpu().numpy())
        return np.concatenate(found)

    return features
