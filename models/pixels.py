"""Pictures as the networks take them, and back."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def levels_to_tensor(images: NDArray[np.uint8] | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [B, S, S, 3] RGB, NumPy's or torch's, to float32 [B, 3, S, S] in [-1, 1]."""
    given = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    moved = given.to(device, non_blocking=True)
    return moved.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def tensor_to_levels(images: Tensor) -> NDArray[np.uint8]:
    """float [B, 3, S, S], about [-1, 1], to uint8 [B, S, S, 3] RGB, rounded and clipped."""
    levels = ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
