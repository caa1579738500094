"""The nouns that every room speaks: records, seeds, errors, storage."""

from anchorface.records.errors import (
    AnchorfaceError,
    CheckpointError,
    ConfigurationError,
    ConsentError,
    DataError,
    Interrupted,
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
    Decision,
    Dropped,
    Face,
    GivenFace,
    Identity,
    Pair,
    Photo,
)
from anchorface.records.seeds import derive, rng

__all__ = [
    "DECISION_SCHEMA", "DROPPED_SCHEMA", "FACE_SCHEMA", "IDENTITY_SCHEMA", "PAIR_SCHEMA", "PHOTO_SCHEMA",
    "AnchorfaceError", "CheckpointError", "ConfigurationError", "ConsentError", "DataError", "Decision", "Dropped",
    "Face", "GivenFace", "Identity", "Interrupted", "Manifest", "Pair", "Photo", "PhotoError", "Shard", "StorageError",
    "TrainingError", "WeightsError", "derive", "rng",
]
