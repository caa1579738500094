"""MTCNN: faces with five landmarks by three small networks, under the MIT licence, also for commercial use.

In: looks float32 [B, 3, H, W], RGB as (x - 127.5) / 128. Out: for each scores [N], boxes [N, 4] and points [N, 5, 2],
both in the look's pixels.

A first network is moved over the look at sizes a factor .709 apart and proposes squares; a second and a third look at
each square at 24 and 48 px, refuse most of them and move the others' borders; the third one gives the points.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks" (2016);
weights and the first two networks' thresholds are its authors', as the package `mtcnn` carries them; the last one's
scores are ours (`WARMTH`). The package's code, which asks for TensorFlow, is never imported.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import lz4.frame
import numpy as np
import torch
from joblib.numpy_pickle import NumpyUnpickler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from anchorface.faces.boxes import suppress
from anchorface.faces.runtime import Floats
from anchorface.faces.scrfd import Candidates
from anchorface.faces.threads import torch_threads
from anchorface.records.errors import WeightsError

SMALLEST, FACTOR = 20, 0.709
"""Shortest side of a face in a look, px; from one size of the first network's look to the next."""
PROPOSED, REFINED = 0.6, 0.7
"""Scores that a square needs to reach the second network, and the third."""
WARMTH = 3.0
"""Temperature of the last network's chance of a face, our choice: its own lies so near to 1 for any face that two looks
at one could not be compared; this way scores are spread as SCRFD's are."""
BLOCK = 16
"""Squares that a network gets at once, always: a sum's last bit depends on how many they are."""
ARRAYS = {"joblib.numpy_pickle": ("NumpyArrayWrapper",), "numpy": ("ndarray", "dtype")}
"""All that a file of weights may name."""


class _Arrays(NumpyUnpickler):  # type: ignore[misc]
    """Reads arrays, and refuses a file that asks for anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in ARRAYS.get(module, ()):
            raise WeightsError(f"{self.filename}: asks for {module}.{name}; nothing in it was run")
        return super().find_class(module, name)


class MTCNN:
    """The three networks.

    Args:
        folder: where `pnet.lz4`, `rnet.lz4` and `onet.lz4` stand. threads: torch's on the CPU while they look.

    Raises:
        WeightsError: they are not there, or not MTCNN's.
    """

    threshold: float = 0.6
    weak: float = 0.8
    sure: float = 0.7
    overturned: tuple[int, ...] = (1, 2, 3)
    """See `faces.detect.Network`."""

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        self.threads = threads
        self.proposes = _network(folder, "pnet", (10, 16, 32), (3, 3, 3), (), (4, 2))
        self.refines = _network(folder, "rnet", (28, 48, 64), (3, 3, 2), (128,), (4, 2))
        self.ends = _network(folder, "onet", (32, 64, 64, 128), (3, 3, 3, 2), (256,), (4, 10, 2))

    def look(self, batch: Floats, least: float) -> list[Candidates]:
        """The faces of each look whose score is at least so much, best first."""
        with torch.inference_mode(), torch_threads(self.threads):
            return [self._faces(picture, least) for picture in batch]

    def _faces(self, picture: Floats, least: float) -> Candidates:
        squares = _squared(self._proposals(torch.from_numpy(picture)[None]))
        pixels = np.ascontiguousarray(picture.transpose(1, 2, 0))
        if len(squares):
            moves, chances = self._judged(self.refines, pixels, squares, 24)
            kept = np.flatnonzero(chances >= REFINED)
            moved = _moved(squares[kept], moves[kept])
            squares = _squared(moved[suppress(moved, chances[kept], 0.7)])
        if not len(squares):
            return np.zeros(0, np.float32), np.zeros((0, 4)), np.zeros((0, 5, 2))
        moves, places, chances = self._judged(self.ends, pixels, squares, 48, WARMTH)
        points = squares[:, None, :2] + places.reshape(-1, 2, 5).transpose(0, 2, 1) * _sides(squares)[:, None] - 0.5
        kept = np.flatnonzero(chances >= least)
        boxes = _moved(squares[kept], moves[kept])
        best = suppress(boxes, chances[kept], 0.7, of_smaller=True)
        return chances[kept][best], boxes[best] - 0.5, points[kept][best]

    def _proposals(self, look: Tensor) -> NDArray[np.float64]:
        """The boxes of the first network: [N, 4], pixels' borders."""
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0, np.float32)]
        high, wide = look.shape[2:]
        scale = 12 / SMALLEST
        while min(high, wide) * scale >= 12:
            shape = (round(high * scale), round(wide * scale))
            moves, chances = self.proposes(functional.interpolate(look, shape, mode="area"))
            chance = chances.softmax(1)[0, 1].numpy()
            rows, columns = np.nonzero(chance >= PROPOSED)
            corner = 2.0 * np.stack([columns, rows], axis=1)
            found = _moved(np.concatenate([corner, corner + 12], axis=1), moves[0].numpy()[:, rows, columns].T)
            found *= np.tile([wide / shape[1], high / shape[0]], 2)
            kept = suppress(found, chance[rows, columns], 0.5)
            boxes.append(found[kept])
            scores.append(chance[rows, columns][kept])
            scale *= FACTOR
        together = np.concatenate(boxes)
        return together[suppress(together, np.concatenate(scores), 0.7)]

    def _judged(self, network: nn.Module, pixels: Floats, squares: NDArray[np.float64], side: int,
                warmth: float = 1.0) -> list[NDArray[np.float32]]:
        """A network's outputs for squares of the look [H, W, 3], the last one as the chance of a face [N]."""
        answers = []
        for first in range(0, len(squares), BLOCK):
            block = np.zeros((BLOCK, 3, side, side), np.float32)
            for place, square in enumerate(squares[first : first + BLOCK]):
                block[place] = _cut(pixels, square, side).transpose(2, 0, 1)
            answers.append([out.numpy() for out in network(torch.from_numpy(block))])
        together = [np.concatenate(parts)[: len(squares)] for parts in zip(*answers, strict=True)]
        return [*together[:-1], (torch.from_numpy(together[-1]) / warmth).softmax(1)[:, 1].numpy()]


