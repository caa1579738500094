"""The four verbs with the settings of these tests, for the tests and for the process that one of them kills."""

from pathlib import Path

from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards

CROP = 160
SHARD_BYTES = 150_000


def run_line(source: Path, out: Path, embedder: str, concurrency: int | None) -> Path:
    """Photographs to a dataset version; its folder."""
    ingest(str(source), str(out), part_rows=10, concurrency=concurrency)
    find_faces(str(out), embedder=embedder, crop_size=CROP, concurrency=concurrency)
    group(str(out), labels=True, splits=(0.5, 0.25, 0.25), seed=3)
    return Path(shards(str(out), shard_bytes=SHARD_BYTES, concurrency=concurrency))
