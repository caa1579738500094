"""In which order a run sees its targets: pure functions of (sizes, seed, epoch), no state, no reading.

In: how many rows each shard holds, how many references each row can have. Out: row numbers, int64; and a rank's share
of a global batch.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anchorface.records.errors import ConfigurationError
from anchorface.records.seeds import rng

Rows = NDArray[np.int64]
WINDOW = 4096


def order(sizes: ArrayLike, seed: int, epoch: int, window: int = WINDOW) -> Rows:
    """Each row once: shards in random order, rows shuffled inside windows that span neighbouring shards.

    Reading stays sequential by shard. The price is a bias that we admit: within an epoch a row moves at most one
    window away from its shard's place, so rows of far shards meet in a batch only in other epochs.

    Args:
        sizes: rows per shard; rows are numbered through all shards.
        seed: the run's.
        epoch: which pass over the data.
        window: rows that are shuffled together; a set smaller than this is shuffled as a whole.

    Returns:
        A permutation of the row numbers, int64 [sum(sizes)].
    """
    counts = np.asarray(sizes, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else counts
    draw = rng(seed, "order", epoch)
    shards = draw.permutation(len(counts))
    rows = np.concatenate([np.arange(starts[s], starts[s] + counts[s]) for s in shards] or [np.zeros(0, np.int64)])
    # Windows start at another place in each epoch, so that their borders do not always part the same rows.
    first = int(draw.integers(window)) if len(rows) > window else len(rows)
    borders = [0, *range(first, len(rows), window), len(rows)]
    for start, stop in pairwise(borders):
        rows[start:stop] = draw.permutation(rows[start:stop])
    return rows


def schedule(
    sizes: ArrayLike, capacity: ArrayLike, batch: int, seed: int, epoch: int, window: int = WINDOW
) -> NDArray[np.int64]:
    """The global batches of an epoch, each of rows that can have equally many references where possible.

    A batch has one number of references; a row with a single other photograph of its person would pull a whole
    batch down to one. So rows wait in a queue per capacity, and a batch leaves when its queue is full; what is
    left in the queues fills mixed batches. The rest that fills no batch (another one each epoch) is left out;
    a set smaller than one batch is repeated to fill it.

    Args:
        sizes, seed, epoch, window: as in `order`.
        capacity: references that each row can have, [sum(sizes)].
        batch: rows per global batch.

    Returns:
        int64 [batches, batch] row numbers.
    """
    rows = order(sizes, seed, epoch, window)
    if len(rows) < batch:
        return np.resize(rows, (min(len(rows), 1), batch))
    kinds = np.asarray(capacity)[rows]
    full: list[NDArray[np.int64]] = []
    rest: list[NDArray[np.int64]] = []
    for kind in np.unique(kinds):
        places = np.flatnonzero(kinds == kind)
        whole = len(places) // batch * batch
        full.append(places[:whole].reshape(-1, batch))
        rest.append(places[whole:])
    left = np.sort(np.concatenate(rest))
    full.append(left[: len(left) // batch * batch].reshape(-1, batch))
    places = np.concatenate(full)
    return rows[places[np.argsort(places[:, -1], kind="stable")]]


def share(batch: int, rank: int, world: int) -> range:
    """A rank's places in a global batch: contiguous, in the order of the ranks, each place at exactly one rank.

    Shares differ by one sample at most; where world divides the batch all have batch / world.

    Args:
        batch: samples per global batch.
        rank, world: this process and how many there are, from 1 to batch.

    Raises:
        ConfigurationError: more ranks than samples, or no such rank.
    """
    if not 0 <= rank < world <= batch:
        raise ConfigurationError(f"batch {batch} over world {world}, rank {rank}: every rank needs a sample")
    return range(rank * batch // world, (rank + 1) * batch // world)


def batches_per_epoch(rows: int, batch: int) -> int:
    """How many global batches `schedule` gives for so many rows."""
    return max(rows // batch, min(rows, 1))