class _Network(nn.Module):
    """Convolutions with pooling between them, a layer where the picture is seen whole, and the answers."""

    def __init__(self, convolutions: list[nn.Module], whole: list[nn.Module], answers: list[nn.Module]) -> None:
        super().__init__()
        self.convolutions, self.whole = nn.Sequential(*convolutions), nn.Sequential(*whole)
        self.answers = nn.ModuleList(answers)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        seen = self.convolutions(pictures)
        if len(self.whole):  # the authors' framework counts columns first
            seen = self.whole(seen.permute(0, 3, 2, 1).flatten(1))
        return [answer(seen) for answer in self.answers]


def _network(folder: str | Path, name: str, widths: Sequence[int], sides: Sequence[int], whole: Sequence[int],
             answers: Sequence[int]) -> _Network:
    """A network with its weights, in the order in which its file has them: kernel [H, W, I, O], shift, slope."""
    path = Path(folder) / f"{name}.lz4"
    arrays = iter(_arrays(path))
    pools = {"pnet": (2,), "rnet": (3, 3), "onet": (3, 3, 2)}[name]

    def linear(kind: type[nn.Conv2d] | type[nn.Linear], *shape: int) -> nn.Module:
        layer = kind(*shape)
        kernel, shift = (torch.from_numpy(np.array(next(arrays), np.float32)) for _ in range(2))
        layer.weight.data.copy_(kernel.permute(3, 2, 0, 1) if kind is nn.Conv2d else kernel.T)
        layer.bias.data.copy_(shift)
        return layer

    def slope(width: int) -> nn.Module:
        layer = nn.PReLU(width)
        layer.weight.data.copy_(torch.from_numpy(np.array(next(arrays), np.float32)).flatten())
        return layer

    try:
        convolutions: list[nn.Module] = []
        for number, (before, width, side) in enumerate(zip((3, *widths), widths, sides, strict=False)):
            convolutions += [linear(nn.Conv2d, before, width, side), slope(width)]
            if number < len(pools):
                convolutions.append(nn.MaxPool2d(pools[number], 2, ceil_mode=True))
        flat = [linear(nn.Linear, widths[-1] * 9, whole[0]), slope(whole[0])] if whole else []
        last = [linear(nn.Linear, whole[0], width) if whole else linear(nn.Conv2d, widths[-1], width, 1)
                for width in answers]
        if next(arrays, None) is not None:
            raise StopIteration
    except (StopIteration, RuntimeError) as error:
        raise WeightsError(f"{path}: not the weights of MTCNN's {name}") from error
    return _Network(convolutions, flat, last).eval().requires_grad_(False)


def _arrays(path: Path) -> list[NDArray[np.float32]]:
    """The arrays of a file.

    Raises:
        WeightsError: no such file, or one that holds anything but arrays.
    """
    try:
        with lz4.frame.open(path) as stream:
            content = _Arrays(str(path), stream, ensure_native_byte_order=True).load()
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise WeightsError(f"{path}: not a file of arrays ({error}); nothing in it was run") from error
    if not isinstance(content, list) or not all(isinstance(one, np.ndarray) for one in content):
        raise WeightsError(f"{path}: holds no list of arrays")
    return content


def _sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return boxes[:, 2:] - boxes[:, :2]


def _moved(boxes: NDArray[np.float64], moves: Floats) -> NDArray[np.float64]:
    """Boxes whose borders are moved by shares of their sides."""
    return boxes + moves * np.tile(_sides(boxes), 2)


def _squared(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The squares about boxes' middles with their longer sides, whole pixels."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, _sides(boxes).max(axis=1, initial=0)[:, None] / 2
    corner = np.floor(middle - half)
    return np.concatenate([corner, corner + np.maximum(np.round(2 * half), 1)], axis=1)


def _cut(pixels: Floats, square: NDArray[np.float64], side: int) -> Floats:
    """A square of a look [H, W, 3] at another size, black where it leaves the look."""
    x0, y0, x1, y1 = (int(value) for value in square)
    inside = pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    whole = np.full((y1 - y0, x1 - x0, 3), np.float32(-127.5 / 128))
    whole[max(-y0, 0) :, max(-x0, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    way = cv2.INTER_AREA if len(whole) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(whole, (side, side), interpolation=way), np.float32)
