"""What a recipe may set a range to: no negative blur, no quality above 100, no unknown word.

Keys share their vocabulary over all families, so that a bound is stated once, for a parameter's first word.
"""

import math
from collections.abc import Iterable, Mapping

from anchorface.degradation.operations.resize import INTERPOLATIONS
from anchorface.degradation.plan import Value

Limits = Mapping[str, tuple[Value, ...]]

BOUNDS: Limits = {
    "sigma": (0, 256), "variance": (0, 65536), "kernel": (1, 255), "angle": (-360, 360), "cutoff": (0.01, math.pi),
    "generalised": (0.1, 16), "plateau": (0.1, 16), "shrink": (0.125, 512), "factor": (0.125, 512), "up": (1, 8),
    "down": (1 / 512, 1), "interpolation": tuple(INTERPOLATIONS), "level": (0, 1000), "scale": (0, 1000),
    "quality": (1, 100), "electrons": (1, 1e6), "read": (0, 1e6), "red": (0.1, 10), "blue": (0.1, 10), "alpha": (0, 1),
    "amount": (0, 10), "threshold": (0, 255), "eigenvalue": (0, 1), "axis": (-1, 1), "edge": (0, 512),
    "place": (0, 1), "side": (1, 512), "brightness": (0, 16), "contrast": (0, 16), "saturation": (0, 16),
    "hue": (-360, 360),
}
"""Lowest and highest number, or the known words; lengths in px at 512, levels of 8 bit, angles in degrees."""


def limits(keys: Iterable[str], **others: tuple[Value, ...]) -> Limits:
    """The bounds of these keys, such as `blur1.sigma`; others: by parameter, before `BOUNDS`."""
    known = {**BOUNDS, **others}
    return {key: known[word] for key in keys if (word := key.rsplit(".", 1)[-1].split("_")[0]) in known}
