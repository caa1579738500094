"""One training sample, and many of them as one dictionary of arrays.

In: `Sample`s with equally many references. Out: a Batch. S = pixels of a side, R references, b samples:

    position              int64 [b]
    target, degraded      uint8 [b, S, S, 3], RGB
    references            uint8 [b, R, S, S, 3], RGB; R = 0 is an array without references
    landmarks             float32 [b, 5, 2], the target's, in S-pixel crop coordinates (the degraded image's too)
    target_embedding      float32 [b, D], raw: unit vector times norm
    reference_embeddings  float32 [b, R, D], raw
    digest                str [b], SHA-256 of each sample's bytes
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorface.records.nouns import Pair

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One training sample; the arrays are as the module describes, without the first axis. pair: how it was made.
    reference_landmarks: float32 [5, 2] of each reference, in its own picture.
    """

    position: int
    target: NDArray[np.uint8]
    degraded: NDArray[np.uint8]
    references: tuple[NDArray[np.uint8], ...]
    target_landmarks: NDArray[np.float32]
    target_embedding: NDArray[np.float32]
    reference_embeddings: NDArray[np.float32]
    reference_landmarks: tuple[NDArray[np.float32], ...]
    pair: Pair

    @property
    def degraded_landmarks(self) -> NDArray[np.float32]:
        """The target's: a degradation moves no pixel."""
        return self.target_landmarks

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the sample."""
        total = hashlib.sha256(json.dumps(asdict(self.pair), sort_keys=True).encode())
        arrays = (self.target, self.degraded, *self.references, self.target_landmarks, self.target_embedding,
                  self.reference_embeddings)
        for array in arrays:
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


def collate(samples: list[Sample]) -> Batch:
    """Samples with equally many references as one dictionary of arrays."""
    target = np.stack([s.target for s in samples])
    count = len(samples[0].references)
    return {
        "position": np.array([s.position for s in samples], dtype=np.int64),
        "target": target,
        "degraded": np.stack([s.degraded for s in samples]),
        "references": np.array([s.references for s in samples], dtype=np.uint8).reshape(
            len(samples), count, *target.shape[1:]
        ),
        "landmarks": np.stack([s.target_landmarks for s in samples]),
        "target_embedding": np.stack([s.target_embedding for s in samples]),
        "reference_embeddings": np.stack([s.reference_embeddings for s in samples]),
        "digest": np.array([s.digest for s in samples], dtype=np.str_),
    }
