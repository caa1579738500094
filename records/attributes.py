"""What may be said of a face in words and numbers: a closed list.

A face's attributes are float32 [A], one value each in the order of `ATTRIBUTES`, 0..1; NaN: nothing is known. People
say them in units of their own (`--age 17`), which `attribute_row` takes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anchorface.records.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One of them.

    meaning: what the value says. whole: what people say for a value of 1. low, high: descriptions of a photograph whose
    value is 0, and 1, for a text encoder; our wording.
    """

    name: str
    meaning: str
    low: str
    high: str
    whole: float = 1.0


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(name="age", meaning="years; the value is years / 100", whole=100.0,
              low="A photograph of a newborn child.", high="A photograph of a person who is one hundred years old."),
    Attribute(name="smile", meaning="0 a serious face, 1 a broad smile",
              low="A photograph of a person with a serious face.", high="A photograph of a person with a broad smile."),
    Attribute(name="glasses", meaning="0 none, 1 worn",
              low="A photograph of a person without glasses.", high="A photograph of a person who wears glasses."),
    Attribute(name="beard", meaning="0 none, 1 a full beard",
              low="A photograph of a clean-shaven person without a beard.",
              high="A photograph of a person with a full beard."),
    Attribute(name="mouth_open", meaning="0 closed, 1 wide open",
              low="A photograph of a person whose mouth is closed.",
              high="A photograph of a person whose mouth is wide open."),
    Attribute(name="quality", meaning="1 a clean picture, 0 a degraded one",
              low="A blurry, noisy photograph of low quality.", high="A sharp, clean photograph of high quality."),
    Attribute(name="artefacts", meaning="1 with errors of compression or of a restorer, 0 without",
              low="A natural photograph without artefacts.",
              high="A photograph with compression artefacts and distorted features."),
)
CLEAN = {"quality": 1.0, "artefacts": 0.0}
"""What every restored face shall be, and what training says of clean targets."""
ATTRIBUTE_NAMES: tuple[str, ...] = tuple(attribute.name for attribute in ATTRIBUTES)


def attribute_row(values: Mapping[str, float]) -> NDArray[np.float32]:
    """Attributes [A] of a face.

    Args:
        values: what is known, by name, in people's units (age in years, 0..100; the rest 0..1).

    Raises:
        ConfigurationError: a name that is not in the list, or a value that cannot be.
    """
    row = np.full(len(ATTRIBUTES), np.nan, np.float32)
    for name, value in values.items():
        if name not in ATTRIBUTE_NAMES:
            raise ConfigurationError(f"unknown attribute {name!r}; known are {', '.join(ATTRIBUTE_NAMES)}")
        place = ATTRIBUTE_NAMES.index(name)
        whole = ATTRIBUTES[place].whole
        if not (math.isfinite(value) and 0 <= value <= whole):
            raise ConfigurationError(f"attribute {name} is {value}: from 0 to {whole:g} ({ATTRIBUTES[place].meaning})")
        row[place] = value / whole
    return row
