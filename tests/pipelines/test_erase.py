"""Erasing: nothing of the person is left in any store, nobody else is touched, nobody comes back, kills do no harm."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from whole_line import run_line

from anchorface.identity_index import IdentityIndex
from anchorface.identity_index.clustering.decisions import add_decision, read_decisions
from anchorface.identity_index.tombstones import Tombstones, face_mark
from anchorface.pipelines.erasure import runs as seen_by
from anchorface.pipelines.erasure.erase import erase, settle
from anchorface.pipelines.erasure.person import by_identity
from anchorface.pipelines.erasure.rows import face_rows, identity_rows
from anchorface.pipelines.erasure.selection import by_photo, by_source
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.group import group
from anchorface.pipelines.shards import shards
from anchorface.pipelines.stages.stage import dropped
from anchorface.pipelines.verify import version_checks
from anchorface.records.checks import carry_out
from anchorface.records.erasures import reports
from anchorface.records.errors import DataError
from anchorface.records.lineage import versions
from anchorface.records.storage import list_files, read_table

SALT = hashlib.sha256(b"of the tests").digest()
FOLDERS = ("photos", "scanned", "faces", "identities", "dataset", "index")


@pytest.fixture(scope="module")
def prepared(line, tmp_path_factory) -> Path:
    """A copy of the workspace, with a second, older dataset version, a decision and an audit page."""
    out = tmp_path_factory.mktemp("erase") / "out"
    shutil.copytree(line.out, out)
    group(str(out), labels=True, splits=(0.5, 0.25, 0.25), seed=5)
    shards(str(out), shard_bytes=150_000, concurrency=0)
    face_ids = person(out)["face_ids"]
    add_decision(str(out), kind="label", face_ids=face_ids, label="Somebody", note="my aunt", made="2026-11-21")
    group(str(out), labels=True, splits=(0.5, 0.25, 0.25), seed=5)
    shards(str(out), shard_bytes=150_000, concurrency=0)
    (out / "audit").mkdir()
    (out / "audit" / "index.html").write_text("Somebody")
    return out


@pytest.fixture
def out(prepared, tmp_path) -> Path:
    """One to erase from."""
    return Path(shutil.copytree(prepared, tmp_path / "out"))


def person(out: Path) -> dict:
    """An identity with a photograph of its own and a face in a photograph with others."""
    faces = face_rows(str(out)).to_pylist()
    for row in identity_rows(str(out)):
        mine = {face["photo_id"] for face in faces if face["face_id"] in row["face_ids"]}
        others = {face["photo_id"] for face in faces if face["face_id"] not in row["face_ids"]}
        if mine & others and mine - others:
            return row
    raise AssertionError("the corpus has no such person")


def decoded(table: pa.Table) -> bytes:
    """Every value of a table in the bytes that it would have in memory."""
    parts = []
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_binary(column.type):
            parts += [value or b"" for value in column.to_pylist()]
        elif pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            if pa.types.is_floating(column.type.value_type):
                parts.append(column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).tobytes())
            else:
                parts.append(json.dumps(column.to_pylist(), default=str).encode())
        else:
            parts.append(json.dumps(column.to_pylist(), default=str).encode())
    return b"\0".join(parts)


def haystacks(out: Path) -> dict[str, bytes]:
    """Every file of the workspace: its bytes, and what a reader of Parquet or Lance gets out of it."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += decoded(pq.read_table(path))
            found[str(path.relative_to(out))] = content
        elif path.suffix == ".lance":
            found[str(path.relative_to(out))] = decoded(lance.dataset(str(path)).to_table())
    return found


def holders(out: Path, needles: list[bytes]) -> set[str]:
    """The first folders of the files that hold one of the needles."""
    return {
        path.partition("/")[0] for path, content in haystacks(out).items() if any(n in content for n in needles)}


def needles_of(out: Path, face_ids: list[str]) -> dict[str, list[bytes]]:
    """What must be gone: crops, embeddings, names."""
    tables = [read_table(uri) for uri in list_files(str(out / "faces"))]
    rows = [row for row in pa.concat_tables(tables).to_pylist() if row["face_id"] in face_ids]
    alone = {row["photo_id"] for row in rows} - {
        row["photo_id"] for row in face_rows(str(out)).to_pylist() if row["face_id"] not in face_ids}
    assert len(rows) == len(face_ids)
    return {
        "crops": [row["crop"] for row in rows],
        "embeddings": [np.array(row["embedding"], np.float32).tobytes() for row in rows],
        "names": [b"Somebody", b"my aunt", *{row["subject"].encode() for row in rows}],
        "files": [row["uri"].encode() for row in rows if row["photo_id"] in alone],
    }


