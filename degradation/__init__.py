"""A clean face made worse: `draw` a Plan, `apply` it, `explain` it. Images: uint8 [H, W, 3], RGB.

    profiles/     what the field draws from: named ranges and the families that turn drawn numbers into operations
    operations/   what a Plan can ask for, one function each, on the CPU
"""

from degradation.explain import explain
from degradation.plan import Operation, Plan
from degradation.profiles import draw, profile, profiles
from degradation.ranges import Profile
from degradation.replay import apply

__all__ = ["Operation", "Plan", "Profile", "apply", "draw", "explain", "profile", "profiles"]
