"""What each condition answers to a few cases: the truth, the input, a restoration, or another program's file.

In: cases of a protocol. Out: one `Answer` a case.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anchorface.evaluation.cases import Case
from anchorface.evaluation.conditions import Condition
from anchorface.evaluation.outputs import Answer, Outputs
from anchorface.evaluation.protocol import Protocol
from anchorface.evaluation.sources import FacePicture
from anchorface.restoration import Reference, Restorer, SamplerSettings

WITHOUT_CHECKPOINT = ("truth", "degraded", "outputs")
"""Kinds of conditions that need no checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """What answers are made with; without a restorer only the kinds of `WITHOUT_CHECKPOINT`."""

    protocol: Protocol
    restorer: Restorer | None
    settings: SamplerSettings
    outputs: dict[str, Outputs]

    def answers(self, condition: Condition, part: Sequence[Case]) -> list[Answer]:
        """The condition's answer to each case."""
        if condition.kind == "outputs":
            return [self.outputs[condition.slug].answer(case.row.name, case.size) for case in part]
        return [Answer(image=image) for image in self._pictures(condition, part)]

    def _pictures(self, condition: Condition, part: Sequence[Case]) -> np.ndarray:
        if condition.kind == "degraded":
            return np.stack([c.degraded for c in part])
        targets = np.stack([c.target.image for c in part])
        if condition.kind == "truth":
            return targets
        assert self.restorer is not None
        if condition.kind == "autoencoder":
            return self.restorer.reconstruct(targets)
        own_network = self.protocol.embedder == self.restorer.embedder_name
        return self.restorer.restore_aligned(
            np.stack([c.degraded for c in part]),
            [[_reference(picture, own_network) for picture in self._shown(condition, c)] for c in part],
            landmarks=np.stack([c.target.landmarks for c in part]), seeds=[c.row.seed for c in part],
            settings=replace(self.settings, fidelity=condition.fidelity))

    def _shown(self, condition: Condition, case: Case) -> tuple[FacePicture, ...]:
        """The references that a condition shows with a case: a stranger's are read when they are needed."""
        if condition.whose == "own":
            return case.references(condition.references)
        other = self.protocol.strangers[case.row.number]
        return () if other is None else replace(case, row=self.protocol.rows[other]).references(condition.references)


def _reference(picture: FacePicture, own_network: bool) -> Reference:
    """A reference for the restorer; the face table's embedding serves only if the restorer's own network made it."""
    return Reference(image=picture.image, landmarks=picture.landmarks,
                     raw_embedding=picture.raw_embedding if own_network else None)
