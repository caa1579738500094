"""Who a restored picture looks like: the person, or the reference that it was copied from.

In: unit embeddings [D] of a judge, a face network that was neither in the anchor nor in the loss; it sees 112 px crops
(`judge_crop`). Out: cosines, one set per picture.
"""

from dataclasses import dataclass

import numpy as np

from anchorface.faces.align import arcface_matrix, warp

CROP = 112
"""Side of the crops that a judge sees, px."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How the judge sees one output (cosines of unit embeddings, -1..1).

    target: to the clean target. first, mean: to the first reference, and the mean over all of them.
    truth_first, truth_mean: what the clean target itself has to them.
    surplus: first - truth_first. copied: nearer to the first reference than the target itself is. copied_any:
    nearer to some reference than the target is to that one. All but `target` are None where there is no reference.
    """

    target: float
    first: float | None = None
    mean: float | None = None
    truth_first: float | None = None
    truth_mean: float | None = None
    surplus: float | None = None
    copied: bool | None = None
    copied_any: bool | None = None


def likeness(output: np.ndarray, target: np.ndarray, references: np.ndarray) -> Likeness:
    """Compare an output with its target and with the protocol's references, whether it was shown them or not.

    The share of outputs with `copied` is the copy rate. It is the disease of reference-aware restoration: a
    likeness to the reference above the truth's own is no merit. Degraded input and outputs made without
    references give the level that chance and blur explain.

    Copy rate alone can mislead: an output equal to the truth but for tiny errors has about 50 %, with a surplus
    near 0. Copying is a high rate with a clear surplus.

    Args:
        output, target: unit embeddings [D] by the judge.
        references: unit embeddings [R, D], in the protocol's order; R may be 0.
    """
    to_target = float(output @ target)
    if len(references) == 0:
        return Likeness(target=to_target)
    own, truth = references @ output, references @ target
    return Likeness(target=to_target, first=float(own[0]), mean=float(own.mean()), truth_first=float(truth[0]),
                    truth_mean=float(truth.mean()), surplus=float(own[0] - truth[0]), copied=bool(own[0] > truth[0]),
                    copied_any=bool((own > truth).any()))


def judge_crop(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The 112 px crop that the judge sees; outputs are cut with the clean target's landmarks in every condition."""
    return warp(image, arcface_matrix(landmarks, CROP), CROP)
