"""Nothing in a user's folder takes the place of a room: every verb works where files and folders are named as they are.

The verbs run one after another in one process whose current folder, and whose PYTHONPATH, hold `records.py`, `records/`
and so on, each of which fails when it is imported; Ray's workers inherit both.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_house import FOLDERS, ROOT

pytestmark = pytest.mark.line
TRAP = 'raise ImportError("a file of the user took the place of a room")\n'
SCRIPT = """
import json, pathlib, sys
from anchorface.cli import app

latest = pathlib.Path("work", "dataset", "latest")
for verb in json.loads(sys.argv[1]):
    print("==", *verb, flush=True)
    words = [word.replace("LATEST", latest.read_text().strip()) if "LATEST" in word else word for word in verb]
    if code := app(words, standalone_mode=False):
        sys.exit(code)
"""
QUICK = ("--set", "feed.batch=2", "--set", "positions=4", "--set", "checkpoint_every=4", "--set", "grid_every=0",
         "--set", "precision=fp32", "--set", "validation.samples=2", "--set", "validation.pictures=1", "--set",
         "validation.steps=1")


def set_traps(folder: Path) -> Path:
    """A file and a folder named as each room, and as the demo."""
    for name in (*FOLDERS, "demo"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(TRAP)
        (folder / f"{name}.py").write_text(TRAP)
    return folder


def run(verbs: list[list[str]], here: Path, path: Path) -> str:
    """Run verbs in a process that stands in `here`, with `path` on PYTHONPATH; what they print. LATEST in a word is the
    id of the newest dataset version."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(verbs)], cwd=here, env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("user")
    return set_traps(folder / "here"), set_traps(folder / "path")


def test_the_traps_are_set(places: tuple[Path, Path]) -> None:
    here, path = places
    for name in ("records", "faces"):
        for folder, environment in ((here, {}), (here.parent, {"PYTHONPATH": str(path)})):
            done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=folder, capture_output=True, text=True,
                                  env={**os.environ, **environment}, timeout=60)
            assert "took the place" in done.stderr


def test_every_verb_does_its_work_among_files_named_as_the_rooms(places: tuple[Path, Path], shared_data: Path) -> None:
    here, path = places
    checkpoint, one = "run/checkpoints/step-00000002", "photos/s000001/000.jpg"
    told = run([
        ["corpus", "photos", "--identities", "12", "--photos", "3", "--size", "160", "--workers", "1"],
        ["curate", "photos", "work", "--detector", "given", "--crop-size", "128"],
        ["train", "work/dataset", "run", "--workers", "1", *QUICK],
        ["doctor"], ["recipes"], ["plan", "--recipe", "iconface_tiny", "--references", "0", "--gpus", "1"],
        ["dropped", "work"], ["versions", "work"], ["diff", "work:LATEST", "work:LATEST"], ["audit", "work"],
        ["label", "work", "p000001", "somebody"], ["decisions", "work"],
        ["references", "work", "--count", "4"],
        ["degrade", one, "photos/s000001/001.jpg", "--out", "worse", "--size", "64"],
        ["norm", "--count", "8", "--out", "norm.json"],
        ["who", one, "work", "--detector", "scrfd_500m_kps"],
        ["evaluate", checkpoint, "work/dataset", "judged", "--count", "1"],
        ["restore", checkpoint, "photos/s000001", "restored", "--detector", "scrfd_500m_kps", "--steps", "1"],
        ["export", checkpoint, "adapter.safetensors"],
        *([verb, "--help"] for verb in ("demo", "merge", "split", "reject", "fetch", "prompt")),
    ], here, path)
    assert told.count("== ") == 25
    assert (here / "judged" / "report.html").exists() and (here / "adapter.safetensors").exists()
    assert list((here / "restored").glob("*.png")) and list((here / "worse").glob("*.png"))
    told = run([["erase", "work", "--identity", "p000001", "--yes"], ["verify", "work"]], here, path)
    assert told.count("== ") == 2 and "is gone; " in told
    assert not (here / "judged" / "report.html").exists(), "the workspace knows whose page may show them"


def test_the_command_itself_answers_there(places: tuple[Path, Path]) -> None:
    here, path = places
    command = Path(sys.executable).with_name("anchorface")
    done = subprocess.run([command, "recipes"], cwd=here, env={**os.environ, "PYTHONPATH": str(path)},
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "iconface_tiny" in done.stdout, done.stderr[-2000:]
    assert ROOT not in here.parents