def rows_of(out: Path, without: set[str]) -> dict[str, list]:
    """All rows of the others, whatever holds them; places in tars left out."""
    tables = {
        folder: pa.concat_tables([read_table(uri) for uri in list_files(str(out / folder), (".parquet",))])
        for folder in ("photos", "faces")
    }
    index = IdentityIndex.open(str(out / "index"))
    tables["index"] = index.faces()
    dataset = open_dataset(str(out / "dataset"))
    tables["dataset"] = read_table(f"{dataset.uri}/faces.parquet").drop_columns(["shard", "offset"])
    result = {
        name: sorted((row for row in table.to_pylist() if row.get("face_id", row["photo_id"]) not in without), key=str)
        for name, table in tables.items()
    }
    ids = [row["face_id"] for row in result["index"]]
    return result | {"crops": sorted(index.crops(ids).items())}


def test_after_an_erasure_no_store_holds_the_person(out):
    row = person(out)
    needles = needles_of(out, row["face_ids"])
    assert holders(out, needles["crops"]) == {"faces", "index", "dataset"}
    assert holders(out, needles["embeddings"]) == {"faces", "index", "dataset"}
    assert holders(out, needles["names"]) >= {"photos", "scanned", "faces", "identities", "decisions.parquet", "audit"}
    assert holders(out, needles["files"]) >= {"photos", "scanned", "faces", "listing"}

    report = erase(str(out), by_identity(str(out), [row["identity"]]), salt=SALT)

    for kind, these in needles.items():
        assert holders(out, these) == set(), f"{kind} are still there"
    marks = [face_mark(SALT, face) for face in row["face_ids"]]
    assert report["faces"] == sorted(marks) and report["identities"] == [row["identity"]]
    assert reports(str(out)) == [report]
    assert not list((out / "erased" / "pending").glob("*")) and not list(out.rglob("*.tmp"))
    (decision,) = read_decisions(str(out))
    assert decision.face_ids == tuple(marks) and (decision.label, decision.note) == ("erased", "")


def test_everyone_else_is_untouched(out):
    row = person(out)
    selection = by_identity(str(out), [row["identity"]])
    gone = {*selection.face_ids, *selection.photo_ids}
    before = rows_of(out, gone)
    erase(str(out), selection, salt=SALT)
    after = rows_of(out, set())
    shared = set(selection.shared)
    for name, rows in before.items():
        if name == "photos":
            rows, after[name] = ([r for r in each if r["photo_id"] not in shared] for each in (rows, after[name]))
        assert after[name] == rows, name
    photos = pa.concat_tables([read_table(uri) for uri in list_files(str(out / "photos"))]).to_pylist()
    for photo in photos:
        if photo["photo_id"] in shared:
            said = [face["subject"] for face in photo["given_faces"]]
            assert row["subject"] not in said and None in said and len(set(said)) > 1
            assert all(len(face["landmarks"]) == 10 for face in photo["given_faces"])


def test_every_version_is_replaced_and_its_descent_is_kept(out):
    old = [version.manifest_id for version in versions(str(out / "dataset"))]
    row = person(out)
    report = erase(str(out), by_identity(str(out), [row["identity"]]), salt=SALT)
    assert len(old) == 2 and sorted(report["dataset_versions"]) == sorted(old)
    family = {version.manifest_id: version for version in versions(str(out / "dataset"))}
    assert family.keys() == {*old, *report["dataset_versions"].values()}
    for before, after in report["dataset_versions"].items():
        assert family[before].manifest is None and family[after].parents == (before,)
        assert family[after].manifest.extra["erased"] == len(row["face_ids"])
        assert not (out / "dataset" / before).exists()
        dataset = open_dataset(str(out / "dataset" / after))
        assert not [*filter(None, carry_out(version_checks(dataset.uri)))]
        assert not set(dataset.columns["face_id"].tolist()) & set(row["face_ids"])
        assert set(dataset.columns["identity"].tolist()) == {
            name for shard in dataset.manifest.shards for name in shard.identities}
    assert [family[name].parents for name in old] == [(), (old[0],)]
    assert open_dataset(str(out / "dataset")).manifest_id == report["dataset_versions"][old[-1]]


