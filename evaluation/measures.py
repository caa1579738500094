"""What a table's columns mean, and who computed their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A column of the table: key in the rows, a short label, what it means, unit, digits.

    better: `higher` or `lower` where that mean is the best one; anything else is no ranking.
    source: implementation, version, and each weight's name and hash. absent: why the column has no numbers here, and
    how to get them; empty where it has.
    """

    key: str
    label: str
    meaning: str
    digits: int
    scale: float = 1.0
    unit: str = ""
    better: str = "higher"
    source: str = ""
    absent: str = ""


MEASURES: tuple[Measure, ...] = (
    Measure(key="judge_target", label="likeness to the truth", digits=3,
            meaning="the judge's cosine between the picture and the true photograph"),
    Measure(key="judge_first", label="likeness to the reference", digits=3, better="near the truth's own",
            meaning="the judge's cosine to the first reference; more than the truth's own is no merit"),
    Measure(key="copied", label="copy rate", digits=1, scale=100.0, unit="%", better="at most a half",
            meaning="share of pictures that are nearer to the first reference than the truth is"),
    Measure(key="copied_any", label="copy rate, any", digits=1, scale=100.0, unit="%", better="",
            meaning="share of pictures that are nearer to some reference than the truth is to that one"),
    Measure(key="surplus", label="surplus", digits=3, better="near 0",
            meaning="likeness to the first reference minus the truth's own likeness to it"),
    Measure(key="judge_stranger", label="likeness to a stranger", digits=3, better="no more than without references",
            meaning="the judge's cosine to another person's first reference, the same one in every condition"),
    Measure(key="psnr", label="PSNR", digits=2, unit="dB", meaning="fidelity of pixels to the truth"),
    Measure(key="ssim", label="SSIM", digits=3, meaning="fidelity of local structure to the truth"),
)
"""The columns of every table."""
OF_ANOTHER_JUDGE = ("judge_target", "judge_first", "copied", "surplus")
"""What a table says of each further judge."""


def for_judge(name: str, sha256: str, measures: Sequence[Measure], further: bool = False) -> tuple[Measure, ...]:
    """The columns with who computed them: this judge, and torchmetrics for pixels.

    Args:
        further: the columns of a judge beside the protocol's own, under its name.
    """
    judge, pixels = f"{name} {sha256[:16]}", f"torchmetrics {version('torchmetrics')} (Apache-2.0)"
    if further:
        return tuple(replace(m, key=f"{m.key}:{name}", label=f"{m.label}, {name}", source=judge) for m in measures
                     if m.key in OF_ANOTHER_JUDGE)
    return tuple(replace(m, source=pixels if m.key in ("psnr", "ssim") else judge) for m in measures)
