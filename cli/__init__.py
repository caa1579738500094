"""The one command `anchorface`: a module per line of work, a verb a few lines each."""

from anchorface.cli import (
    cluster,
    curation,
    datasets,
    erasure,
    jobs,
    judging,
    machine,
    people,
    pictures,
    quality,
    references,
    runs,
    search,
    servers,
    sweeps,
    training,
    verify,
    weights,
)
from anchorface.cli.app import app

__all__ = [
    "app", "cluster", "curation", "datasets", "erasure", "jobs", "judging", "machine", "people", "pictures", "quality",
    "references", "runs", "search", "servers", "sweeps", "training", "verify", "weights",
]
