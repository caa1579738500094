"""Guidance away from several things at once: each negative condition is a stream of its own, with its own scale.

    v~ = v(c) + sum_s g_s (v(c) - v(n_s))

c: the conditions; n_s: the same pictures of which something else is said, such as low quality, artefacts, or an
attribute that the references contradict.

Source: IP-FVR names a multi-stream negative prompt; the formula is `sampler.guided`'s (our choice).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anchorface.models.conditions import Conditions
from anchorface.models.flow import VelocityFunction
from anchorface.models.rg_ipfr.guidance import Predict, constant, in_one_batch
from anchorface.models.sampler import guided
from anchorface.records.attributes import ATTRIBUTE_NAMES, ATTRIBUTES, CLEAN, attribute_row


@dataclass(frozen=True, kw_only=True)
class Negative:
    """One stream. attributes: what it says of a picture instead, by name, in people's units (records.attributes).
    scale: g_s.

    Raises:
        ConfigurationError: no such attribute, or a value that it cannot have.
    """

    attributes: tuple[tuple[str, float], ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        attribute_row(dict(self.attributes))

    def of(self, given: Conditions) -> Conditions:
        """n_s for these conditions c: what else is said of the pictures stays; but of how clean they are, it is said
        anew, since training says one thing of that at a time, or both alike.
        """
        said = torch.from_numpy(attribute_row(dict(self.attributes))).to(given.text.device)
        before = given.attributes
        if before is None:
            before = said.new_full((len(given.text), len(ATTRIBUTES)), np.nan)
        if dict(self.attributes).keys() & CLEAN.keys():
            before = before.clone()
            before[:, [ATTRIBUTE_NAMES.index(name) for name in CLEAN]] = np.nan
        return given.with_attributes(torch.where(said.isnan(), before, said.to(before.dtype)))


QUALITY = Negative(attributes=(("quality", 0.0),))
ARTEFACTS = Negative(attributes=(("artefacts", 1.0),))


def away_from(predict: Predict, given: Conditions, negatives: Sequence[Negative], *, most: int,
              reuse: int = 1) -> VelocityFunction:
    """The guided velocity of B pictures.

    Args:
        predict: the network. given: c. negatives: the streams; one of scale 0 is not computed.
        most: pictures in one call of the network; all streams of a step are one batch, cut into pieces of so many.
        reuse: as of `models.cache.Cache`.
    """
    streams = [negative for negative in negatives if negative.scale]
    answers = in_one_batch(predict, [given, *(negative.of(given) for negative in streams)], most, reuse)

    def velocity(z: Tensor, sigma: Tensor) -> Tensor:
        value, *others = answers(z, sigma)
        branches = [(stream.scale, constant(other)) for stream, other in zip(streams, others, strict=True)]
        return guided(constant(value), branches)(z, sigma)

    return velocity
