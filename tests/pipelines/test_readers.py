"""Whoever reads a workspace while a verb writes it gets whole rows of one state, or a clear error: never wrong rows, a
fault of a library, or word of damage where all is whole."""

import shutil
import time
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import lance
import numpy as np
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.identity_index import IdentityIndex, MismatchPolicy, read_decisions
from anchorface.identity_index.clustering.correction import Grouping, reject
from anchorface.pipelines.audit import audit
from anchorface.pipelines.erasure.erase import alone_in, erase
from anchorface.pipelines.erasure.rows import identity_rows, photo_rows
from anchorface.pipelines.erasure.seen import runs_that_saw
from anchorface.pipelines.erasure.selection import by_photo
from anchorface.pipelines.erasure.withdrawn import withdrawn
from anchorface.pipelines.feed.dataset import CropReader, open_dataset
from anchorface.pipelines.group import group, report
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import AnchorfaceError, ConfigurationError
from anchorface.records.lineage import versions
from anchorface.records.lock import unwritten
from anchorface.records.seeds import rng
from tests.forked import Forked

SECONDS = 3.0


def write(source: Path, out: str) -> None:
    """One verb after the other, each with other settings than before, for SECONDS."""
    photos, end = sorted(photo_rows(out)["photo_id"].to_pylist()), time.monotonic() + SECONDS
    for number in count():
        group(out, labels=bool(number % 2), splits=(0.5, 0.25, 0.25), seed=number)
        shards(out, shard_bytes=150_000 + number, concurrency=0)
        if len(photos) > 20:
            erase(out, by_photo(out, [photos.pop()]))
        with alone_in(out, "reject"):
            reject(out, [Grouping.open(out).faces["face_id"][0].as_py()], made="2026")
        ingest(str(source), out, part_rows=10, max_pixels=10**8 + number, concurrency=0)
        audit(out, shown=1)
        if time.monotonic() > end:
            return


def find(out: str) -> None:
    index = IdentityIndex.open(f"{out}/index")
    faces = index.faces(["face_id", "identity", "split", "embedding"])
    names = faces["face_id"].to_pylist()
    assert len(set(names)) == len(names) == len(index)
    persons = set(zip(faces["identity"].to_pylist(), faces["split"].to_pylist(), strict=True))
    assert len({name for name, _ in persons}) == len(persons), "a person is in one split"
    found, _ = index.nearest(np.stack(faces["embedding"].to_numpy()), 2)
    assert [nearest[0] for nearest in found] == names
    for name in names[:3]:
        assert name not in {chosen.face_id for chosen in index.references(name, MismatchPolicy(), 2, rng(0, "x"))}


def crops(out: str) -> None:
    index = IdentityIndex.open(f"{out}/index")
    found = index.crops(index.faces(["face_id"])["face_id"].to_pylist())
    checks = lance.dataset(f"{out}/index/crops.lance").to_table(columns=["face_id", "check"])
    said = dict(zip(*(checks[name].to_pylist() for name in ("face_id", "check")), strict=True))
    assert all(zlib.crc32(crop) == said[name] for name, crop in found.items() if name in said)


def feed(out: str) -> None:
    dataset = open_dataset(f"{out}/dataset")
    reader = CropReader(dataset)
    assert len({reader.jpeg(row) for row in range(len(dataset))}) == len(dataset)


def pages(out: str) -> None:
    grouped = {face for row in identity_rows(out) for face in row["face_ids"]}
    assert grouped and report(out)["identities"] and dropped(out) is not None
    read_decisions(out)


def lineage(out: str) -> None:
    versions(f"{out}/dataset")
    withdrawn(out)
    runs_that_saw(identity_rows(out)[0]["identity"], out, [])


def verify(out: str) -> None:
    answer = CliRunner().invoke(app, ["verify", out])
    if answer.exit_code == 2 and ("in use: " in answer.output or "read it again" in answer.output.replace("\n", " ")):
        raise ConfigurationError("by name")
    assert answer.exit_code == 0, answer.output


READERS: tuple[Callable[[str], None], ...] = (find, crops, feed, pages, lineage, verify)


@pytest.mark.line
@pytest.mark.timeout(300)
def test_a_reader_beside_writers_gets_whole_rows_or_a_clear_error(line, tmp_path: Path) -> None:
    out = str(shutil.copytree(line.out, tmp_path / "out"))
    writer = Forked(tmp_path / "log", write, line.source, out)
    answers: Counter[str] = Counter()
    try:
        while writer.returncode is None:
            for reader in READERS:
                try:
                    reader(out)
                    answers[reader.__name__] += 1
                except AnchorfaceError:
                    answers[f"{reader.__name__} again"] += 1
    finally:
        writer.kill()
    assert writer.wait(10) == 0, (tmp_path / "log").read_text()
    assert {reader.__name__ for reader in READERS} - {"verify"} <= answers.keys(), answers
    verify(out)


def test_who_reads_sees_afterwards_that_somebody_wrote(tmp_path: Path) -> None:
    with unwritten(str(tmp_path)):
        pass
    with alone_in(str(tmp_path), "ingest"), pytest.raises(ConfigurationError, match="in use: ingest on"), unwritten(
            str(tmp_path)):
        pass
    with pytest.raises(ConfigurationError, match="in use: ingest on"), unwritten(str(tmp_path)):
        stay = alone_in(str(tmp_path), "ingest")
        stay.__enter__()
    stay.__exit__(None, None, None)
    with pytest.raises(ConfigurationError, match="written while it was read"), unwritten(str(tmp_path)), alone_in(
            str(tmp_path), "ingest"):
        pass
