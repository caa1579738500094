"""Which of a run's validations was best, as a value that goes with its checkpoints and survives a resume."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from anchorface.training.validation_settings import METRICS, ValidationSettings


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best validation so far.

    metric: what decides, `validation/` left out. value, clock: its best value and the positions seen then; None before
    the first. since: validations in a row that were not better. last: positions seen at the last validation counted.
    """

    metric: str
    value: float | None = None
    clock: int | None = None
    since: int = 0
    last: int = -1

    @classmethod
    def of(cls, settings: ValidationSettings, stored: Mapping[str, Any] | None = None) -> Self:
        """What a checkpoint stored (`to_json`); a new beginning where it stored none, or of another metric."""
        if not stored or stored.get("metric") != settings.metric:
            return cls(metric=settings.metric)
        return cls(**stored)

    def better(self, value: float) -> bool:
        """Whether a value would be the best; one that is not finite never is."""
        if not math.isfinite(value):
            return False
        if self.value is None:
            return True
        return value < self.value if METRICS[self.metric] == "least" else value > self.value

    def taken(self, values: Mapping[str, float], clock: int) -> Self:
        """After one more validation, whose values came at `clock`; one that was counted already changes nothing."""
        if clock <= self.last:
            return self
        value = values[f"validation/{self.metric}"]
        if self.better(value):
            return replace(self, value=value, clock=clock, since=0, last=clock)
        return replace(self, since=self.since + 1, last=clock)

    def exhausted(self, patience: int) -> bool:
        """Whether the run should end: `patience` validations in a row were not better; never where it is 0."""
        return bool(patience) and self.since >= patience

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def told(values: Mapping[str, float]) -> str:
    """A line of progress that holds a validation, for a person."""
    parts = [f"flow {values['validation/flow']:.4f}"]
    if "validation/likeness" in values:
        parts.append(f"likeness {values['validation/likeness']:.2f}")
    if "validation/copy_rate" in values:
        parts.append(f"copies {values['validation/copy_rate']:.0%}")
    if "validation/best" in values:
        parts.append(f"best so far at {int(values['validation/best']):,}")
    where = "" if values.get("validation/held_out", 1.0) else " on persons of the training split, as `val` is empty"
    return f"validated at {int(values['clock']):,}{where}: {', '.join(parts)}"
