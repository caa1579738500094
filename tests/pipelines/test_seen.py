"""Who saw whom: runs on versions that an erasure replaced are found, and what saw erased people is not used unsaid."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.models.checkpoint import Description, write_description
from anchorface.models.configuration import tiny
from anchorface.pipelines.erasure.erase import erase
from anchorface.pipelines.erasure.seen import runs_that_saw, versions_that_held
from anchorface.pipelines.erasure.selection import by_identity, identity_rows
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.group import group
from anchorface.pipelines.shards import shards
from anchorface.records.erasures import PENDING, before, replaced, reports, workspace_of
from anchorface.records.errors import ConfigurationError, ConsentError, DataError
from anchorface.records.lineage import descends
from anchorface.records.manifest import Manifest
from anchorface.restoration.erased import heed_erasures

SALT = hashlib.sha256(b"of the tests").digest()


def checkpoint(folder: Path, manifest_id: str, dataset: str) -> Path:
    """A checkpoint's description, all that is read of it here."""
    place = folder / "checkpoints" / "step-00000008"
    place.mkdir(parents=True)
    recipe = {"name": "iconface_tiny", "feed": {"dataset": dataset}}
    write_description(place, Description(model=tiny(), weights={}, embedder="adaface_small", manifest_id=manifest_id,
                                         recipe=recipe))
    return place


def manifest(out: Path, name: str) -> Manifest:
    return Manifest.from_json((out / "dataset" / name / "manifest.json").read_text())


@pytest.fixture(scope="module")
def family(line, tmp_path_factory):
    """A workspace whose version was trained on, lost a person, was trained on again, lost another, and was curated
    anew: (workspace, ids of the four versions, the two persons' rows, folder of runs)."""
    folder = tmp_path_factory.mktemp("seen")
    out, runs = Path(shutil.copytree(line.out, folder / "out")), folder / "runs"
    ids, gone = [open_dataset(str(out / "dataset")).manifest_id], []
    checkpoint(runs / "first", ids[0], str(out / "dataset" / ids[0]))
    for number in range(2):
        row = next(row for row in identity_rows(str(out)) if len(row["face_ids"]) > 1)
        gone.append(row)
        erase(str(out), by_identity(str(out), [row["identity"]]), salt=SALT)
        ids.append(open_dataset(str(out / "dataset")).manifest_id)
        if not number:
            checkpoint(runs / "second", ids[1], str(out / "dataset" / ids[1]))
    group(str(out), labels=True, splits=(0.5, 0.25, 0.25), seed=77)
    ids.append(Path(shards(str(out), concurrency=0)).name)
    checkpoint(runs / "third", ids[3], str(out / "dataset" / ids[3]))
    checkpoint(runs / "elsewhere", "0123456789abcdef", "/nowhere/dataset/0123456789abcdef")
    return out, ids, gone, runs


def saw(person: str, out: Path, runs: Path) -> set[str]:
    return {Path(run["folder"]).name for run in runs_that_saw(person, str(out), [str(runs)])}


def test_a_run_is_found_by_whom_it_saw_whatever_replaced_its_version(family):
    out, ids, (one, other), runs = family
    for name in (one["face_ids"][0], reports_of(out, one)["id"]):
        assert saw(name, out, runs) == {"first"}
    for name in (other["face_ids"][0], reports_of(out, other)["id"]):
        assert saw(name, out, runs) == {"first", "second"}
    here = identity_rows(str(out))[0]
    for name in (here["subject"], here["face_ids"][0], here["face_ids"][0].rpartition("-")[0]):
        assert saw(name, out, runs) == {"first", "second", "third"}, name
    rows = runs_that_saw(other["face_ids"][0], str(out), [str(runs)])
    assert [row["checkpoints"] for row in rows] == [["step-00000008"]] * 2
    assert {row["manifest"]: row["erasure"] for row in rows} == {
        ids[0]: reports_of(out, one)["id"], ids[1]: reports_of(out, other)["id"]}
    assert versions_that_held(here["face_ids"][0], str(out))[ids[3]] == ""


def reports_of(out: Path, row: dict) -> dict:
    return next(report for report in reports(str(out)) if set(row["face_ids"]) <= set(report["faces"]))


def test_nobody_of_that_name_is_said(family):
    out, _, _, runs = family
    with pytest.raises(DataError, match=r"nobody is or was named 'p999999'.*erased/"):
        runs_that_saw("p999999", str(out), [str(runs)])
    with pytest.raises(ConfigurationError, match="no such folder of runs"):
        runs_that_saw(identity_rows(str(out))[0]["identity"], str(out), ["/nowhere/runs"])


