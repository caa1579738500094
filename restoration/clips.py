"""One face through a film, restored crop by crop: in clips by a system that sees time, frame by frame by the others.

Frame by frame, every frame of a track is drawn from one noise, so that what the network makes up stays where the frames
stay: it flickers less than with a noise a frame, and more than in clips (our choice). In clips, frames share as
much of their noise as in training (`shared_noise` of the system), and a frame has the same in both clips that show it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from anchorface.models.flow import VelocityFunction
from anchorface.models.ip_fvr.blending import BlendingSettings, clips, sample_clips
from anchorface.models.ip_fvr.settings import IPFVRSettings
from anchorface.models.pixels import levels_to_tensor
from anchorface.models.settings import SystemSettings
from anchorface.records import ConfigurationError
from anchorface.restoration.restorer import Reference, Restorer
from anchorface.restoration.sampler_settings import SamplerSettings


class Crop(NamedTuple):
    """A face in one frame. frame: its number. image: uint8 [S, S, 3]; landmarks: [5, 2] in it."""

    frame: int
    image: np.ndarray
    landmarks: np.ndarray


def sees_time(system: SystemSettings) -> bool:
    """Whether a system restores clips."""
    return isinstance(system, IPFVRSettings) and system.temporal != "none" and system.most_frames > 1


def blending_of(system: SystemSettings, length: int | None, overlap: int | None, beta: float | None
                ) -> BlendingSettings | None:
    """How a system's clips are joined; None for one that restores frame by frame.

    Args:
        length: frames of a clip, None: the most that the system takes, at most what BlendingSettings says. overlap:
            frames that neighbouring clips share. beta: as of BlendingSettings. None: a sixth of a clip, and its own.

    Raises:
        ConfigurationError: any of them for a system that restores frame by frame, or they do not fit.
    """
    if not sees_time(system):
        if (length, overlap, beta) != (None, None, None):
            raise ConfigurationError(f"{system.kind} restores films frame by frame: it has no clips to set")
        return None
    assert isinstance(system, IPFVRSettings)
    usual = BlendingSettings()
    length = min(usual.length, system.most_frames) if length is None else length
    overlap = length // 6 if overlap is None else overlap
    if not 2 <= length <= system.most_frames or not 0 <= overlap < length:
        raise ConfigurationError(f"clips of {length} frames that share {overlap}: this checkpoint takes 2 to "
                                 f"{system.most_frames} frames, and fewer are shared")
    return BlendingSettings(length=length, stride=length - overlap, beta=usual.beta if beta is None else beta)


def restored_crops(restorer: Restorer, crops: Iterator[Crop], references: Sequence[Reference], *, seed: int,
                   length: float, likeness: float, settings: SamplerSettings, blending: BlendingSettings | None
                   ) -> Iterator[np.ndarray]:
    """The restored faces of one track, one for each crop, in their order.

    Of the crops at most a clip is taken ahead (`Restorer.batch`, frame by frame).

    Args:
        crops: of neighbouring frames. references: of the person. seed: of the track. length: of its raw embeddings, on
            which depends how much of the degraded face stays. likeness: its cosine with the references' anchor, on
            which depends how far they are believed. Both are the same in every frame. blending: as `blending_of`.

    Yields:
        uint8 [S, S, 3].

    Raises:
        ConfigurationError: a fidelity above 0 for clips.
    """
    keep = settings.keep
    if keep is None and restorer.keep is not None:
        keep = float(restorer.keep.share([length])[0])
    settings = replace(settings, keep=keep, trust=restorer.trusted(likeness, settings))
    if blending is None:
        for clip in clips(crops, BlendingSettings(length=restorer.batch, stride=restorer.batch)):
            images, landmarks = np.stack([one.image for one in clip]), np.stack([one.landmarks for one in clip])
            yield from restorer.restore_aligned(images, [references] * len(clip), seeds=[seed] * len(clip),
                                                landmarks=landmarks, settings=settings)
        return
    if settings.fidelity:
        raise ConfigurationError(f"fidelity {settings.fidelity}: clips are samples, with fidelity 0")
    waiting: deque[Crop] = deque()

    def drawn() -> Iterator[tuple[VelocityFunction, Tensor]]:
        last = -1
        for clip in clips(crops, blending):
            waiting.extend(one for one in clip if one.frame > last)
            last = clip[-1].frame
            images, landmarks = np.stack([one.image for one in clip]), np.stack([one.landmarks for one in clip])
            asked = restorer.asked(images, [references] * len(clip), landmarks, settings, frames=len(clip))
            noise = restorer.noise([seed], asked.given.degraded, [one.frame for one in clip])
            yield restorer.velocity(asked, settings), noise

    for tokens in sample_clips(drawn(), restorer.levels(settings), blending):
        images = np.stack([waiting.popleft().image for _ in tokens])
        shares = np.full(len(tokens), keep) if keep else None
        yield from restorer.decode(tokens, levels_to_tensor(images, restorer.device), shares)
