"""A degradation of a clip as data: a Plan whose numbers may change from frame to frame.

A parameter is one value for the whole clip, or a tuple with one value per frame: that is how blur drifts and noise is
new in every frame. Apart from that a ClipPlan is what a Plan is: every number that `apply_clip` needs, in canonical
JSON, with a digest. Lengths and levels as in `degradation.plan`; rates are frames per second.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Self

from anchorface.degradation.plan import VERSION, Operation, Value, check_values
from anchorface.records.errors import DataError

Course = Value | tuple[Value, ...]
"""A parameter of a clip: one value, or one per frame."""


@dataclass(frozen=True)
class ClipOperation:
    """One step: its name and its parameters, in the order drawn; see `degradation.clip` for the names."""

    name: str
    parameters: tuple[tuple[str, Course], ...] = ()

    @classmethod
    def of(cls, name: str, **parameters: Course) -> Self:
        """`ClipOperation.of("noise", level=4.0, seed=(17, 4, 902))`."""
        return cls(name, tuple(parameters.items()))

    @property
    def values(self) -> dict[str, Any]:
        """The parameters as a dictionary."""
        return dict(self.parameters)

    def at(self, frame: int) -> Operation:
        """What it is for one frame."""
        return Operation(self.name, tuple(
            (key, value[frame] if isinstance(value, tuple) else value) for key, value in self.parameters))


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """What happens to a clean clip, in order.

    profile: the named profile it was drawn from. size: side of the square frames that it was drawn for, px, as in
    Plan. frames: how many frames the clip has. rate: frames per second. version: see `degradation.plan`.
    """

    profile: str
    size: int
    frames: int
    rate: float
    operations: tuple[ClipOperation, ...]
    version: int = VERSION

    def __post_init__(self) -> None:
        for field in ("size", "frames"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"clip plan: {field} is {value!r}, not a positive whole number")
        rate = self.rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise DataError(f"clip plan: rate is {rate!r}, not a positive number of frames per second")
        for operation in self.operations:
            for key, value in operation.parameters:
                if isinstance(value, tuple) and len(value) != self.frames:
                    raise DataError(
                        f"clip plan: {operation.name}.{key} has {len(value)} values for {self.frames} frames")
                for one in value if isinstance(value, tuple) else (value,):
                    check_values(Operation(operation.name, ((key, one),)))

    def to_json(self) -> str:
        """Canonical JSON: equal plans have equal text."""
        return json.dumps({
            "version": self.version,
            "profile": self.profile,
            "size": self.size,
            "frames": self.frames,
            "rate": self.rate,
            "operations": [[operation.name, operation.values] for operation in self.operations],
        }, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read it back.

        Raises:
            DataError: not a clip plan, one of another version, a number that is not finite, or values for another
                count of frames; the text names the field.
        """
        try:
            values = json.loads(text)
            if values["version"] != VERSION:
                raise DataError(f"clip plan of version {values['version']}; this code replays version {VERSION}")
            operations = tuple(
                ClipOperation(str(name), tuple((key, _course(given)) for key, given in parameters.items()))
                for name, parameters in values["operations"])
            return cls(profile=str(values["profile"]), size=values["size"], frames=values["frames"],
                       rate=values["rate"], operations=operations)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"not a clip plan: {error!r} in {str(text)[:80]!r}") from error

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def _course(given: Any) -> Course:
    return tuple(given) if isinstance(given, list) else given
