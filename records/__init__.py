"""The nouns that every room speaks: records, seeds, errors, storage.

The names below are loaded when they are first asked for, so that the process that decodes pictures (records.decoding)
starts without tables and storage.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anchorface.records.errors import (
        AnchorfaceError,
        CheckpointError,
        ConfigurationError,
        ConsentError,
        DataError,
        Interrupted,
        LauncherError,
        PhotoError,
        StorageError,
        TrainingError,
        WeightsError,
    )
    from anchorface.records.manifest import Manifest, Shard
    from anchorface.records.nouns import (
        DECISION_SCHEMA,
        DROPPED_SCHEMA,
        FACE_SCHEMA,
        IDENTITY_SCHEMA,
        PAIR_SCHEMA,
        PHOTO_SCHEMA,
        TRACK_SCHEMA,
        Clip,
        Decision,
        Dropped,
        Face,
        GivenFace,
        Identity,
        Pair,
        Photo,
        Track,
    )
    from anchorface.records.seeds import derive, rng

__all__ = [
    "DECISION_SCHEMA", "DROPPED_SCHEMA", "FACE_SCHEMA", "IDENTITY_SCHEMA", "PAIR_SCHEMA", "PHOTO_SCHEMA",
    "TRACK_SCHEMA", "AnchorfaceError", "CheckpointError", "Clip", "ConfigurationError", "ConsentError", "DataError",
    "Decision", "Dropped", "Face", "GivenFace", "Identity", "Interrupted", "LauncherError", "Manifest", "Pair", "Photo",
    "PhotoError", "Shard", "StorageError", "Track", "TrainingError", "WeightsError", "derive", "rng",
]


def __getattr__(name: str) -> Any:
    for home in ("errors", "seeds", "nouns", "manifest") if name in __all__ else ():
        if hasattr(module := import_module(f"{__name__}.{home}"), name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no name {name!r}")
