"""Which token stands where: the segments of the sequence and their position ids.

Ids are [tokens, 4] integers (t, h, w, l), shared by a batch. The image stream is [scene; degraded; references];
text is the transformer's own stream and goes first in joint attention.

    segment        t                                       h    w    l
    text           0                                       0    0    index
    scene          0                                       row  col  0
    degraded       degraded_time (2)                       row  col  0
    reference r    reference_time (10) + r * step (1)      row  col  0

Stock FLUX.2 counts its pictures 10, 20, 30, ...: degraded_time 10, reference_time 20, reference_step 10.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from anchorface.records import ConfigurationError

Grid = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The sequence of one batch: token grids (rows, columns) per segment; no reference is an empty tuple.

    Source: IConFace eq. 2; the first reference's t = 10 is Flux-FaceIR's.
    """

    text: int
    scene: Grid
    degraded: Grid
    references: tuple[Grid, ...] = ()
    degraded_time: int = 2
    reference_time: int = 10
    reference_step: int = 1

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens per image segment, in order: scene, degraded, then each reference."""
        return tuple(rows * columns for rows, columns in (self.scene, self.degraded, *self.references))

    @property
    def scene_tokens(self) -> int:
        """Tokens of the scene: the outputs that are kept."""
        return self.lengths[0]

    @property
    def image_tokens(self) -> int:
        """Tokens of the whole image stream."""
        return sum(self.lengths)

    def text_ids(self, device: torch.device | str = "cpu") -> Tensor:
        """[text, 4] ids of the text stream."""
        ids = torch.zeros(self.text, 4, dtype=torch.int64, device=device)
        ids[:, 3] = torch.arange(self.text, device=device)
        return ids

    def image_ids(self, device: torch.device | str = "cpu") -> Tensor:
        """[image_tokens, 4] ids of the image stream."""
        of_references = (self.reference_time + r * self.reference_step for r in range(len(self.references)))
        times = (0, self.degraded_time, *of_references)
        grids = (self.scene, self.degraded, *self.references)
        return torch.cat([grid_ids(grid, time, device) for grid, time in zip(grids, times, strict=True)])


def grid_ids(grid: Grid, time: int, device: torch.device | str = "cpu") -> Tensor:
    """Ids [rows * columns, 4] of one image at t = `time`, in row order."""
    one = torch.zeros(1, dtype=torch.int64, device=device)
    rows, columns = (torch.arange(n, device=device) for n in grid)
    return torch.cartesian_prod(one + time, rows, columns, one)


def square(tokens: int) -> Grid:
    """The grid of a square image of `tokens` tokens.

    Raises:
        ConfigurationError: not a square number; then the caller must give the grid.
    """
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ConfigurationError(f"{tokens} tokens are not a square image; pass a Layout with the token grids")
    return side, side


def layout_of(text: Tensor, scene: Tensor, degraded: Tensor, references: tuple[Tensor, ...] = (), *,
              degraded_time: int = 2, reference_time: int = 10, reference_step: int = 1) -> Layout:
    """The layout of square images given as token tensors [B, L, C]."""
    return Layout(
        text=text.shape[1], scene=square(scene.shape[1]), degraded=square(degraded.shape[1]),
        references=tuple(square(reference.shape[1]) for reference in references),
        degraded_time=degraded_time, reference_time=reference_time, reference_step=reference_step,
    )
