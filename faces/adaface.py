"""AdaFace networks in plain torch: the official IR networks and two small ones of our own.

In: images float [B, 3, 112, 112], BGR in [-1, 1], ArcFace alignment (`faces.align.arcface_matrix`).
Out: unit embedding [B, D] and the raw embedding's length [B, 1], AdaFace's quality proxy.
On CPU, `small` and `judge` train about a third faster with network and images in `torch.channels_last`.

`ir_18`, `ir_50`, `ir_101` (D = 512) carry the parameter names of the official checkpoints. `small` (D = 256) is the
thin residual network of 2.4 million parameters that this repository trains and carries; `judge` (D = 128) is an
inverted bottleneck network of another design, so that the network that judges shares nothing with the one that guides.

Source: AdaFace (Kim et al., CVPR 2022) and its published code; `small` and `judge` are our choice.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from anchorface.records.errors import ConfigurationError, WeightsError

OFFICIAL_UNITS: Mapping[str, tuple[int, int, int, int]] = {
    "ir_18": (2, 2, 2, 2), "ir_34": (3, 4, 6, 3), "ir_50": (3, 4, 14, 3), "ir_101": (3, 13, 30, 3),
}
OFFICIAL_WIDTHS = (64, 128, 256, 512)
THIN_STEM = 24
THIN_STAGES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "small": ((48, 2), (112, 3), (208, 2)),
}
JUDGE_STEM, JUDGE_STAGES, JUDGE_EXPANSION = (16, 32), ((48, 1), (96, 3), (144, 2)), 3


class AdaFaceNet(nn.Module):
    """A face embedder.

    Args:
        architecture: `ir_18`, `ir_34`, `ir_50`, `ir_101`, `small` or `judge`.

    Raises:
        ConfigurationError: an unknown architecture.
    """

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.architecture = architecture
        if architecture in OFFICIAL_UNITS:
            parts = _official(OFFICIAL_UNITS[architecture])
        elif architecture in THIN_STAGES:
            parts = _thin(THIN_STAGES[architecture])
        elif architecture == "judge":
            parts = _judge()
        else:
            known = ", ".join([*OFFICIAL_UNITS, *THIN_STAGES, "judge"])
            raise ConfigurationError(f"unknown AdaFace architecture {architecture!r}; known: {known}")
        self.input_layer, self.body, self.output_layer, self.dimension = parts

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, 112, 112] to (unit embedding [B, D], norm [B, 1]); raw = unit * norm."""
        raw = self.output_layer(self.body(self.input_layer(images)))
        norm = torch.linalg.vector_norm(raw, dim=1, keepdim=True).clamp_min(1e-12)
        return raw / norm, norm

    def load(self, state: Mapping[str, Tensor], name: str = "weights") -> None:
        """Take parameters, strictly. `model.` prefixes and the classifier (`head.`) of a training run are dropped. The
        authors' copies on the model hub have a `net.` prefix and take RGB, so their first layer's colours are turned.

        Raises:
            WeightsError: names or shapes that do not fit, with the first differences.
        """
        if any(key.startswith("model.") for key in state):
            state = {key.removeprefix("model."): v for key, v in state.items() if key.startswith("model.")}
        state = {key: v for key, v in state.items() if not key.startswith("head.")}
        if any(key.startswith("net.") for key in state):
            state = {key.removeprefix("net."): v for key, v in state.items()}
            if (first := state.get("input_layer.0.weight")) is not None and first.ndim == 4:
                state["input_layer.0.weight"] = first.flip(1)
        own = self.state_dict()
        missing = sorted(k for k in own if k not in state and not k.endswith("num_batches_tracked"))
        unknown = sorted(k for k in state if k not in own)
        shapes = [f"{k}: {tuple(state[k].shape)}, needs {tuple(v.shape)}" for k, v in own.items()
                  if k in state and state[k].shape != v.shape]
        if missing or unknown or shapes:
            raise WeightsError(
                f"{name} does not fit AdaFace {self.architecture!r}: missing {missing[:3]} ({len(missing)}), "
                f"unknown {unknown[:3]} ({len(unknown)}), shapes {shapes[:3]} ({len(shapes)}); "
                "name the architecture that the file was made with"
            )
        self.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, strict=False)


