"""How a face is drawn: what a user may choose."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anchorface.models.ip_fvr.negatives import Negative
from anchorface.models.settings import SystemSettings
from anchorface.records import ConfigurationError
from anchorface.records.attributes import ATTRIBUTE_NAMES, attribute_row

LOW_QUALITY, OF_REFERENCES = "low_quality", "references"
WITHOUT = tuple(name for name in ATTRIBUTE_NAMES if name not in ("age", "quality"))


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How a face is drawn.

    steps: Euler steps. guidance: classifier-free, 1 = none (IConFace: 4 on the 4B backbone).
    trust: how far references are believed to show the person, from 0 (the face is drawn as without them) to 1; None: by
    what the checkpoint carries (models.trust), each face's own; 1 where it carries nothing.
    reference_guidance: pushes along "with minus without references", beyond 1 further than the network does by itself;
    trust scales it (our choice; docs/results.md has what it brings and costs).
    input_guidance, context_guidance: s_i and s_c of multi-reference guidance, which shows the network each reference
    alone (models.rg_ipfr.guidance); None = the system's own, and where it has none, no such guidance.
    fidelity: 0 = a sample; 1 = the one-step mean estimate from pure noise, averaged over `mean_draws` noises;
    between them the clean tokens are blended in a line. Blending the mean and a sample is the best trade between
    distortion and realism for squared error (Freirich et al. 2021); that it is done on tokens is our choice.
    keep: share of the degraded face that stays in the picture, 0 to 1; None: by the ramp that the checkpoint carries
    (models.keep), which keeps more of better faces; 0 where it carries none.
    mu: shift of the noise levels, None = FLUX.2's rule.
    reuse_context: for how many steps the degraded and reference tokens' keys and values serve; 1 computes them at every
    step, which is exact; more is faster and close (`benchmarks/sampling.py` measures both).
    precision: `bf16` computes velocities under autocast, as runs train; `fp32` does not, and a face then depends on the
    batch around it by a level at most.
    attributes: what is said of every face, by name, in people's units (records.attributes); age_of_references: that
    it is as old as its references are for a network (faces.attributes, coarse); negatives: what it is drawn away from;
    context_scales: how much of the references and of the attributes a system with decoupled attentions
    hears, None = as its settings say.
    """

    steps: int = 12
    guidance: float = 1.0
    trust: float | None = None
    reference_guidance: float = 1.0
    input_guidance: float | None = None
    context_guidance: float | None = None
    fidelity: float = 0.0
    mean_draws: int = 4
    keep: float | None = None
    mu: float | None = None
    reuse_context: int = 1
    precision: str = "fp32"
    attributes: tuple[tuple[str, float], ...] = ()
    age_of_references: bool = False
    negatives: tuple[Negative, ...] = ()
    context_scales: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.reuse_context < 1:
            raise ConfigurationError(f"reuse_context {self.reuse_context}: at least 1 step")
        if self.precision not in ("fp32", "bf16"):
            raise ConfigurationError(f"precision {self.precision!r}: it is 'fp32' or 'bf16'")
        if self.steps < 1 or self.mean_draws < 1:
            raise ConfigurationError(f"steps {self.steps}, mean_draws {self.mean_draws}: both must be at least 1")
        if not 0.0 <= self.fidelity <= 1.0:
            raise ConfigurationError(f"fidelity {self.fidelity}: from 0 (sample) to 1 (mean estimate)")
        if self.keep is not None and not 0.0 <= self.keep <= 1.0:
            raise ConfigurationError(f"keep {self.keep}: from 0 (nothing of the degraded face) to 1 (all of it)")
        if self.trust is not None and not 0.0 <= self.trust <= 1.0:
            raise ConfigurationError(f"trust {self.trust}: from 0 (references are not heard) to 1 (they are believed)")
        attribute_row(dict(self.attributes))

    @property
    def speaks(self) -> bool:
        """Whether anything is said of faces, or avoided."""
        return bool(self.attributes or self.negatives or self.age_of_references)

    def scales(self, system: SystemSettings) -> tuple[float, float] | None:
        """s_i and s_c for a system; None: it is shown its references at once.

        Raises:
            ConfigurationError: `reference_guidance` as well, which is another form of the same.
        """
        own, given = system.scales, (self.input_guidance, self.context_guidance)
        if own is None and given == (None, None):
            return None
        if self.negatives:
            raise ConfigurationError("negatives beside multi-reference guidance: take one of them")
        if self.reference_guidance != 1.0:
            raise ConfigurationError(f"reference_guidance {self.reference_guidance} beside multi-reference guidance: "
                                     f"leave it at 1 and set context_guidance")
        s_i, s_c = (one if one is not None else other for one, other in zip(given, own or (1.0, 1.0), strict=True))
        return s_i, s_c


def said(without: Sequence[str], age: str = "") -> dict[str, Any]:
    """What is said of a face, and what it is drawn away from, as people put it.

    Args:
        without: names of attributes that the face has not, or `low_quality`; `name=scale` for another scale than 1.
        age: years, or `references`, or nothing.

    Returns:
        SamplerSettings.attributes, .age_of_references and .negatives: for each name its value 0, and a negative of the
        value 1.

    Raises:
        ConfigurationError: a name that is none, an age or scale that is no number.
    """
    attributes, negatives = {}, []
    if age and age != OF_REFERENCES:
        attributes["age"] = _number(age, f"--age {age}")
    for text in without:
        name, _, scale = text.partition("=")
        if name not in (*WITHOUT, LOW_QUALITY):
            raise ConfigurationError(f"--without {text}: name one of {', '.join((*WITHOUT, LOW_QUALITY))}")
        attribute, bad = ("quality", 0.0) if name == LOW_QUALITY else (name, 1.0)
        attributes[attribute] = 1.0 - bad
        strength = _number(scale, f"--without {text}") if scale else 1.0
        negatives.append(Negative(attributes=((attribute, bad),), scale=strength))
    return {"attributes": tuple(attributes.items()), "age_of_references": age == OF_REFERENCES,
            "negatives": tuple(negatives)}


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {text!r} is no number") from error
    if not math.isfinite(value):
        raise ConfigurationError(f"{where}: {text!r} is no finite number")
    return value
