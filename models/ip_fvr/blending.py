"""A film of any length, sampled clip by clip; each clip is drawn towards the one before it where both show a frame.

Clip k shows frames k * stride .. k * stride + length - 1 of the film, so it shares length - stride frames with the clip
before it. After a denoising step, for the j-th of these, counted from 1:

    z_k,j <- a_j z_(k-1),j + (1 - a_j) z_k,j        a_j = exp(-beta j)

with z_(k-1) as it was after the same step. At beta 0 the clip before decides what both show, at a large beta clips are
independent, exactly. Where both clips show a frame, it is the later clip's that counts: with the last step in the
window the film changes from one clip to the next by the same weights.

IP-FVR names exponential blending during denoising; the formula, counting from 1, and the window are our choice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

import torch
from torch import Tensor

from anchorface.models.flow import VelocityFunction
from anchorface.models.sampler import sample
from anchorface.models.settings import Settings, require
from anchorface.records.bounds import AMOUNT, SIZE, Bounds, check

Frame = TypeVar("Frame")


@dataclass(frozen=True, kw_only=True)
class BlendingSettings(Settings):
    """length: frames of a clip. stride: frames from one clip's start to the next. beta: how fast the clip before loses
    its say. window: the share of the steps, from above the first to the second number, after which clips are blended.
    """

    length: Annotated[int, SIZE] = 24
    stride: Annotated[int, SIZE] = 20
    beta: Annotated[float, AMOUNT] = 0.5
    window: Annotated[tuple[float, float], Bounds(0, 1, count=2)] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check(self, "blending.")
        require(self.stride <= self.length, f"blending.stride is {self.stride}: frames between clips of "
                                            f"{self.length} would be lost; at most {self.length}")
        require(self.window[0] <= self.window[1], f"blending.window is {self.window}: its start comes first")

    @property
    def overlap(self) -> int:
        """Frames that a clip shares with the one before it."""
        return self.length - self.stride

    def weights(self) -> Tensor:
        """a_j of the shared frames, float32 [overlap]."""
        return torch.exp(-self.beta * torch.arange(1, self.overlap + 1, dtype=torch.float64)).float()

    def blends(self, step: int, steps: int) -> bool:
        """Whether clips are blended after a step, counted from 1."""
        return self.window[0] * steps < step <= self.window[1] * steps


def clips(frames: Iterable[Frame], settings: BlendingSettings) -> Iterator[tuple[Frame, ...]]:
    """A film's frames, taken one after another, as clips; the last is as short as the film leaves it."""
    held: list[Frame] = []
    new = 0
    for frame in frames:
        held.append(frame)
        new += 1
        if len(held) == settings.length:
            yield tuple(held)
            del held[: settings.stride]
            new = 0
    if new:
        yield tuple(held)


def sample_clips(films_clips: Iterable[tuple[VelocityFunction, Tensor]], sigmas: Tensor,
                 settings: BlendingSettings) -> Iterator[Tensor]:
    """The clean tokens of a film's frames, in order, each once.

    Clips are taken one at a time. Of those before, what is kept is the shared frames after each step of the window:
    memory does not grow with the film.

    Args:
        films_clips: of each clip its velocity function and its noise [frames, L, C], as `clips` cuts the film. A
            frame's noise should be the same in both clips that show it: a seed a frame.
        sigmas: as of `models.sampler.sample`.

    Yields:
        float32 [frames, L, C]: `stride` frames of each clip, and the rest of the last.

    Raises:
        ConfigurationError: a clip of another length than the settings', before the last.
    """
    steps, weights = len(sigmas) - 1, settings.weights()[:, None, None]
    before: dict[int, Tensor] | None = None  # of the clip before: its last frames after each step
    tail: Tensor | None = None
    for velocity, noise in films_clips:
        require(tail is None or len(tail) == settings.overlap,
                f"a clip after one that was not {settings.length} frames long")
        require(len(noise) <= settings.length, f"a clip of {len(noise)} frames; blending.length is {settings.length}")
        kept: dict[int, Tensor] = {}

        def blended(step: int, z: Tensor, before: dict[int, Tensor] | None = before,
                    kept: dict[int, Tensor] = kept) -> Tensor:
            if not settings.overlap or not settings.blends(step, steps):
                return z
            if before is not None:
                old, share = before[step][: len(z)], weights[: len(z)].to(z.device)
                z = torch.cat([share * old + (1 - share) * z[: len(old)], z[len(old):]])
            kept[step] = z[settings.stride:].clone()
            return z

        drawn = sample(velocity, noise, sigmas, blended)
        before, tail = kept, drawn[settings.stride:].clone()
        yield drawn[: settings.stride]
    if tail is not None and len(tail):
        yield tail
