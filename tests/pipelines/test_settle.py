"""What an erasure left undone is done before anything else is written: one that was stopped, while nobody trains on
whom it takes, and reports of older versions that name people by plain ids."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.identity_index.clustering.decisions import add_decision, read_decisions
from anchorface.identity_index.tombstones import Tombstones, bury, face_mark
from anchorface.pipelines.erasure.erase import alone_in, settle
from anchorface.pipelines.erasure.journal import Erasure, write_journal
from anchorface.pipelines.verify import workspace_checks
from anchorface.records.checks import carry_out
from anchorface.records.erasures import pending, reports, require_settled
from anchorface.records.errors import ConfigurationError
from anchorface.records.nouns import IDENTITY_SCHEMA
from anchorface.records.storage import read_table, write_atomic
from anchorface.records.uses import note

PHOTO, OTHER = "a" * 24, "b" * 24
FACE = f"{PHOTO}-0"
ERASURE = Erasure(
    erasure_id="one", kind="photo", face_ids=[FACE], photo_ids=[PHOTO], uris=[], places=[], identities=[], subjects=[],
    shared={}, alike={}, codes=0, files=[], versions=[], settings=None)


def stopped(out: Path, versions: tuple[str, ...] = ()) -> None:
    """A workspace with an erasure that was stopped before its first step."""
    bury(str(out), "one", photos=[PHOTO], people=[])
    write_journal(str(out), replace(ERASURE, versions=list(versions)))
    (out / "dataset").mkdir()


def damages(out: Path) -> list[str]:
    return [f"{each.place}: {each.found}" for each in carry_out(workspace_checks(str(out))) if each]


def everything(out: Path) -> str:
    """All that stands in a workspace, and its names, tables as they read."""
    return "".join(f"{path}{read_table(str(path)).to_pylist() if path.suffix == '.parquet' else path.read_text()}"
                   for path in sorted(out.rglob("*")) if path.is_file() and path.name != "lock.json")


def test_a_report_of_an_older_version_gets_salted_marks_wherever_it_was_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    add_decision(str(out), kind="merge", face_ids=[FACE, f"{OTHER}-0"], note="twins", made="2026")
    bury(str(out), "0123456789abcdef", photos=[PHOTO], people=[])
    old = {"id": "0123456789abcdef", "asked_for": "identity", "photos": [PHOTO], "faces": [FACE],
           "photos_that_stay_for_others": [OTHER], "dataset_versions": {"v1": "v2"}}
    write_atomic(str(out / "erased" / "0123456789abcdef.json"), json.dumps(old).encode())
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (said,) = damages(out)
    assert "0123456789abcdef.json" in said and "plain ids" in said
    with alone_in(str(out), "label"):
        after = everything(out)
        assert PHOTO not in after and "0123456789abcdef" not in after and "twins" not in after
    stones, (report,) = Tombstones.open(str(out)), reports(str(out))
    assert stones.has_photo(PHOTO) and stones.foreign == () and report["dataset_versions"] == {"v1": "v2"}
    assert report["faces"] == [face_mark(stones.salt, FACE)] and OTHER not in json.dumps(report)
    (decision,) = read_decisions(str(out))
    assert set(decision.face_ids) == {face_mark(stones.salt, FACE), f"{OTHER}-0"} and damages(out) == []
    done = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for left in before:  # killed before this one was written anew, or went: the old report goes last
        for path in (left, out / "erased" / "0123456789abcdef.json"):
            path.write_bytes(before[path])
        settle(str(out))
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == done, left


@pytest.mark.parametrize("words", ["merge {} p0 p1", "split {} p0 --faces x-0", "reject {} x-1", "label {} p1 Ada"])
def test_a_decision_waits_for_an_erasure_that_was_stopped(words: str, tmp_path: Path) -> None:
    rows = [{"identity": "p0", "split": "train", "face_ids": ["x-0", "x-1"], "doubtful": []},
            {"identity": "p1", "split": "train", "face_ids": [FACE, "y-0"], "doubtful": []}]
    (tmp_path / "identities").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=IDENTITY_SCHEMA), tmp_path / "identities" / "part-00000.parquet")
    stopped(tmp_path)
    with pytest.raises(ConfigurationError, match="an erasure was stopped here"):
        add_decision(str(tmp_path), kind="reject", face_ids=["x-0"], made="2026")
    answer = CliRunner().invoke(app, words.replace("{}", str(tmp_path)).split())
    assert answer.exit_code == 0 and not pending(str(tmp_path)) and len(reports(str(tmp_path))) == 1, answer.output
    (decision,) = read_decisions(str(tmp_path))
    assert decision.kind == words.partition(" ")[0] and PHOTO not in everything(tmp_path)


TRAIN = """
import sys, time
from anchorface.records.lock import locked
with locked(sys.argv[1], "train"):
    print("ready", flush=True)
    time.sleep(300)
"""


def test_a_stopped_erasure_is_finished_while_nobody_trains_on_whom_it_takes(tmp_path: Path) -> None:
    out, run = tmp_path / "out", tmp_path / "run"
    run.mkdir()
    stopped(out, versions=("v1",))
    note(str(out), "training", str(run), manifest="v1")
    with pytest.raises(ConfigurationError, match=r"faces of version v1 are being erased \(erasure one\)"):
        require_settled("v1", str(out / "dataset" / "v1"))
    training = subprocess.Popen([sys.executable, "-c", TRAIN, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert training.stdout is not None and training.stdout.readline() == "ready\n"
        before = everything(out)
        with pytest.raises(ConfigurationError, match=rf"in use: train on .*, process {training.pid}, since"):
            settle(str(out))
        with pytest.raises(ConfigurationError, match="in use: train"), alone_in(str(out), "label"):
            pass
        assert everything(out) == before, "nothing of it was done"
        assert [report["id"] for report in settle(str(out), stop=True)] == ["one"] and training.wait(10) != 0
    finally:
        training.kill()
        training.wait()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "draft.tmp").write_text("not ours")
    (out / "dataset").mkdir(exist_ok=True)
    write_journal(str(out), replace(ERASURE, versions=["v3"], runs=[
        {"kind": "training", "folder": str(elsewhere), "manifest": "v3"}]))
    settle(str(out))
    assert [path.name for path in elsewhere.iterdir()] == ["draft.tmp"], "no training was ever at work there"
    require_settled("v2", str(out / "dataset" / "v2"))
    assert not pending(str(out))
