"""A clean face made worse: `draw` a Plan, `apply` it, `explain` it. Images: uint8 [H, W, 3], RGB.

    profiles/     what the field draws from: named ranges and the families that turn drawn numbers into operations
    operations/   what a Plan can ask for, one function each, on the CPU
    clip.py       the same for clips, by a ClipPlan whose numbers drift and by the codecs of codecs.py
    batch/        the same on a batch of torch tensors, on an accelerator
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anchorface.degradation.clip import apply_clip, clip_profiles, draw_clip
from anchorface.degradation.clip_plan import ClipOperation, ClipPlan
from anchorface.degradation.explain import explain
from anchorface.degradation.plan import Operation, Plan
from anchorface.degradation.profiles import draw, profile, profiles
from anchorface.degradation.ranges import Profile
from anchorface.degradation.replay import apply

__all__ = ["ClipOperation", "ClipPlan", "Operation", "Plan", "Profile", "apply", "apply_batch", "apply_clip",
           "clip_profiles", "draw", "draw_clip", "explain", "profile", "profiles"]

if TYPE_CHECKING:
    import torch


def apply_batch(images: torch.Tensor, plans: Sequence[Plan], device: torch.device | str | None = None) -> torch.Tensor:
    """As `apply`, for uint8 [B, H, W, 3] on a device: see `degradation.batch`. Only a call of it needs torch."""
    from anchorface.degradation.batch import apply_batch as carry_out_batch

    return carry_out_batch(images, plans, device)
