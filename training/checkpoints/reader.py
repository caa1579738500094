"""Pieces of a run's state, read from the files of a checkpoint whatever their number and borders.

In: a checkpoint folder and what its description says of its files. Out: numbers [start, stop) of a parameter, of its
average or of a moment, float32. What is read is compared with its hash.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor

from anchorface.models.checkpoint import read_verified
from anchorface.records import CheckpointError
from anchorface.training.checkpoints.layout import STATE


class Pieces:
    """The state in a checkpoint, or the part of it that a rank wants.

    Args:
        folder: the checkpoint's. files: relative path -> {"sha256", "bytes"}, as the description has them.
        kinds: what is wanted: parameter, average, exp_avg, exp_avg_sq.
        wanted: name -> [start, stop), None for everything.
        first: the rank whose file is read first; where that holds all that is wanted, no other is read.

    Raises:
        CheckpointError: a file that is missing, cut short, changed, or no state of a rank.
    """

    def __init__(self, folder: str, files: Mapping[str, Mapping[str, Any]], kinds: Sequence[str],
                 wanted: Mapping[str, tuple[int, int]] | None = None, first: int = 0) -> None:
        self.folder, self.shapes, self.steps = folder, dict[str, torch.Size](), 0
        self._kinds, self._wanted = kinds, wanted
        self._held: dict[str, list[tuple[int, Tensor]]] = {}
        paths = sorted(path for path in files if path.startswith(f"{STATE}/"))
        for path in sorted(paths, key=lambda path: paths.index(path) != first):
            self._read(path, files[path])
            if wanted is not None and self._satisfied(wanted):
                break

    def whole(self, kind: str, name: str) -> Tensor:
        """All of a parameter, its average or a moment, in its shape."""
        shape = self.shapes[name]
        return self.part(kind, name, 0, shape.numel()).view(shape)

    def part(self, kind: str, name: str, start: int, stop: int) -> Tensor:
        """Numbers [start, stop) of the flattened tensor, float32.

        Raises:
            CheckpointError: the files do not hold all of them.
        """
        found = torch.empty(stop - start)
        for begin, values in self._held.get(f"{kind}/{name}", ()):
            low, high = max(begin, start), min(begin + len(values), stop)
            if low < high:
                found[low - start : high - start] = values[low - begin : high - begin]
        missing = stop - start - self._covered(f"{kind}/{name}", start, stop)
        if missing:
            raise CheckpointError(f"{self.folder}: {missing} of {stop - start} numbers of {kind} {name} are in none of "
                                  "its files; delete this checkpoint to resume from the one before")
        return found

    def _covered(self, key: str, start: int, stop: int) -> int:
        return sum(max(0, min(begin + len(values), stop) - max(begin, start))
                   for begin, values in self._held.get(key, ()))

    def _satisfied(self, wanted: Mapping[str, tuple[int, int]]) -> bool:
        return all(self._covered(f"{kind}/{name}", start, stop) == stop - start
                   for kind in self._kinds for name, (start, stop) in wanted.items())

    def _read(self, path: str, said: Mapping[str, Any]) -> None:
        content = read_verified(self.folder, path, said)
        try:
            size = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + size])["__metadata__"]
            starts: dict[str, int] = json.loads(header["starts"])
            self.shapes |= {name: torch.Size(shape) for name, shape in json.loads(header["shapes"]).items()}
            self.steps = int(header["steps"])
            for key, values in from_bytes(content).items():
                kind, _, name = key.partition("/")
                if kind in self._kinds:
                    self._keep(key, name, starts[name], values)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{self.folder}/{path}: not the state of a rank ({error})") from error

    def _keep(self, key: str, name: str, start: int, values: Tensor) -> None:
        low, high = start, start + len(values)
        if self._wanted is not None:
            first, last = self._wanted.get(name, (0, 0))
            low, high = max(low, first), min(high, last)
        if low < high:
            self._held.setdefault(key, []).append((low, values[low - start : high - start].clone()))
