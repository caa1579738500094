"""What each step of a run saw and said, kept on every rank until a line or a checkpoint is written.

In: a rank's positions, sample digests and logged values of each step. Out, on every rank: all ranks' values in order of
position, and the digest chain. The chain after step s is SHA-256(chain before, positions, sample digests in order of
position): equal chains saw the same bytes in order. Ranks exchange nothing at the steps in between.
"""

import hashlib

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from anchorface.records import TrainingError
from anchorface.training.recipes import Recipe

Measures = dict[str, NDArray[np.float64]]
"""Name -> the values of a step's samples, [batch], NaN where a sample has no such value."""


def start_of_chain(recipe: Recipe, manifest_id: str) -> str:
    """The chain before the first step: names the recipe and the dataset version."""
    return hashlib.sha256(f"{recipe.digest}/{manifest_id}".encode()).hexdigest()


def extend_chain(chain: str, positions: NDArray[np.int64], digests: list[bytes]) -> str:
    """The digest chain after one more global batch, positions ascending."""
    total = hashlib.sha256(bytes.fromhex(chain))
    for position, digest in zip(positions.tolist(), digests, strict=True):
        total.update(position.to_bytes(8, "little") + digest)
    return total.hexdigest()


class Record:
    """The steps since the last gathering, of batches of `batch` samples.

    Args:
        chain: the digest chain before them. device: where collectives work.
    """

    def __init__(self, chain: str, batch: int, device: torch.device) -> None:
        self.chain, self.batch, self.device = chain, batch, device
        self._steps: list[tuple[int, NDArray[np.int64], NDArray[np.uint8], list[dict[str, Tensor]]]] = []

    def add(self, clock: int, positions: NDArray[np.int64], digests: NDArray[np.str_],
            logged: list[dict[str, Tensor]]) -> None:
        """This rank's part of a step: n samples, whose batch begins at position `clock`; `logged` are its pieces'."""
        raw = np.frombuffer(b"".join(bytes.fromhex(digest) for digest in digests.tolist()), np.uint8)
        self._steps.append((clock, positions, raw.reshape(-1, 32), logged))

    def gather(self) -> list[Measures]:
        """All ranks' values of every step since the last call; every rank must call it. The chain grows.

        Raises:
            TrainingError: positions that are missing or came twice.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return []
        names = list(steps[0][3][0])
        values = torch.cat([torch.cat([torch.stack([part[name].double() for name in names], dim=1) for part in logged])
                            for _, _, _, logged in steps])
        own = (torch.from_numpy(np.concatenate([positions for _, positions, _, _ in steps])).to(self.device),
               torch.from_numpy(np.concatenate([raw for _, _, raw, _ in steps])).to(self.device),
               values.to(self.device))
        positions, raw, values = (_gather(tensor) for tensor in own)
        order = torch.argsort(positions)
        positions, raw, values = (tensor[order].cpu() for tensor in (positions, raw, values))
        expected = np.concatenate([np.arange(clock, clock + self.batch) for clock, _, _, _ in steps])
        if not np.array_equal(positions.numpy(), expected):
            raise TrainingError(f"the ranks saw positions {positions.tolist()[:8]} ..., not {expected.tolist()[:8]} "
                                "...: they did not take up the same checkpoint. Nothing was written after them")
        found = []
        for number, (clock, _, _, _) in enumerate(steps):
            rows = slice(number * self.batch, (number + 1) * self.batch)
            digests = [row.tobytes() for row in raw[rows].numpy()]
            self.chain = extend_chain(self.chain, np.arange(clock, clock + self.batch), digests)
            found.append(dict(zip(names, values[rows].numpy().T, strict=True)))
        return found


def _gather(own: Tensor) -> Tensor:
    """The rows of all ranks, which may have different numbers of them."""
    sizes = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(own)], device=own.device))
    most = int(max(sizes))
    padded = torch.zeros((most, *own.shape[1:]), dtype=own.dtype, device=own.device)
    padded[: len(own)] = own
    received = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(received, padded)
    return torch.cat([rows[: int(size)] for rows, size in zip(received, sizes, strict=True)])
