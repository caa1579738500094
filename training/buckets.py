"""Buffers that DeepSpeed holds beside what it trains, in numbers (of four bytes where they hold gradients).

Its own default, 500 million numbers, is 1.86 GiB of float32 whatever is trained; a bucket larger than the gradients is
never full, so it is made as large as they are.
"""

MOST = 500_000_000
"""DeepSpeed's `reduce_bucket_size`, and what stage 0 makes one flat copy of at once."""
LIVE = 1_000_000_000
"""DeepSpeed's `stage3_max_live_parameters` and `stage3_max_reuse_distance`: weights that stage 3 keeps gathered because
they are needed again so soon."""


def bucket_size(adapters: int) -> int:
    """`reduce_bucket_size` for so many trained numbers: all of them, and at most MOST."""
    return max(1, min(MOST, adapters))


def live_size(parameters: int) -> int:
    """How many of a network's numbers stand gathered at stage 3 at most: all of them, or LIVE and the block at work,
    which is not counted here."""
    return min(LIVE, parameters)
