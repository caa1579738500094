"""Clips in training: a row for every frame, as networks and objectives see them, and one value a clip again.

In: the feed's batch of b clips of T frames (pipelines.feed.sample), or of pictures, which pass as they are. Rows are
clip-major: row = clip * T + frame.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from anchorface.models.encode import each_frame
from anchorface.pipelines.feed.sample import Batch

OF_FRAMES = frozenset({"target", "degraded", "landmarks", "target_embedding", "seconds"})
"""What every frame of a clip has for itself; all else is the clip's."""


def frames_of(batch: Batch) -> int:
    """Frames of each sample; 1 for pictures."""
    return batch["target"].shape[1] if batch["target"].ndim == 5 else 1


def by_frame(batch: Batch) -> Batch:
    """A batch of clips as one of b * T pictures; what a clip has once stands in the rows of all its frames."""
    if batch["target"].ndim != 5:
        return batch
    frames = frames_of(batch)
    return {name: array.reshape(-1, *array.shape[2:]) if name in OF_FRAMES else _repeated(array, frames)
            for name, array in batch.items()}


def over_frames(values: Tensor, frames: int) -> Tensor:
    """The mean over each clip's frames, [b * T] to [b]; NaN is no value, and a clip without any has NaN."""
    return values if frames == 1 else torch.nanmean(values.unflatten(0, (-1, frames)), dim=1)


def _repeated(of_clips: Any, frames: int) -> Any:
    return each_frame(of_clips, frames) if isinstance(of_clips, Tensor) else np.repeat(of_clips, frames, axis=0)
