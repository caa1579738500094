"""The one command `anchorface`: a module per line of work, a verb a few lines each."""

from anchorface.cli import (
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
    sweeps,
    training,
    verify,
    weights,
)
from anchorface.cli.app import app

__all__ = [
    "app", "curation", "datasets", "erasure", "jobs", "judging", "machine", "people", "pictures", "quality",
    "references", "runs", "search", "sweeps", "training", "verify", "weights",
]
