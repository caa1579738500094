"""A small synthetic heap of photographs, taken through the whole line once; workspaces for the tests to look at."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from anchorface.degradation.film import film_bytes
from anchorface.faces.weights import find
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.records.errors import WeightsError
from anchorface.synthetic import write_corpus
from anchorface.synthetic.life import album
from anchorface.synthetic.render import render

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from whole_line import run_line  # noqa: E402 - beside this file, also imported by a killed process

PEOPLE = 8
FILMED, FRAMES, RATE = 4, 8, 10


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


def passing(*portraits: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """Portraits side by side that drift through a film and turn a little: uint8 [frames, H, W, 3], of even sides."""
    side = portraits[0].shape[0]
    shown = []
    for number in range(frames):
        canvas = np.full((side + 32, len(portraits) * (side + 32), 3), 90, np.uint8)
        for place, portrait in enumerate(portraits):
            turn = cv2.getRotationMatrix2D((side / 2, side / 2), number, 1.0)
            turned = cv2.warpAffine(portrait, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
            left, top = place * (side + 32) + 4 + 2 * number, 8 + number
            canvas[top : top + side, left : left + side] = turned
        shown.append(canvas)
    return np.stack(shown)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films and a photograph of each of four synthetic persons, and a film that nobody labelled of two of them."""
    folder, rows, portraits = tmp_path_factory.mktemp("films"), [], []
    for number in range(FILMED):
        shots = [render(shot.head, shot.state, 128) for shot in album(50 + number, 3)]
        portraits.append(shots[0].image)
        for place, shot in enumerate(shots[:2]):
            (folder / f"{number}-{place}.mp4").write_bytes(film_bytes(passing(shot.image), RATE))
        cv2.imwrite(str(folder / f"{number}-2.png"), shots[2].image[..., ::-1])
        rows += [{"file": f"{number}-{place}", "subject": f"f{number}"} for place in ("0.mp4", "1.mp4", "2.png")]
    (folder / "two.mp4").write_bytes(film_bytes(passing(portraits[0], portraits[1]), RATE))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def film_line(source: Path, out: Path, embedder: str, concurrency: int | None = 0) -> Path:
    """Films at their own rate to a dataset version; its folder."""
    ingest(str(source), str(out), frame_seconds=0, concurrency=concurrency)
    find_faces(str(out), embedder=embedder, detector="scrfd_2.5g_kps", crop_size=128, concurrency=concurrency)
    group(str(out), splits=(0.5, 0.25, 0.25), seed=3, concurrency=concurrency)
    return Path(shards(str(out), shard_bytes=150_000, concurrency=concurrency))


@pytest.fixture(scope="session")
def filmed(shared_data: Path, films: Path, embedder_name: str, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The films through the whole line, in this process."""
    out = tmp_path_factory.mktemp("filmed") / "out"
    return Line(source=films, out=out, version=film_line(films, out, embedder_name), embedder=embedder_name)
