"""Which faces cannot help a target, and why: itself, its copies, its session, and what is too poor to help anyone."""

import numpy as np
from numpy.typing import NDArray

from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.policy import MismatchPolicy

CAUSES = ("", "the target itself", "same photo", "same second", "near-duplicate", "same day", "norm too low",
          "sharpness too low", "score too low")
"""Why a candidate was refused; the first cause of this order counts, the empty one is admission."""


def refusals(album: Album, targets: NDArray[np.int64], policy: MismatchPolicy) -> NDArray[np.int8]:
    """Why each face of an album cannot be a reference for some of them.

    Copies are: a face of the same photo or file, a frame of the same clip less than `clip_seconds` away, and a small
    hash distance together with a high cosine and no other smile (crops and recompressions of one picture, burst shots).
    Where the policy sets a minimum, an unknown value counts as below it. A day that is unknown is not the target's.

    Args:
        album: faces of one person.
        targets: numbers of T of them.
        policy: the rules.

    Returns:
        Numbers into CAUSES, int8 [T, N]; 0 is admitted.
    """
    found = np.zeros((len(targets), len(album)), np.int8)
    for cause, name, minimum in ((8, "score", policy.minimum_score), (7, "sharpness", policy.minimum_sharpness),
                                 (6, "norm", policy.minimum_norm)):
        if minimum > 0:
            found[:, ~(album.measure(name) >= minimum)] = cause
    if policy.other_day:
        days = album.measure("day")
        found[days == days[targets, None]] = 5
    found[_near(album, targets, policy)] = 4
    place = album.place[targets, None]
    same = (album.place == place) & (place != "")
    if same.sum() > np.count_nonzero(place):
        second = album.second[targets, None]
        found[same & (np.abs(album.second - second) < policy.clip_seconds)] = 3
        found[same & np.isnan(album.second) & np.isnan(second)] = 2
    # Frames of one clip may carry one photo id or one each; a face of the target's own frame is the same photo.
    found[album.photo_id == album.photo_id[targets, None]] = 2
    found[album.face_id == album.face_id[targets, None]] = 1
    return found


def admissible(album: Album, policy: MismatchPolicy) -> NDArray[np.int64]:
    """How many references each face of an album can have, int64 [N]."""
    counts: NDArray[np.int64] = (refusals(album, np.arange(len(album)), policy) == 0).sum(axis=1)
    return counts


def _near(album: Album, targets: NDArray[np.int64], policy: MismatchPolicy) -> tuple[NDArray[np.int64], ...]:
    """Places in [T, N] of near-duplicates."""
    bits = np.bitwise_count(album.hashes ^ album.hashes[targets, None])
    near = (bits <= policy.duplicate_bits) & album.hashed & album.hashed[targets, None]
    near[np.arange(len(targets)), targets] = False
    rows, others = np.nonzero(near)
    if not len(rows):
        return rows, others
    smile = album.measure("smile")
    alike = np.array([
        not abs(smile[one] - smile[other]) >= policy.duplicate_smile
        and np.dot(album.embedding(one), album.embedding(other)) >= policy.duplicate_cosine
        for one, other in zip(targets[rows].tolist(), others.tolist(), strict=True)], np.bool_)
    return rows[alike], others[alike]
