"""Which shares to draw wanted bins from, so that what is achieved comes nearest to what is asked.

Not every target has a candidate in every bin: what is asked of those that have none falls to the nearest bin that they
reach. Drawing the hard bins more often where they can be reached makes up for it, as far as it can.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.mismatch import select
from anchorface.identity_index.retrieval.policy import MismatchPolicy
from anchorface.identity_index.retrieval.report import targets
from anchorface.records.seeds import rng

FLOOR = 0.002
"""The least share of a bin that is asked at all, before scaling; our choice."""


def fit_shares(
    faces: pa.Table, policy: MismatchPolicy, *, k: int = 3, count: int = 400, rounds: int = 12, seed: int = 0
) -> MismatchPolicy:
    """The policy with the shares to draw from (`drawn`) fitted to a collection.

    Each round scales the drawn shares of every asked axis by the square root of asked over achieved; the round whose
    achieved shares lie nearest to the asked ones (weighted total variation over the axes) is kept, the first, which
    draws from the asked shares, among them. Source: our choice; as in iterative proportional fitting.

    Args:
        faces: as for `identity_index.retrieval.report`.
        policy: one in mode `asked`; any other comes back as it is.
        k: references of each target. count: targets to fit on. rounds: at most. seed: decides the targets and draws.
    """
    policy = replace(policy, drawn=())
    if policy.mode != "asked":
        return policy
    drawn_targets = [(album, number) for _, album, number in targets(faces, count, seed)]
    best, least = policy, np.inf
    for _ in range(rounds):
        achieved = _achieved(drawn_targets, policy, k, seed)
        off = sum(axis.weight * 0.5 * float(np.abs(achieved[axis.name] - axis.asked).sum())
                  for axis in policy.axes if axis.name in achieved)
        if off < least:
            best, least = policy, off
        policy = replace(policy, drawn=tuple(
            (axis.name, _scaled(axis.drawn, axis.asked, achieved[axis.name]))
            for axis in policy.axes if axis.name in achieved))
    return best


def _achieved(drawn: list[tuple[Album, int]], policy: MismatchPolicy, k: int, seed: int) -> dict[str, NDArray]:
    """Shares of the bins of each asked axis of which anything is known, by the same draws in every round."""
    sizes = []
    for album, number in drawn:
        made = select(album, number, policy, k, rng(seed, f"fit of {album.face_id[number]}"))
        sizes.append(made.sizes[:, made.places])
    all_sizes = np.concatenate(sizes, axis=1)
    bins, found = policy.passed(all_sizes), {}
    for number, axis in enumerate(policy.axes):
        known = bins[number][~np.isnan(all_sizes[number])]
        if axis.asked and len(known):
            found[axis.name] = np.bincount(known, minlength=len(axis.asked)) / len(known)
    return found


def _scaled(drawn: tuple[float, ...], asked: tuple[float, ...], achieved: NDArray) -> tuple[float, ...]:
    wanted = np.array(asked)
    shares = np.array(drawn) * np.sqrt(wanted / np.maximum(achieved, FLOOR))
    shares = np.where(wanted > 0, np.maximum(shares, FLOOR), 0.0)
    return tuple((shares / shares.sum()).round(12).tolist())