class Unit(nn.Module):
    """One improved residual unit, named as in the official checkpoints. Source: AdaFace's published code."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride) if width_in == width else nn.Sequential(
            nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width),
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in), nn.Conv2d(width_in, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
            nn.PReLU(width), nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.res_layer(features) + self.shortcut_layer(features)


class ThinUnit(nn.Module):
    """A residual unit that halves in its first convolution: a third of the arithmetic. Our choice."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity() if width_in == width and stride == 1 else nn.Sequential(
            nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width),
        )
        self.residual = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )
        self.activation = nn.PReLU(width)

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.residual(features) + self.shortcut(features))


class Bottleneck(nn.Module):
    """An inverted bottleneck with a depthwise convolution and channel attention. Our choice."""

    def __init__(self, width_in: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width_in * expansion
        self.residual = nn.Sequential(
            nn.Conv2d(width_in, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.Hardswish(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.Hardswish(),
        )
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inner, inner // 8, 1), nn.ReLU(), nn.Conv2d(inner // 8, inner, 1),
            nn.Hardsigmoid(),
        )
        self.project = nn.Sequential(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width))
        self.skips = width_in == width and stride == 1

    def forward(self, features: Tensor) -> Tensor:
        inner = self.residual(features)
        out = self.project(inner * self.attention(inner))
        return out + features if self.skips else out


Parts = tuple[nn.Module, nn.Module, nn.Module, int]


def _official(units: tuple[int, int, int, int]) -> Parts:
    stem = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
    body: list[nn.Module] = []
    width_in = 64
    for width, count in zip(OFFICIAL_WIDTHS, units, strict=True):
        for number in range(count):
            body.append(Unit(width_in, width, 2 if number == 0 else 1))
            width_in = width
    head = nn.Sequential(
        nn.BatchNorm2d(512), nn.Dropout(0.4), nn.Flatten(), nn.Linear(512 * 7 * 7, 512),
        nn.BatchNorm1d(512, affine=False),
    )
    return stem, nn.Sequential(*body), head, 512


def _thin(stages: tuple[tuple[int, int], ...]) -> Parts:
    stem = nn.Sequential(nn.Conv2d(3, THIN_STEM, 3, 2, 1, bias=False), nn.BatchNorm2d(THIN_STEM), nn.ReLU())
    body: list[nn.Module] = []
    width_in = THIN_STEM
    for width, count in stages:
        for number in range(count):
            body.append(ThinUnit(width_in, width, 2 if number == 0 else 1))
            width_in = width
    return stem, nn.Sequential(*body), _global_depthwise_head(width_in, 256), 256


def _judge() -> Parts:
    first, second = JUDGE_STEM
    stem = nn.Sequential(
        nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.Hardswish(),
        nn.Conv2d(first, second, 3, 2, 1, bias=False), nn.BatchNorm2d(second), nn.Hardswish(),
    )
    body: list[nn.Module] = []
    width_in = second
    for stage, (width, count) in enumerate(JUDGE_STAGES):
        for number in range(count):
            body.append(Bottleneck(width_in, width, 2 if number == 0 and stage > 0 else 1, JUDGE_EXPANSION))
            width_in = width
    return stem, nn.Sequential(*body), _global_depthwise_head(width_in, 128), 128


def _global_depthwise_head(width: int, dimension: int) -> nn.Module:
    """7 x 7 weights a channel in place of average pooling: eyes and mouth stay apart. Source: MobileFaceNets."""
    inner = 2 * dimension
    return nn.Sequential(
        nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.PReLU(inner),
        nn.Conv2d(inner, inner, 7, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.Flatten(),
        nn.Linear(inner, dimension, bias=False), nn.BatchNorm1d(dimension, affine=False),
    )
