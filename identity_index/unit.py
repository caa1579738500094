"""Embeddings of length 1, whose products are cosines."""

import numpy as np
from numpy.typing import NDArray


def unit(embeddings: np.ndarray) -> NDArray[np.float32]:
    """Rows scaled to length 1, float32 [N, D]; a zero row stays zero."""
    values = np.asarray(embeddings, dtype=np.float32)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.maximum(length, np.float32(1e-12))
