"""State files are data: mutated in many ways they end in an error that names them, and delete nothing outside."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from whole_line import SHARD_BYTES

from anchorface.identity_index.clustering.decisions import add_decision, read_decisions
from anchorface.identity_index.tombstones import Tombstones
from anchorface.pipelines.erasure.erase import settle
from anchorface.pipelines.erasure.journal import Erasure, write_journal
from anchorface.pipelines.erasure.traces import Trace
from anchorface.pipelines.group import report
from anchorface.pipelines.identities.previous import previous
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages import stage
from anchorface.records import erasures
from anchorface.records.dataset import DatasetVersion, find_version
from anchorface.records.errors import AnchorfaceError, DataError
from anchorface.records.lineage import versions
from anchorface.records.storage import read_table

JOURNAL = Erasure(
    erasure_id="0123456789abcdef", kind="photo", face_ids=[], photo_ids=["a" * 24], uris=[], places=[], identities=[],
    subjects=[], shared={}, alike={}, codes=0, files=[], versions=[], settings=None)


@pytest.fixture(scope="module")
def workspace(line, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished workspace with a decision, a tombstone, a report and a journal, and a file beside it."""
    out = tmp_path_factory.mktemp("damaged") / "out"
    shutil.copytree(line.out, out)
    (out.parent / "victim").write_text("not ours")
    face_ids = read_table(str(out / "identities" / "part-00000.parquet"))["face_ids"][0].as_py()
    add_decision(str(out), kind="label", face_ids=face_ids[:1], label="someone", made="2026-01-01T00:00:00")
    (out / "tombstones").mkdir()
    (out / "tombstones" / "salt").write_text("ab" * 32)
    (out / "tombstones" / f"{JOURNAL.erasure_id}.json").write_text(json.dumps({"photos": ["b" * 32], "people": []}))
    (out / "erased" / "pending").mkdir(parents=True)
    (out / "erased" / "fedcba9876543210.json").write_text(json.dumps(
        {"id": "fedcba9876543210", "dataset_versions": {}, "faces": [], "photos": [], "identities": []}))
    return out


READERS: dict[str, Callable[[str, str], object]] = {
    "done/ingest/part-*.json": lambda out, source: ingest(source, out, part_rows=10, concurrency=0),
    "done/ingest/complete.json": lambda out, _: stage.outputs(out, "ingest", "photos"),
    "done/group/complete.json": lambda out, _: shards(out, shard_bytes=SHARD_BYTES, concurrency=0),
    "done/version.json": lambda out, _: shards(out, shard_bytes=SHARD_BYTES, concurrency=0),
    "dataset/latest": lambda out, _: find_version(f"{out}/dataset"),
    "dataset/*/manifest.json": lambda out, _: versions(f"{out}/dataset"),
    "dataset/*/faces.parquet": lambda out, _: DatasetVersion.open(f"{out}/dataset"),
    "identities/report.json": lambda out, _: report(out),
    "identities/previous.parquet": lambda out, _: previous(out),
    "decisions.parquet": lambda out, _: read_decisions(out),
    "tombstones/0*.json": lambda out, _: Tombstones.open(out),
    "tombstones/salt": lambda out, _: Tombstones.open(out),
    "erased/f*.json": lambda out, _: erasures.reports(out),
    "erased/pending/0*.json": lambda out, _: settle(out),
    "dropped/*/part-00000.parquet": lambda out, _: stage.dropped(out),
}
"""A pattern of state files, and what reads them: gets the workspace and its source."""
OUTSIDE = "../victim"


def replaced(value: Any, new: Any) -> Iterator[Any]:
    """A value of JSON with one leaf or branch replaced, for each."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from ({**value, key: changed} for changed in (new, *replaced(each, new)))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from ([*value[:number], changed, *value[number + 1:]] for changed in (new, *replaced(each, new)))


def mutations(content: bytes) -> Iterator[bytes]:
    """What a damaged disk, another program or an attacker makes of a file."""
    yield from (b"", content[: len(content) // 2], content[:-1], b"null", b"7", b"[]", b'"word"', b"\x00" * 64)
    yield from (b"[" * 200_000, b"\xff\xfe" + content[:1000], b"../" * 40 + b"etc", b"/etc", OUTSIDE.encode())
    try:
        value = json.loads(content)
    except ValueError:
        return
    if isinstance(value, dict):
        yield value.__repr__().encode("utf-16")
        for new in (None, 10**400, -1.5e300, "\ud800", OUTSIDE, [[]], {"a": {"b": None}}):
            yield from (json.dumps(each).encode() for each in list(replaced(value, new))[:40])
        yield json.dumps({OUTSIDE: value}).encode()


@pytest.mark.parametrize("pattern", READERS)
def test_a_damaged_state_file_is_an_error_that_names_it_and_deletes_nothing_outside(
    pattern: str, workspace: Path, line
) -> None:
    if "pending" in pattern:
        (workspace / "erased" / "pending" / f"{JOURNAL.erasure_id}.json").write_text(json.dumps(asdict(JOURNAL)))
    place = min(workspace.glob(pattern))
    whole, refused = place.read_bytes(), 0
    before = {path: path.read_bytes() for path in workspace.parent.rglob("*") if path.is_file()}
    try:
        for content in mutations(whole):
            place.write_bytes(content)
            try:
                READERS[pattern](str(workspace), str(line.source))
            except AnchorfaceError as error:  # anything else is a traceback for the user
                refused += 1
                assert place.name in str(error), content[:200]
            for path, bytes_before in before.items():
                if path != place and (not path.exists() or path.read_bytes() != bytes_before):
                    assert path.is_relative_to(workspace)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(bytes_before)
    finally:
        place.write_bytes(whole)
        shutil.rmtree(workspace / "erased" / "pending")
        (workspace / "erased" / "pending").mkdir()
    assert refused >= 8


def test_a_planted_journal_or_marker_deletes_nothing_outside(workspace: Path, tmp_path: Path) -> None:
    victim = tmp_path / "page.html"
    victim.write_text("not ours")
    trace = Trace(root=str(tmp_path), do="delete", path=str(victim))
    elsewhere = tmp_path / "another workspace"
    write_journal(str(elsewhere), replace(JOURNAL, traces=[trace]))
    copied = json.loads((elsewhere / "erased" / "pending" / f"{JOURNAL.erasure_id}.json").read_text())
    planted = [
        {"traces": [asdict(trace)]}, {"traces": [asdict(trace)], "mark": "0" * 64}, copied,
        {"versions": ["../../.."]}, {"files": ["../victim"]}, {"erasure_id": "../../victim"},
    ]
    for number, words in enumerate(planted):
        journal = workspace / "erased" / "pending" / f"{number}.json"
        journal.write_text(json.dumps(asdict(JOURNAL) | words))
        with pytest.raises(DataError, match=journal.name):
            settle(str(workspace))
        journal.unlink()
    marker = workspace / "done" / "ingest" / "part-99999.json"
    outputs = {"../../victim": {"sha256": "", "byte_size": 0}}
    marker.write_text(json.dumps({"key": "", "outputs": outputs, "counts": {}}))
    (workspace / "done" / "ingest" / "complete.json").unlink()
    with pytest.raises(DataError, match=marker.name):
        stage.run(str(workspace), "ingest", [], lambda: lambda *_: ({}, {}), settings={}, concurrency=0)
    assert victim.read_text() == (workspace.parent / "victim").read_text() == "not ours"
