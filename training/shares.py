"""One piece of work for all ranks: who computes what, and everything back in one order.

At ZeRO stage 3 the network's parts are gathered by all ranks at once, so all must call it equally often, and in one
round with equally many references; items are done one by one, so that no number depends on how many ranks there are.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def dealt(kinds: Sequence[int], rank: int, world: int) -> list[int]:
    """The items that a rank does, in order.

    Args:
        kinds: of each item, such as its references; in one round all ranks do items of one kind.

    Returns:
        Numbers of items, as many on every rank: where a round is not full, its last item is done again.
    """
    own = []
    for kind in sorted(set(kinds)):
        items = [item for item, its in enumerate(kinds) if its == kind]
        own += [items[min(first + rank, len(items) - 1)] for first in range(0, len(items), world)]
    return own


def gathered(own: Sequence[int], rows: Tensor, count: int, world: int) -> Tensor:
    """What all ranks computed, in the order of the items.

    Args:
        own: the items of this rank, from `dealt`. rows: what it computed of each, [len(own), ...], on its device.
        count: of all items.

    Returns:
        [count, ...] on the CPU, on every rank.
    """
    numbers = torch.tensor(list(own), device=rows.device)
    rows = rows.contiguous()
    found = rows.new_empty((count, *rows.shape[1:]))
    every: list[list[Tensor]] = [[tensor] for tensor in (numbers, rows)]
    if world > 1:
        every = [[torch.empty_like(tensor) for _ in range(world)] for tensor in (numbers, rows)]
        for tensor, places in zip((numbers, rows), every, strict=True):
            dist.all_gather(places, tensor)
    for items, values in zip(*every, strict=True):
        found[items] = values
    return found.cpu()
