"""Nearest neighbours by blocks of matrix products, exact for small tables and through partitions for large ones.

Embeddings: unit float32 [N, D], an array or a memory map. Cosines: float32. Memory beside the embeddings stays at the
result plus some hundred MB, whatever N is. torch does the products, on the GPU where there is one; a GPU's last bits
differ from a CPU's.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from anchorface.identity_index.clustering.descent import descend

EXACT_ROWS = 65_536
"""The largest table that `neighbours` compares row by row with itself on a CPU: about two minutes on two cores."""
EXACT_ROWS_GPU = 2_000_000
ROWS_PER_PARTITION = 2048
PROBES = 16
"""Partitions that each row is compared with."""
DESCENTS = 1
SAMPLE = 64
ROUNDS = 8
QUERIES = 1024
COLUMNS = 16_384

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


def nearest(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> Found:
    """The k nearest rows of a table that arrives in blocks.

    Args:
        queries: unit [Q, D].
        blocks: unit [n_i, D] each; row numbers count through all blocks.
        k: neighbours per query; fewer columns come back if the table has fewer rows.

    Returns:
        Row numbers int64 [Q, k] and cosines float32 [Q, k], nearest first; equal cosines in row order.
    """
    asked = _tensor(queries, torch.device("cpu"))
    best = _Best(len(asked), k, asked.device)
    start = 0
    for block in blocks:
        columns = _tensor(block, asked.device)
        for first in range(0, len(asked), QUERIES):
            part = slice(first, first + QUERIES)
            best.add(part, asked[part] @ columns.T, torch.arange(start, start + len(columns)))
        start += len(columns)
    rows, cosines = best.arrays()
    return rows[:, : min(k, start)], cosines[:, : min(k, start)]


def neighbours(
    embeddings: np.ndarray, k: int, *, exact_rows: int | None = None, partition_rows: int = ROWS_PER_PARTITION,
    probes: int = PROBES, rounds: int = DESCENTS,
) -> Found:
    """Each row's k nearest other rows.

    Up to EXACT_ROWS rows (EXACT_ROWS_GPU on a GPU) every row is compared with every other. Above, the rows are put
    into partitions by spherical k-means, each row is compared with the rows of the `probes` partitions whose centres
    are nearest to it, and then with the neighbours of its neighbours (identity_index.clustering.descent).

    Measured on drawn faces whose cosines are those of photographs (benchmarks/embeddings.py), ten a person, k = 32: at
    100,000 rows .997 of a person's faces (exact: .999) and .985 of the 32 nearest rows, in 77 CPU seconds. Persons of
    two faces have no third to lead from one to the other: see benchmarks/identity_index.py.

    Args:
        embeddings: unit [N, D].
        k: neighbours per row.
        exact_rows: the largest table that is compared exactly; None as said above.
        partition_rows: mean number of rows in a partition.
        probes: partitions that a row is compared with.
        rounds: of NN-descent after that.

    Returns:
        Row numbers int64 [N, k], nearest first, and cosines float32 [N, k]. Where fewer are known, -1 and -inf pad.
        The same embeddings give the same neighbours.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if exact_rows is None:
        exact_rows = EXACT_ROWS_GPU if device.type == "cuda" else EXACT_ROWS
    best = _Best(len(embeddings), k, torch.device("cpu"))
    exact = len(embeddings) <= exact_rows
    pairs = _all_pairs(embeddings) if exact else _partition_pairs(embeddings, partition_rows, probes, device)
    for queries, columns in pairs:
        table = _tensor(embeddings[columns], device)
        numbers = torch.from_numpy(np.arange(columns.start, columns.stop) if isinstance(columns, slice) else columns)
        for first in range(0, len(queries), QUERIES):
            asked = queries[first : first + QUERIES]
            cosines = _tensor(embeddings[asked], device) @ table.T
            # A row is no neighbour of itself; both lists of numbers are sorted.
            place = np.searchsorted(numbers.numpy(), asked)
            own = np.flatnonzero(numbers.numpy()[np.minimum(place, len(numbers) - 1)] == asked)
            cosines[own, place[own]] = -torch.inf
            best.add(torch.from_numpy(asked), cosines, numbers)
    rows, values = best.arrays()
    for _ in range(0 if exact else rounds):
        rows, values = descend(embeddings, rows, values)
    return rows, values


