"""The identity anchor: several references' embeddings become one unit vector, the sharper ones counting more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anchorface.records.errors import DataError

if TYPE_CHECKING:
    from anchorface.faces.quality import NormCalibration


def anchor(
    raw_embeddings: np.ndarray, temperature: float = 1.0, calibration: NormCalibration | None = None
) -> np.ndarray:
    """Norm-weighted mean of the references' directions.

        e_r = z_r / ||z_r||,  q_r = ||z_r||,  w = softmax(log(q) / T),  anchor = Norm(sum_r w_r e_r)

    At T = 1 the weights are the norms over their sum, so the anchor is the normalised plain sum of the raw vectors.
    A larger T evens the weights out, a smaller one listens to the best reference alone. With a calibration q_r is the
    quality that the norm lets expect, so a network whose norm tells nothing weighs its references alike.

    Args:
        raw_embeddings: [R, D], before normalisation (unit embedding times norm), R >= 1.
        temperature: T > 0.
        calibration: of the network that made the embeddings; None for the norms themselves, as in the paper.

    Returns:
        Unit float32 [D], the same bits in whatever order the references stand.

    Raises:
        DataError: no reference, a temperature that is not positive, vectors that are not finite or cancel out.

    Source: IConFace eq. 3-5; the calibration is our choice.
    """
    vectors = np.asarray(raw_embeddings, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) == 0:
        raise DataError(f"anchor: raw embeddings of shape {list(vectors.shape)}; [references, dimension] is needed")
    if not temperature > 0:
        raise DataError(f"anchor: temperature {temperature}; it must be above 0")
    vectors = vectors[np.lexsort(vectors.T)]  # in one order, so that the references' own changes not even a last bit
    norms = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(norms).all() or not norms.max() > 0:
        raise DataError("anchor: the references' embeddings are zero or not finite; embed them again")
    with np.errstate(divide="ignore"):
        logits = np.log(norms if calibration is None else calibration.quality(norms)) / temperature
    weights = np.exp(logits - logits.max())
    directions = vectors / np.maximum(norms, 1e-12)[:, None]
    total = (weights / weights.sum()) @ directions
    length = np.linalg.norm(total)
    if length < 1e-9:
        raise DataError("anchor: the references' embeddings cancel out; are they of one person?")
    return (total / length).astype(np.float32)
