"""A clean face made worse: `draw` a Plan, `apply` it, `explain` it. Images: uint8 [S, S, 3], RGB."""

from degradation.plan import Operation, Plan
from degradation.profiles import Profile, draw, profile, profiles
from degradation.replay import apply, explain

__all__ = ["Operation", "Plan", "Profile", "apply", "draw", "explain", "profile", "profiles"]
