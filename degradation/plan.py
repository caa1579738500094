"""A degradation as data: a Plan of drawn numbers, ready to be stored, replayed, compared and shown.

A Plan holds every number that `apply` needs, noise seeds included: the same image and the same Plan give the
same pixels. Its JSON form is small (some 300 bytes) and canonical, so equal plans have equal digests.
Lengths are pixels of an image of `size` pixels, noise is in 8-bit levels, angles in degrees.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Self

from records.errors import DataError

VERSION = 1

Number = int | float


@dataclass(frozen=True)
class Operation:
    """One step: the name of a function of `degradation.operations` and its numbers, in the order drawn."""

    name: str
    parameters: tuple[tuple[str, Number], ...] = ()

    @classmethod
    def of(cls, name: str, **parameters: Number) -> Self:
        """`Operation.of("jpeg", quality=70)`."""
        return cls(name, tuple(parameters.items()))

    @property
    def values(self) -> dict[str, Number]:
        """The parameters as a dictionary."""
        return dict(self.parameters)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens to a clean square face of `size` pixels, in order.

    profile: the named profile it was drawn from. version: of this format and of the operations' arithmetic.
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
            DataError: not a plan, or one of another version.
        """
        try:
            values = json.loads(text)
            if values["version"] != VERSION:
                raise DataError(f"degradation plan of version {values['version']}; this code replays version {VERSION}")
            operations = tuple(Operation.of(str(name), **numbers) for name, numbers in values["operations"])
            for operation in operations:
                for key, number in operation.parameters:
                    if isinstance(number, bool) or not isinstance(number, int | float):
                        raise DataError(f"degradation plan: {operation.name}.{key} is {number!r}, not a number")
            return cls(profile=str(values["profile"]), size=int(values["size"]), operations=operations)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"not a degradation plan: {error!r} in {text[:80]!r}") from error

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]
