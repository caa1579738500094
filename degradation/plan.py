"""A degradation as data: a Plan of drawn numbers, ready to be stored, replayed, compared and shown.

A Plan holds every number that `apply` needs, noise seeds included: the same image and the same Plan give the
same pixels. Its JSON form is small (some hundred bytes) and canonical, so equal plans have equal digests.
Lengths are pixels of the image as it is when the operation's turn comes, noise is in 8-bit levels, angles in degrees.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Self

from anchorface.records.errors import DataError

VERSION = 2
"""Of the JSON form and of the operations' arithmetic together: a plan of another version is refused, never guessed."""

Value = int | float | str


@dataclass(frozen=True)
class Operation:
    """One step: the name of a function in `degradation.operations` and its parameters, in the order drawn."""

    name: str
    parameters: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def of(cls, name: str, **parameters: Value) -> Self:
        """`Operation.of("jpeg", quality=70)`."""
        return cls(name, tuple(parameters.items()))

    @property
    def values(self) -> dict[str, Any]:
        """The parameters as a dictionary."""
        return dict(self.parameters)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens to a clean face, in order.

    profile: the named profile it was drawn from. size: side of the square image that it was drawn for, px; on another
    image a `resize` to `side` makes it side / size times as large as it came. version: see `VERSION`.
    """

    profile: str
    size: int
    operations: tuple[Operation, ...]
    version: int = VERSION

    def to_json(self) -> str:
        """Canonical JSON: equal plans have equal text."""
        return json.dumps({
            "version": self.version,
            "profile": self.profile,
            "size": self.size,
            "operations": [[operation.name, operation.values] for operation in self.operations],
        }, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read it back.

        Raises:
            DataError: not a plan, one of another version, or a number that is not finite; the text names the field.
        """
        try:
            values = json.loads(text)
            if values["version"] != VERSION:
                raise DataError(f"degradation plan of version {values['version']}; this code replays version {VERSION}")
            operations = tuple(Operation.of(str(name), **given) for name, given in values["operations"])
            for operation in operations:
                check_values(operation)
            size = values["size"]
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise DataError(f"degradation plan: size is {size!r}, not a positive whole number")
            return cls(profile=str(values["profile"]), size=size, operations=operations)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"not a degradation plan: {error!r} in {str(text)[:80]!r}") from error

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def check_values(operation: Operation) -> None:
    """Refuse parameters that are neither finite numbers nor text.

    Raises:
        DataError: names operation and parameter.
    """
    for key, value in operation.parameters:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise DataError(f"degradation plan: {operation.name}.{key} is {value!r}, neither a number nor text")
        if isinstance(value, float) and not math.isfinite(value):
            raise DataError(f"degradation plan: {operation.name}.{key} is {value!r}, not finite")
