"""One training sample, and many of them as one dictionary of arrays.

In: `Sample`s with equally many references. Out: a Batch. S = pixels of a side, R references, b samples:

    position              int64 [b]
    target, degraded      uint8 [b, S, S, 3], RGB
    references            uint8 [b, R, S, S, 3], RGB; R = 0 is an array without references
    landmarks             float32 [b, 5, 2], the target's, in S-pixel crop coordinates (the degraded image's too)
    reference_landmarks   float32 [b, R, 5, 2], of each reference in its own picture
    target_embedding      float32 [b, D], raw: unit vector times norm
    reference_embeddings  float32 [b, R, D], raw
    digest                str [b], SHA-256 of each sample's bytes

Where the training degrades on its device (`FeedSettings.degrade_on_device`), there stands instead of `degraded`

    plan                  str [b], the degradation as JSON (degradation.Plan)

and the digest covers the plan but no degraded picture.

Samples of clips (`FeedSettings.frames` above 1) have T frames of one track where a picture has one: `target` and
`degraded` uint8 [b, T, S, S, 3], `landmarks` float32 [b, T, 5, 2], `target_embedding` float32 [b, T, D]. Beside them:

    attributes            float32 [b, A], what is known of the target, in the order of records.attributes; NaN: unknown
    seconds               float32 [b, T], of each frame, from the clip's first

Where the feed reads cached latents, `references` is [b, R, 0, 0, 3], and beside it stand, of L tokens of C channels:

    target_latent         float32 [b, L, C]
    reference_latents     float32 [b, R, L, C]
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorface.records.nouns import Clip, Pair

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One training sample; the arrays are as the module describes, without the first axis. pair: how it was made.
    degraded: None where the training makes it.
    reference_landmarks: float32 [5, 2] of each reference, in its own picture.
    latents: float32 [1 + R, L, C], the target's and the references', instead of the references' pictures.
    digest: SHA-256 of everything in the sample.
    """

    position: int
    target: NDArray[np.uint8]
    degraded: NDArray[np.uint8] | None
    references: tuple[NDArray[np.uint8], ...]
    target_landmarks: NDArray[np.float32]
    target_embedding: NDArray[np.float32]
    reference_embeddings: NDArray[np.float32]
    reference_landmarks: tuple[NDArray[np.float32], ...]
    pair: Pair
    latents: NDArray[np.float32] | None = None
    digest: str = field(init=False)

    @property
    def degraded_landmarks(self) -> NDArray[np.float32]:
        """The target's: a degradation moves no pixel."""
        return self.target_landmarks

    def __post_init__(self) -> None:
        """Hash everything in the sample, while its pictures are in the processor's cache."""
        # An empty appearance is left out: samples made before there was one keep their digests.
        pair = {key: value for key, value in vars(self.pair).items() if value or key != "appearance"}
        total = hashlib.sha256(json.dumps(pair, sort_keys=True).encode())
        for array in self._hashed():
            if array is not None:
                total.update(np.ascontiguousarray(array).data)
        object.__setattr__(self, "digest", total.hexdigest())

    def _hashed(self) -> tuple[NDArray[Any] | None, ...]:
        return (self.target, self.degraded, *self.references, self.target_landmarks, self.target_embedding,
                self.reference_embeddings, self.latents)


@dataclass(frozen=True, kw_only=True)
class ClipSample(Sample):
    """One training sample of T frames: `target`, `degraded`, `target_landmarks` and `target_embedding` have them as
    their first axis, and the pair's plan is a ClipPlan. clip: which frames. attributes: float32 [A]. seconds: float32
    [T]."""

    clip: Clip
    attributes: NDArray[np.float32]
    seconds: NDArray[np.float32]

    def _hashed(self) -> tuple[NDArray[Any] | None, ...]:
        names = np.frombuffer(json.dumps(vars(self.clip), sort_keys=True).encode(), np.uint8)
        return (*super()._hashed(), names, self.attributes, self.seconds)


def room(samples: int, references: int, size: int, *, cached: bool, degraded: bool, frames: int = 1) -> Batch:
    """Arrays for the pictures of so many samples, to be filled.

    Args:
        cached: latents stand for the references' pictures. degraded: whether there are degraded pictures. frames: of a
        sample; the axis is there where they are several.
    """
    side, names = 0 if cached else size, ("target", "degraded") if degraded else ("target",)
    shape = (samples, frames, size, size, 3) if frames > 1 else (samples, size, size, 3)
    return {name: np.empty(shape, np.uint8) for name in names} | {
        "references": np.empty((samples, references, side, side, 3), np.uint8)}


def collate(samples: list[Sample], pictures: Batch | None = None) -> Batch:
    """Samples with equally many references as one dictionary of arrays.

    Args:
        pictures: the `room` that the samples' pictures already stand in; they are copied if there is none.
    """
    cached = [s.latents for s in samples if s.latents is not None]
    latents = {"target_latent": np.stack([one[0] for one in cached]),
               "reference_latents": np.stack([one[1:] for one in cached])} if cached else {}
    clips = [s for s in samples if isinstance(s, ClipSample)]
    beside = {"attributes": np.stack([s.attributes for s in clips]),
              "seconds": np.stack([s.seconds for s in clips])} if clips else {}
    plans = {"plan": np.array([s.pair.plan for s in samples], dtype=np.str_)} if samples[0].degraded is None else {}
    position = {"position": np.array([s.position for s in samples], dtype=np.int64)}
    return position | (_copied(samples) if pictures is None else pictures) | latents | {
        "landmarks": np.stack([s.target_landmarks for s in samples]),
        "reference_landmarks": np.array([s.reference_landmarks for s in samples], np.float32).reshape(
            len(samples), -1, 5, 2),
        "target_embedding": np.stack([s.target_embedding for s in samples]),
        "reference_embeddings": np.stack([s.reference_embeddings for s in samples]),
        "digest": np.array([s.digest for s in samples], dtype=np.str_),
    } | beside | plans


def _copied(samples: list[Sample]) -> Batch:
    first = samples[0]
    frames = len(first.target) if isinstance(first, ClipSample) else 1
    pictures = room(len(samples), len(first.reference_embeddings), first.target.shape[-2], frames=frames,
                    cached=first.latents is not None, degraded=first.degraded is not None)
    for place, sample in enumerate(samples):
        pictures["target"][place] = sample.target
        if sample.degraded is not None:
            pictures["degraded"][place] = sample.degraded
        for number, image in enumerate(sample.references):
            pictures["references"][place, number] = image
    return pictures
