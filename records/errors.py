"""Every error that anchorface raises on purpose, on one page.

    AnchorfaceError
    ├── ConfigurationError   an unknown recipe, key, profile or policy; values that do not fit together
    ├── StorageError         a folder that does not exist, an output that cannot be written
    ├── PhotoError           one photograph that cannot be used; becomes a `dropped` row in pipelines
    ├── DataError            a table, shard or manifest that is missing, empty or damaged
    ├── WeightsError         a weight file that is missing, unsafe, of another shape or another hash
    ├── CheckpointError      a checkpoint that is damaged, unsafe or of another configuration
    ├── TrainingError        a run that cannot go on (a loss that is not finite, workers that keep dying)
    ├── LauncherError        a launcher that is missing, does not answer, or refuses what it is asked for
    ├── Interrupted          work that a signal ended, and that the same command takes up again
    └── ConsentError         data whose licence or consent a recipe does not allow

The text says what was wrong, where (file, row, key) and what to do; it shows no password of a URI (`redacted`).
`assert` is for the programmer.

Where an exception would lose its class on the way (a Ray worker, a file), it goes as a value, (name, message):
`to_value` there, `raise from_value(name, message)` here.
"""

import struct
import zlib

from anchorface.records.addresses import redacted

DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, MemoryError,
    AttributeError, AssertionError, struct.error, zlib.error,
)
"""What decoders raise on bytes that nobody meant to be a picture or a film."""


class AnchorfaceError(Exception):
    """Base of all errors raised on purpose."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(redacted(word) if isinstance(word, str) else word for word in words))


class ConfigurationError(AnchorfaceError, ValueError):
    """An unknown recipe, key, profile or policy, or values that do not fit together."""


class StorageError(AnchorfaceError, OSError):
    """A folder that does not exist or an output that cannot be written."""


class PhotoError(AnchorfaceError, ValueError):
    """One photograph that cannot be used.

    Args:
        cause: short machine-readable cause, for example `truncated`, `not an image`, `too many pixels`.
        uri: the file.
        detail: one sentence for a person.
    """

    def __init__(self, cause: str, uri: str, detail: str = "") -> None:
        super().__init__(f"{uri}: {cause}" + (f" ({detail})" if detail else ""))
        self.cause, self.uri, self.detail = cause, uri, detail

    def __reduce__(self) -> tuple[type["PhotoError"], tuple[str, str, str]]:
        return PhotoError, (self.cause, self.uri, self.detail)


class DataError(AnchorfaceError, ValueError):
    """A table, shard or manifest that is missing, empty or damaged."""


class WeightsError(AnchorfaceError, ValueError):
    """A weight file that is missing, unsafe, of another shape or of another hash."""


class CheckpointError(AnchorfaceError, ValueError):
    """A checkpoint that is damaged, unsafe or of another configuration."""


class TrainingError(AnchorfaceError, RuntimeError):
    """A training run that cannot go on."""


class LauncherError(AnchorfaceError, RuntimeError):
    """Slurm, Ray or Kubernetes: a program that is missing, a cluster that does not answer, or that refuses."""


class Interrupted(AnchorfaceError):
    """Work that a signal ended in good order: what was done is kept, the same command goes on."""


class ConsentError(AnchorfaceError, ValueError):
    """Data whose licence or consent a recipe does not allow."""


_TOLD: dict[str, type[AnchorfaceError]] = {each.__name__: each for each in (
    AnchorfaceError, ConfigurationError, StorageError, DataError, WeightsError, CheckpointError, TrainingError,
    LauncherError, Interrupted, ConsentError,
)}
"""The errors that a message alone makes again."""


def to_value(error: AnchorfaceError) -> tuple[str, str]:
    """An error as (name, message): two strings for JSON, or for two columns.

    A PhotoError that stops more than its photograph goes as a DataError, a class from elsewhere as its nearest base.
    """
    if isinstance(error, PhotoError):
        return DataError.__name__, str(error)
    return next(each.__name__ for each in type(error).__mro__ if each in _TOLD.values()), str(error)


def from_value(name: str, message: str) -> AnchorfaceError:
    """The error that `to_value` told of; an AnchorfaceError if the name is none that it gives."""
    return _TOLD.get(name, AnchorfaceError)(message)
