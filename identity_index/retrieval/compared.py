"""Faces of one person compared under one policy, kept for all selections from them.

In: an `Album` of N faces and a policy. Out: for one face, what every other one is to it. Up to TOGETHER faces are
compared all with all at once, which takes hardly longer than one with all; of more, one row as it is asked for.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.exclusions import refusals
from anchorface.identity_index.retrieval.policy import MismatchPolicy

TOGETHER = 16
"""Our choice: 256 pairs."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All faces of an album as T of them see them.

    refused: int8 [T, N], numbers into exclusions.CAUSES. gaps: float64 [6, T, N] and timed: bool [T, N] as of
    `Album.gaps`. scores: float64 [T, N] as of `MismatchPolicy.score`.
    """

    refused: NDArray[np.int8]
    gaps: NDArray[np.float64]
    timed: NDArray[np.bool_]
    scores: NDArray[np.float64]

    def row(self, place: int) -> "Seen":
        """As one of them sees them: the same without T."""
        return Seen(refused=self.refused[place], gaps=self.gaps[:, place], timed=self.timed[place],
                    scores=self.scores[place])


class Compared:
    """An album under a policy; what was compared is kept."""

    def __init__(self, album: Album, policy: MismatchPolicy) -> None:
        self.album, self.policy = album, policy
        self._rows: dict[int, Seen] = {}

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The album's numbers, sorted by face id."""
        return np.argsort(self.album.face_id, kind="stable")

    def of(self, one: int) -> Seen:
        """The album as one of its faces sees it; arrays without T."""
        if one not in self._rows:
            few = len(self.album) <= TOGETHER
            seen = self._see(np.arange(len(self.album)) if few else np.array([one]))
            self._rows |= {number: seen.row(number) for number in range(len(self.album))} if few else {one: seen.row(0)}
        return self._rows[one]

    def _see(self, targets: NDArray[np.int64]) -> Seen:
        gaps, timed = self.album.gaps(targets)
        return Seen(refused=refusals(self.album, targets, self.policy), gaps=gaps, timed=timed,
                    scores=self.policy.score(gaps))