def test_finished_stages_stay_finished(line, out):
    erase(str(out), by_photo(str(out), [str(line.source / "s000004" / "000.jpg")]), salt=SALT)
    before = {path: path.stat().st_mtime_ns for path in lasting(out)}
    run_line_again(line, out)
    assert {path: path.stat().st_mtime_ns for path in lasting(out)} == before


def lasting(out: Path) -> list[Path]:
    """The files that a rerun leaves alone: all but the listing and the lock."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return [path for path in files if "listing" not in str(path) and path.name != "lock.json"]


def run_line_again(line, out: Path) -> None:
    """The line with the settings of `out`."""
    from anchorface.pipelines.find_faces import find_faces
    from anchorface.pipelines.ingest import ingest

    ingest(str(line.source), str(out), part_rows=10, concurrency=0)
    find_faces(str(out), embedder=line.embedder, crop_size=160, concurrency=0)
    group(str(out), labels=True, splits=(0.5, 0.25, 0.25), seed=5)
    shards(str(out), shard_bytes=150_000, concurrency=0)


def test_the_same_photographs_do_not_come_back(line, out):
    row = person(out)
    selection = by_identity(str(out), [row["identity"]])
    erase(str(out), selection, salt=SALT)
    for folder in ("done", "scanned", "photos", "faces", "identities", "index", "dataset"):
        shutil.rmtree(out / folder)
    run_line(line.source, out, line.embedder, concurrency=0)
    table = face_rows(str(out))
    assert not set(table["face_id"].to_pylist()) & set(row["face_ids"])
    assert not set(table["photo_id"].to_pylist()) & set(selection.photo_ids)
    assert set(table["photo_id"].to_pylist()) >= set(selection.shared)
    causes = [each for each in dropped(str(out)).to_pylist() if each["cause"] == "erased"]
    assert {each["uri"] for each in causes if each["stage"] == "ingest"} == set(selection.uris)
    assert len([each for each in causes if each["stage"] == "find_faces"]) == len(selection.shared)


def test_a_photograph_is_erased_and_its_people_stay(line, out):
    photo = line.source / "s000004" / "000.jpg"
    selection = by_photo(str(out), [str(photo)])
    content = [photo.name, hashlib.sha256(photo.read_bytes()).hexdigest()[:24]]
    assert selection.photo_ids == (content[1],)
    again = by_photo(str(out), [content[1]])
    assert (again.face_ids, again.uris) == (selection.face_ids, selection.uris) and not selection.of_person
    report = erase(str(out), selection, salt=SALT)
    assert report["codes_remembered"] == 0 and len(report["faces"]) == 1
    tombstones = Tombstones.open(str(out))
    assert tombstones.has_photo(content[1]) and tombstones.people == ()
    left = face_rows(str(out)).to_pylist()
    assert sum(face["subject"] == "s000004" for face in left) >= 4
    assert not any(content[1].encode() in path.read_bytes() for path in (out / "tombstones").iterdir())


def test_a_source_is_erased(line, out):
    selection = by_source(str(out), str(line.source / "s000005"))
    assert len(selection.photo_ids) == 5
    erase(str(out), selection, salt=SALT)
    assert not any("/s000005/" in uri for uri in face_rows(str(out))["uri"].to_pylist())
    assert holders(out, [str(line.source / "s000005").encode()]) == set()
    with pytest.raises(DataError, match="no photograph"):
        by_source(str(out), str(line.source / "s00000"))


def test_nobody_known_is_an_error_and_leaves_everything(out):
    for select, word in ((by_photo, "no photograph"), (by_identity, "no identity")):
        with pytest.raises(DataError, match=word):
            select(str(out), ["p999999"])
    assert not (out / "tombstones").exists()


def test_runs_that_saw_them_are_listed_and_their_pictures_go(out, tmp_path):
    row = person(out)
    dataset = open_dataset(str(out / "dataset"))
    run, judged = tmp_path / "runs" / "first", tmp_path / "runs" / "first" / "judged"
    (run / "checkpoints" / "step-00000008").mkdir(parents=True)
    said = json.dumps({"manifest_id": dataset.manifest_id})
    (run / "checkpoints" / "step-00000008" / "checkpoint.json").write_text(said)
    (run / "samples").mkdir()
    (run / "samples" / "00000008.png").write_bytes(b"grid")
    (judged / "conditions").mkdir(parents=True)
    (judged / "report.html").write_text("faces")
    stranger = next(face for face in dataset.columns["face_id"].tolist() if face not in row["face_ids"])
    rows = [{"number": 0, "target": row["face_ids"][0], "references": []},
            {"number": 1, "target": stranger, "references": []}]
    (judged / "protocol.json").write_text(json.dumps({"manifest_id": dataset.manifest_id, "rows": rows}))
    pq.write_table(pa.table({"number": pa.array([0, 1], pa.int32()), "image": [b"her", b"him"]}),
                   judged / "conditions" / "truth.parquet")
    other = tmp_path / "runs" / "other"
    (other / "samples").mkdir(parents=True)
    (other / "samples" / "1.png").write_bytes(b"grid")

    report = erase(str(out), by_identity(str(out), [row["identity"]]), runs=[str(tmp_path / "runs")], salt=SALT)

    assert [(seen["kind"], seen["folder"]) for seen in report["runs"]] == [
        ("training", str(run)), ("evaluation", str(judged))]
    assert report["runs"][0]["checkpoints"] == ["step-00000008"]
    assert report["run_files_cleaned"][str(tmp_path / "runs")] == 4
    told = json.loads((judged / "protocol.json").read_text())["rows"]
    assert [each["target"] for each in told] == [face_mark(SALT, row["face_ids"][0]), stranger]
    assert not (run / "samples" / "00000008.png").exists() and not (judged / "report.html").exists()
    assert pq.read_table(judged / "conditions" / "truth.parquet")["image"].to_pylist() == [b"him"]
    assert (other / "samples" / "1.png").exists()
    assert seen_by.folder_runs(str(tmp_path / "runs"), ["another"]) == []


def watch_changes(monkeypatch: pytest.MonkeyPatch, verb: Callable[[], object], before: Callable[[str], None]) -> None:
    """Let a verb do its work; `before` is called with each path that it renames to, and with `without PATH` for each
    that it deletes, when that has not happened yet."""
    def watched(function: Callable[..., None], place: int, word: str) -> Callable[..., None]:
        """A function that changes the disk; its argument at `place` is the path."""
        def change(*arguments: Any, **values: Any) -> None:
            if "dir_fd" not in values:  # a step inside `rmtree`
                before(f"{word}{arguments[place]}")
            function(*arguments, **values)

        return change

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", watched(os.replace, 1, ""))
        patch.setattr(os, "unlink", watched(os.unlink, 0, "without "))
        patch.setattr(shutil, "rmtree", watched(shutil.rmtree, 0, "without "))
        verb()


def state(out: Path) -> dict[str, object]:
    """Everything that an erasure leaves, but for Lance's own file names and the Ray sessions of others that ran by."""
    files = {
        str(path.relative_to(out)): re.sub(rb'"the Ray session [^"]*",?\s*', b"", path.read_bytes())
        for path in out.rglob("*") if path.is_file() and ".lance/" not in str(path) and path.name != "lock.json"}
    index = IdentityIndex.open(str(out / "index"))
    table = index.faces().sort_by("face_id")
    return files | {"index": table.to_pylist(), "crops": index.crops(table["face_id"].to_pylist())}


@pytest.mark.line
def test_an_erasure_killed_anywhere_is_finished_to_the_same_end(out, tmp_path, monkeypatch):
    """What a kill leaves is what stands on the disk before a change: a copy of that is taken at each kind of change,
    and stands where the workspace stood when the erasure is finished."""
    name = person(out)["identity"]
    kinds: dict[str, str] = {}

    def keep(change: str) -> None:
        kind = re.sub(r"[0-9a-f]{16}|[0-9]", "", change.replace(str(out), ""))
        if kind not in kinds:
            shutil.copytree(out, tmp_path / f"killed-{len(kinds)}")
            kinds[kind] = change

    watch_changes(monkeypatch, partial(erase, str(out), by_identity(str(out), [name]), salt=SALT), keep)
    expected = state(out)
    for number, change in enumerate(kinds.values()):
        shutil.rmtree(out)
        (tmp_path / f"killed-{number}").rename(out)
        if not settle(str(out)) and not reports(str(out)):
            erase(str(out), by_identity(str(out), [name]), salt=SALT)
        found = state(out)
        assert found.keys() == expected.keys(), change
        assert [name for name in found if found[name] != expected[name]] == [], change
    assert len(kinds) >= 15
