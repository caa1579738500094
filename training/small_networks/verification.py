"""How well a network tells persons apart: area under the ROC curve, and how the norm follows quality.

Embeddings: unit float32 [N, D]; persons: one label per row.
"""

import numpy as np


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive score is above a negative one; ties count half.

    Args:
        positive, negative: float [P], [Q]; similarity of same-person and of other-person pairs.
    """
    order = np.sort(negative)
    below = np.searchsorted(order, positive, side="left")
    upto = np.searchsorted(order, positive, side="right")
    return float((below + upto).sum() / (2.0 * len(positive) * len(negative)))


def found_at(positive: np.ndarray, negative: np.ndarray, rate: float = 1e-3) -> float:
    """Share of the positive scores above the score that `rate` of the negative ones exceed."""
    return float((positive > np.quantile(negative, 1.0 - rate)).mean())


def pair_scores(first: np.ndarray, second: np.ndarray, first_person: np.ndarray,
                second_person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all same-person pairs and of all other-person pairs between two sets."""
    cosine = first @ second.T
    same = first_person[:, None] == second_person[None, :]
    return cosine[same], cosine[~same]


def between_roles(embeddings: np.ndarray, person: np.ndarray, role: np.ndarray,
                  roles: tuple[str, str]) -> tuple[float, np.ndarray, np.ndarray]:
    """AUC of one role against the other (neutral against smiling, early against late), with both score lists."""
    a, b = role == roles[0], role == roles[1]
    same, other = pair_scores(embeddings[a], embeddings[b], person[a], person[b])
    return area_under_curve(same, other), same, other


def within(embeddings: np.ndarray, person: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """AUC over all pairs of different rows, with both score lists."""
    upper = np.triu_indices(len(person), 1)
    cosine = (embeddings @ embeddings.T)[upper]
    same = (person[:, None] == person[None, :])[upper]
    return area_under_curve(cosine[same], cosine[~same]), cosine[same], cosine[~same]
