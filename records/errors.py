"""Every error that anchorface raises on purpose, on one page.

    AnchorfaceError
    ├── ConfigurationError   an unknown recipe, key, profile or policy; values that do not fit together
    ├── StorageError         a folder that does not exist, an output that cannot be written
    ├── PhotoError           one photograph that cannot be used; becomes a `dropped` row in pipelines
    ├── DataError            a table, shard or manifest that is missing, empty or damaged
    ├── WeightsError         a weight file that is missing, unsafe, of another shape or another hash
    ├── CheckpointError      a checkpoint that is damaged, unsafe or of another configuration
    ├── TrainingError        a run that cannot go on (a loss that is not finite, workers that keep dying)
    └── ConsentError         data whose licence or consent a recipe does not allow

The text says what was wrong, where (file, row, key) and what to do. `assert` is for the programmer.
"""


class AnchorfaceError(Exception):
    """Base of all errors raised on purpose."""


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


class ConsentError(AnchorfaceError, ValueError):
    """Data whose licence or consent a recipe does not allow."""
