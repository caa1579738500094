"""One writer in a workspace: the second verb is refused by name, waits, or ends the first; nobody who is erased
meanwhile comes back."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from killed_line import run
from test_erase import holders, needles_of, person
from whole_line import run_line

from anchorface.identity_index.clustering.decisions import add_decision
from anchorface.identity_index.tombstones import Tombstones, bury
from anchorface.pipelines.audit import audit
from anchorface.pipelines.erasure.erase import erase
from anchorface.pipelines.erasure.person import by_person
from anchorface.pipelines.erasure.rows import face_rows
from anchorface.pipelines.find_faces import find_faces
from anchorface.pipelines.group import group
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.stage import Part
from anchorface.records.errors import ConfigurationError
from anchorface.records.lock import held
from anchorface.records.workspace import at_work
from tests.forked import Forked

HOLD = """
import sys, time
from anchorface.records.workspace import at_work
with at_work(sys.argv[1], "ingest"):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holding(out: Path, seconds: float) -> subprocess.Popen:
    """Another process that is at work in the workspace."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_whoever_comes_second_is_told_who_is_there(line, tmp_path):
    out = tmp_path / "out"
    other = holding(out, 60)
    verbs: list[Callable[[], Any]] = [
        partial(ingest, str(line.source), str(out)), partial(find_faces, str(out)), partial(group, str(out)),
        partial(shards, str(out)), partial(audit, str(out)),
        partial(add_decision, str(out), kind="reject", face_ids=["a"], made="2026"),
        partial(erase, str(out), by_nothing()),
    ]
    try:
        for verb in verbs:
            with pytest.raises(ConfigurationError, match=rf"in use: ingest on .*, process {other.pid}, since"):
                verb()
        assert held(str(out))
        other.kill()
        other.wait()
        assert add_decision(str(out), kind="reject", face_ids=["a"], made="2026").number == 1, "a dead holder's is free"
    finally:
        other.kill()


def by_nothing() -> Any:
    from anchorface.pipelines.erasure.selection import Selection

    return Selection(kind="photo", face_ids=("a-0",), photo_ids=("a",), uris=(), places=())


def test_whoever_waits_comes_next_and_whoever_stops_ends_the_other(tmp_path):
    other, begun = holding(tmp_path, 1.5), time.monotonic()
    with at_work(str(tmp_path), "erase", wait=True):
        assert time.monotonic() - begun > 0.5 and json.loads((tmp_path / "lock.json").read_text())["verb"] == "erase"
        with at_work(str(tmp_path), "group"):
            assert json.loads((tmp_path / "lock.json").read_text())["verb"] == "erase"
    assert other.wait(10) == 0
    other = holding(tmp_path, 300)
    with at_work(str(tmp_path), "erase", stop=True):
        pass
    assert other.wait(10) != 0
    assert not held(str(tmp_path))


def test_a_stage_looks_at_the_tombstones_again_before_its_marker(tmp_path):
    out = str(tmp_path)

    class Reader:
        """Writes whoever was not erased when it was made, and sees an erasure while it does its first part."""

        made = 0

        def __init__(self) -> None:
            Reader.made += 1
            self.stones = Tombstones.open(out)

        def __call__(self, name: str, payload: Any) -> tuple[dict[str, bytes], dict[str, int]]:
            here = [photo for photo in ("a" * 24, "b" * 24) if not self.stones.has_photo(photo)]
            if Reader.made == 1:
                bury(out, "one", photos=["a" * 24], people=[])
            return {f"photos/{name}.txt": json.dumps(here).encode()}, {"photos": len(here)}

    parts = [Part(name=stage.part_name(n), rows=1, inputs="", payload="{}") for n in range(2)]
    counts = stage.run(out, "ingest", parts, Reader, settings={}, concurrency=0)
    assert counts == {"photos": 2} and Reader.made == 2
    assert {path.read_text() for path in (tmp_path / "photos").iterdir()} == {json.dumps(["b" * 24])}


@pytest.mark.line
@pytest.mark.timeout(300)
@pytest.mark.parametrize("verb", ["ingest", "find_faces", "group"])
def test_a_person_who_is_erased_while_a_verb_runs_stays_away(line, tmp_path, verb):
    out, row = tmp_path / "out", person(line.out)
    needles = needles_of(line.out, row["face_ids"])
    process = Forked(tmp_path / "log", run, line.source, out, line.embedder, 0)
    while not (out / "lock.json").exists() or f'"{verb}"' not in (out / "lock.json").read_text():
        assert process.returncode is None, "the line was over before it was looked at"
    while not list(out.glob("scanned/*.parquet")):
        assert process.returncode is None
    with at_work(str(out), "erase", stop=True):
        selection = by_person(str(out), labels=[row["subject"]])
        erase(str(out), selection)
    assert process.wait(30) != 0
    run_line(line.source, out, line.embedder, concurrency=0)
    assert holders(out, needles["crops"] + needles["embeddings"]) == set()
    assert not set(face_rows(str(out))["face_id"].to_pylist()) & set(row["face_ids"])