def test_an_erasure_lists_runs_of_the_versions_that_earlier_ones_replaced(family, tmp_path):
    out, runs = Path(shutil.copytree(family[0], tmp_path / "out")), family[3]
    row = next(row for row in identity_rows(str(out)) if len(row["face_ids"]) > 1)
    report = erase(str(out), by_identity(str(out), [row["identity"]]), runs=[str(runs)], salt=SALT)
    assert {Path(run["folder"]).name for run in report["runs"]} == {"first", "second", "third"}


def test_a_replaced_version_tells_what_was_erased_out_of_it_since(family, tmp_path):
    out, ids, (one, other), _ = family
    erased = [reports_of(out, row) for row in (one, other)]
    found = replaced(ids[0], str(out / "dataset" / ids[0]))
    assert found is not None
    assert (found.erasures, found.successor) == (tuple(report["id"] for report in erased), ids[2])
    assert found.faces == sum(len(report["faces"]) for report in erased)
    again = replaced(ids[1], str(out / "dataset"))
    assert again is not None and again.erasures == (erased[1]["id"],)
    assert replaced(ids[3], str(out / "dataset" / ids[3])) is None
    assert replaced(ids[0], "/nowhere/dataset/" + ids[0]) is None and replaced(ids[0], "") is None
    assert before(str(out), [ids[2]]) == {ids[1]: erased[1]["id"], ids[0]: erased[0]["id"]}
    stopped = Path(shutil.copytree(out, tmp_path / "out"))
    (stopped / PENDING).mkdir(parents=True, exist_ok=True)
    journal = {"erasure_id": "e" * 16, "versions": [ids[2]], "face_ids": ["a", "b"]}
    (stopped / PENDING / "e.json").write_text(json.dumps(journal))
    half = replaced(ids[0], str(stopped / "dataset" / ids[0]))
    assert half is not None and half.successor == "" and half.erasures[-1] == "e" * 16
    assert half.faces == found.faces + 2


@pytest.mark.parametrize(("place", "workspace"), [
    ("/a/work/dataset/0123", "/a/work"), ("/a/work/dataset", "/a/work"), ("s3://bucket/w/dataset/01/", "s3://bucket/w"),
    ("dataset/01", "."), ("/dataset/01", "/"), ("/a/copied/0123", ""), ("", ""),
])
def test_the_workspace_is_read_off_the_place(place, workspace):
    assert workspace_of(place) == workspace


def test_restoring_with_what_saw_erased_people_warns_or_refuses(family, tmp_path):
    _, ids, _, runs = family
    said: list[str] = []
    old = str(runs / "first" / "checkpoints" / "step-00000008")
    heed_erasures(old, "warn", said.append)
    assert len(said) == 1 and ids[0] in said[0] and f"version {ids[2]} stands in its place" in said[0]
    with pytest.raises(ConsentError, match=r"faces were erased since.*Train anew"):
        heed_erasures(old, "refuse", said.append)
    heed_erasures(str(runs / "third" / "checkpoints" / "step-00000008"), "refuse", said.append)
    heed_erasures(str(runs / "elsewhere" / "checkpoints" / "step-00000008"), "refuse", said.append)
    assert len(said) == 1
    with pytest.raises(ConfigurationError, match="warn or refuse"):
        heed_erasures(old, "perhaps", said.append)
    for words in (["restore", old, str(tmp_path)], ["evaluate", old, str(tmp_path)]):
        answer = CliRunner().invoke(app, [*words, str(tmp_path / "out"), "--erased", "refuse"])
        assert answer.exit_code == 2 and "ConsentError" in answer.output and not (tmp_path / "out").exists()


def test_a_version_descends_by_erasure_alone_or_otherwise(family):
    out, ids, _, _ = family
    dataset = str(out / "dataset")
    kept = manifest(out, ids[2])
    for where in ("", dataset):
        found = descends(kept, ids[0], where)
        assert found is not None and found.erased and found.path == (ids[2], ids[1], ids[0])
    assert str(found) == f"{ids[2]} comes from {ids[0]} in 2 steps, by erasure alone"
    curated = manifest(out, ids[3])
    parent, far = descends(curated, ids[2]), descends(curated, ids[0], dataset)
    assert parent is not None and far is not None and not parent.erased and not far.erased
    assert far.path == tuple(reversed(ids))
    assert descends(curated, ids[0]) is None, "its own manifest names its parent alone"
    assert descends(kept, ids[3], dataset) is None and descends(kept, ids[2], dataset) is None
    assert descends(kept, "0123456789abcdef", dataset) is None


def test_the_command_lists_what_saw_a_person(family):
    out, _, (one, _), runs = family
    said = CliRunner().invoke(app, ["runs", "list", str(runs), "--with", one["face_ids"][0], "--workspace", str(out)],
                              env={"COLUMNS": "240"})
    assert said.exit_code == 0, said.output
    assert "runs/first" in said.output and "step-00000008" in said.output
    assert "runs/third" not in said.output
    refused = CliRunner().invoke(app, ["runs", "list", str(runs), "--with", one["face_ids"][0]])
    assert refused.exit_code == 2