class _Best:
    """The k best columns of Q rows so far, on the CPU."""

    def __init__(self, count: int, k: int, device: torch.device) -> None:
        self._rows = torch.full((count, k), -1, dtype=torch.int64, device=device)
        self._cosines = torch.full((count, k), -torch.inf, dtype=torch.float32, device=device)
        self._k = k

    def add(self, part: slice | torch.Tensor, cosines: torch.Tensor, numbers: torch.Tensor) -> None:
        """Regard further columns, [q, n] with their row numbers [n], for some of the rows."""
        if cosines.shape[1] > self._k:
            # In order of column, so that the stable sort below leaves equal cosines in row order.
            places = cosines.topk(self._k, dim=1, sorted=False).indices.sort(dim=1).values
            cosines, numbers = cosines.gather(1, places).cpu(), numbers[places.cpu()]
        else:
            cosines, numbers = cosines.cpu(), numbers.expand(len(cosines), -1)
        numbers = torch.where(cosines == -torch.inf, -1, numbers)
        joined = torch.cat([self._cosines[part], cosines], 1)
        order = joined.sort(dim=1, descending=True, stable=True).indices[:, : self._k]
        self._cosines[part] = joined.gather(1, order)
        self._rows[part] = torch.cat([self._rows[part], numbers], 1).gather(1, order)

    def arrays(self) -> Found:
        return self._rows.numpy(), self._cosines.numpy()


def _tensor(rows: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(rows, np.float32, copy=not rows.flags.writeable)).to(device)


def _all_pairs(embeddings: np.ndarray) -> Iterator[tuple[NDArray[np.int64], slice]]:
    everything = np.arange(len(embeddings))
    for start in range(0, len(embeddings), COLUMNS):
        yield everything, slice(start, min(start + COLUMNS, len(embeddings)))


def _partition_pairs(
    embeddings: np.ndarray, partition_rows: int, probes: int, device: torch.device
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each partition the rows to compare with it, and its own rows; both sorted."""
    centres = _centres(embeddings, -(-len(embeddings) // partition_rows), device)
    probed = np.empty((len(embeddings), min(probes, len(centres))), np.int32)
    for start in range(0, len(embeddings), COLUMNS):
        part = slice(start, start + COLUMNS)
        cosines = _tensor(embeddings[part], device) @ centres.T
        probed[part] = cosines.topk(probed.shape[1], dim=1).indices.cpu().numpy()
    own = _grouped(probed[:, :1], len(centres))
    asking = _grouped(probed, len(centres))
    for columns, queries in zip(own, asking, strict=True):
        if len(columns):
            yield queries, columns


def _grouped(numbers: NDArray[np.int32], count: int) -> list[NDArray[np.int64]]:
    """For each of the numbers 0 to count - 1 the rows that hold it, sorted."""
    order = np.argsort(numbers, axis=None, kind="stable")
    ends = np.searchsorted(numbers.ravel()[order], np.arange(1, count))
    return np.split(order // numbers.shape[1], ends)


def _centres(embeddings: np.ndarray, count: int, device: torch.device) -> torch.Tensor:
    """Spherical k-means on evenly spread rows: unit [count, D]."""
    spread = np.unique(np.linspace(0, len(embeddings) - 1, count * SAMPLE).astype(np.int64))
    sample = _tensor(embeddings[spread], device)
    centres = sample[torch.linspace(0, len(sample) - 1, count, device=device).long()]
    for _ in range(ROUNDS):
        nearest_centre = torch.cat([(part @ centres.T).argmax(dim=1) for part in sample.split(COLUMNS)])
        sums = torch.zeros_like(centres).index_add_(0, nearest_centre, sample)
        filled = sums.norm(dim=1, keepdim=True) > 1e-6
        centres = torch.where(filled, torch.nn.functional.normalize(sums, dim=1), centres)
    return centres
