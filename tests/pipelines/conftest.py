"""A small synthetic heap of photographs, taken through the whole line once; workspaces for the tests to look at."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from anchorface.faces.weights import find
from anchorface.records.errors import WeightsError
from anchorface.synthetic import write_corpus

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from whole_line import run_line  # noqa: E402 - beside this file, also imported by a killed process

PEOPLE = 8


@dataclass(frozen=True, kw_only=True)
class Line:
    """A finished workspace: its folder, its source, the version that `shards` wrote, and the embedder used."""

    source: Path
    out: Path
    version: Path
    embedder: str


@pytest.fixture(scope="session")
def embedder_name() -> str:
    """The carried embedder, or the small public one where the carried one is not there yet."""
    for name in ("adaface_small", "mobileface_mit_112"):
        try:
            find(name, "embedder")
            return name
        except WeightsError:
            continue
    pytest.skip("no embedder's weights at hand")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight synthetic persons with 3 to 5 photographs, two group photographs, one person with a single photograph."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, identities=PEOPLE, photos_each=5, seed=11, size=160, group_photos=2)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    kept = [
        row for row in rows
        if not (row["subject"] == "s000001" and row["file"].endswith(("003.jpg", "004.jpg")))
        and not (row["subject"] == "s000002" and not row["file"].endswith("000.jpg"))
    ]
    for row in rows:
        if row not in kept:
            (folder / row["file"]).unlink()
        if row["subject"] == "s000003":
            row["consent"], row["licence"] = "signed 2026-03", "CC BY 4.0"
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    return folder


@pytest.fixture(scope="session")
def line(corpus: Path, embedder_name: str, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The corpus through ingest, find_faces, group and shards, in this process."""
    out = tmp_path_factory.mktemp("line") / "out"
    version = run_line(corpus, out, embedder_name, concurrency=0)
    return Line(source=corpus, out=out, version=version, embedder=embedder_name)
