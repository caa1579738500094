"""What the judge says of a protocol's clean pictures, before anything is restored.

In: a protocol, its source, the judge. Out: unit embeddings, a few kilobytes per row; pictures are read row
after row and let go.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from anchorface.evaluation.cases import cases
from anchorface.evaluation.protocol import Protocol
from anchorface.evaluation.sources import Source
from anchorface.faces.embed import Embedder
from anchorface.faces.likeness import judge_crop


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The judge's unit embeddings of targets [N, D], of each row's references [R, D], and of a stranger's [R, D]."""

    targets: np.ndarray
    references: tuple[np.ndarray, ...]
    strangers: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, source: Source, protocol: Protocol, network: Embedder) -> "Judged":
        """Look at every target and reference of a protocol once."""
        targets = np.zeros((len(protocol.rows), network.dimension))
        ends = np.cumsum([0, *(len(row.references) for row in protocol.rows)]).tolist()
        known = np.zeros((ends[-1], network.dimension))  # an array a row between pictures would scatter the memory
        for n, case in enumerate(cases(source, protocol)):
            pictures = (case.target, *case.references())
            units = embed(network, [judge_crop(picture.image, picture.landmarks) for picture in pictures])
            targets[n], known[ends[n]:ends[n + 1]] = units[0], units[1:]
        references = tuple(known[start:stop] for start, stop in pairwise(ends))
        strangers = tuple(np.zeros((0, network.dimension)) if other is None else references[other]
                          for other in protocol.strangers)
        return cls(targets=targets, references=references, strangers=strangers)

    def scale(self, people: Sequence[str]) -> dict[str, float | None]:
        """What the judge's cosines mean here: between targets of different people, and target to reference.

        Args:
            people: who stands in each row, [N].
        """
        same = [float(v) for t, r in zip(self.targets, self.references, strict=True) for v in r @ t]
        return {"different_people": _between(self.targets, people),
                "same_person": float(np.mean(same)) if same else None}


def embed(network: Embedder, crops: Sequence[np.ndarray]) -> np.ndarray:
    """Unit embeddings float64 [B, D] of crops uint8 [112, 112, 3]."""
    return network.embed(np.stack(crops))[0].astype(np.float64) if crops else np.zeros((0, network.dimension))


def _between(units: np.ndarray, people: Sequence[str]) -> float | None:
    """Mean cosine of rows that show different people, from sums: all pairs less those of one person, so no [N, N]."""
    of_person: dict[str, list[int]] = defaultdict(list)
    for number, person in enumerate(people):
        of_person[person].append(number)
    own = [units[numbers].sum(axis=0) for numbers in of_person.values()]
    pairs = len(people) ** 2 - sum(len(numbers) ** 2 for numbers in of_person.values())
    whole = units.sum(axis=0)
    return float((whole @ whole - sum(part @ part for part in own)) / pairs) if pairs else None
