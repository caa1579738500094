"""Persons go to one side: train, val or test, by a hash of (seed, key), with exact counts, and they stay there."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

SPLITS = ("train", "val", "test")


def assign_splits(
    identities: Mapping[str, tuple[str, int]], shares: Sequence[float], seed: int,
    kept: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Put each identity on one side, by a hash of (seed, key), with exact counts.

    Counts are the shares by largest remainder; with at least three identities every split that has a share gets one.
    Test and val take the identities with several faces first: without a second photograph there is no reference.

    Args:
        identities: name -> (key that does not depend on the other identities, number of faces).
        shares: of train, val, test.
        seed: another seed, another split.
        kept: name -> split that was decided before; the others fill what is missing to the shares.

    Returns:
        name -> split.
    """
    counts = dict(zip(SPLITS, split_counts(len(identities), shares), strict=True))
    stay = {name: split for name, split in (kept or {}).items() if name in identities}
    for split in stay.values():
        counts[split] -= 1
    order = sorted(
        identities.keys() - stay.keys(),
        key=lambda name: (
            identities[name][1] < 2, hashlib.sha256(f"{seed}/split/{identities[name][0]}".encode()).digest()
        ),
    )
    tests, vals = max(counts["test"], 0), max(counts["val"], 0)
    test, val = order[:tests], order[tests : tests + vals]
    return dict.fromkeys(order, "train") | dict.fromkeys(val, "val") | dict.fromkeys(test, "test") | stay


def split_counts(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `total`, by largest remainder; none of a positive share empty from three on."""
    exact = np.asarray(shares, dtype=np.float64) / sum(shares) * total
    counts = np.floor(exact).astype(int)
    for place in np.argsort(-(exact - counts), kind="stable")[: total - int(counts.sum())]:
        counts[place] += 1
    if total >= 3:
        for place in np.flatnonzero((counts == 0) & (np.asarray(shares) > 0)):
            counts[int(np.argmax(counts))] -= 1
            counts[place] = 1
    return counts.tolist()
