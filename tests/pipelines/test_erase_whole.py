"""A person is erased from everywhere: tables, decisions, runs, restored pictures, MLflow, caches, logs; nothing of hers
is found, byte for byte."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_erase import haystacks, needles_of, person
from typer.testing import CliRunner

from anchorface.cli import app
from anchorface.faces.images import encode_jpeg
from anchorface.identity_index.clustering.correction import label, reject
from anchorface.identity_index.clustering.decisions import add_decision, read_decisions
from anchorface.identity_index.tombstones import face_mark, open_salt
from anchorface.pipelines.erasure.erase import erase
from anchorface.pipelines.erasure.person import by_identity, by_person
from anchorface.pipelines.erasure.rows import face_rows, identity_rows
from anchorface.pipelines.erasure.selection import by_photo
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.group import group
from anchorface.pipelines.shards import shards
from anchorface.records.erasures import reports
from anchorface.records.errors import DataError
from anchorface.records.lineage import versions
from anchorface.records.storage import read_table
from anchorface.records.uses import note, note_dataset

SPLITS = (0.5, 0.25, 0.25)


@pytest.fixture(autouse=True)
def own_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Ray's that is nobody else's."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "temporary" / "ray"


@pytest.fixture
def out(line, tmp_path: Path) -> Path:
    return Path(shutil.copytree(line.out, tmp_path / "out"))


def regroup(out: Path) -> None:
    group(str(out), labels=True, splits=SPLITS, seed=3)


def everywhere(root: Path) -> Iterator[tuple[str, bytes]]:
    yield from haystacks(root).items()


def found(root: Path, needles: list[bytes]) -> set[str]:
    return {path for path, content in everywhere(root) if any(needle in content for needle in needles)}


def a_run(folder: Path, out: Path, face_ids: list[str], stranger: str, uri: str) -> str:
    """A run on the latest version with a grid, an evaluation with a picture of the person, a page and a restored
    picture of her photograph; its MLflow run, marked deleted; latents elsewhere. Returns the MLflow URI."""
    from mlflow import MlflowClient

    dataset = open_dataset(str(out / "dataset"))
    place = folder / "first"
    for name in ("checkpoints/step-00000008", "samples", "judged/conditions", "restored/dropped"):
        (place / name).mkdir(parents=True)
    latents = folder / "latents"
    said = {"manifest_id": dataset.manifest_id, "recipe": {"latents": str(latents)}}
    (place / "checkpoints/step-00000008/checkpoint.json").write_text(json.dumps(said))
    (latents / dataset.manifest_id / "0f").mkdir(parents=True)
    (latents / dataset.manifest_id / "0f" / "train-00000.safetensors").write_bytes(b"tokens")
    her = encode_jpeg(np.full((40, 40, 3), 77, np.uint8))
    (place / "samples/step-00000008.png").write_bytes(her)
    (place / "judged/report.html").write_bytes(b"<img>" + her)
    rows = [{"number": 0, "target": face_ids[0], "references": [face_ids[1]], "identity": "p1"},
            {"number": 1, "target": stranger, "references": [], "identity": "p2"}]
    (place / "judged/protocol.json").write_text(json.dumps({"manifest_id": dataset.manifest_id, "rows": rows}))
    pq.write_table(pa.table({"number": pa.array([0, 1], pa.int32()), "image": [her, b"another"]}),
                   place / "judged/conditions/truth.parquet")
    pq.write_table(pa.table({"target": [face_ids[0], stranger]}), place / "judged/rows.parquet")
    name = "/".join(uri.split("/")[-2:])
    for each in (name, "others/000.jpg"):
        (place / "restored" / each).parent.mkdir(exist_ok=True)
        (place / "restored" / f"{each}.png").write_bytes(her if each == name else b"another")
        (place / "restored" / f"{each}.json").write_text(json.dumps({"made_from": "0", "faces": [{"photo": each}]}))
    pq.write_table(pa.table({"photo": [name, "others/000.jpg"], "face": pa.array([0, 0], pa.int32())}),
                   place / "restored/restored.parquet")
    pq.write_table(pa.table({"uri": [uri], "cause": ["no face"]}), place / "restored/dropped/restore.parquet")
    store = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(tracking_uri=store)
    experiment = client.create_experiment("x", artifact_location=(folder / "artifacts").as_uri())
    run = client.create_run(experiment, tags={"manifest": dataset.manifest_id})
    client.log_artifact(run.info.run_id, str(place / "samples/step-00000008.png"), "samples")
    client.delete_run(run.info.run_id)
    (place / "run.json").write_text(json.dumps({"uri": store, "run_id": run.info.run_id}))
    note_dataset(dataset.uri, "training", str(place), print, manifest=dataset.manifest_id)
    return store


@pytest.mark.timeout(300)
def test_nothing_is_found_of_a_person_with_a_rejected_face_a_noted_decision_and_a_run(line, out, tmp_path, own_ray):
    row = person(out)
    name, faces = row["identity"], list(row["face_ids"])
    label(str(out), name, "Somebody", made="2026", note="my aunt")
    reject(str(out), faces[:1], made="2026", note="Somebody with a hat")
    regroup(out)
    regroup(out)
    shards(str(out), shard_bytes=150_000, concurrency=0)
    needles = needles_of(out, faces)
    uri = next(each["uri"] for each in face_rows(str(out)).to_pylist() if each["face_id"] == faces[1])
    stranger = next(f for each in identity_rows(str(out)) if each["identity"] != name for f in each["face_ids"])
    folder = tmp_path / "runs"
    store = a_run(folder, out, faces, stranger, uri)
    session = own_ray / "session_2026-01-01_00-00-00_1_999999999"
    (session / "logs").mkdir(parents=True)
    (session / "ray_spilled_objects_0").mkdir()
    (session / "ray_spilled_objects_0" / "object").write_bytes(needles["crops"][0])
    (session / "logs" / "worker.out").write_text(f"reading {uri}")
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("Somebody")
    note(str(out), "pages", str(pages))
    alone = {face["photo_id"] for face in face_rows(str(out)).to_pylist() if face["face_id"] in faces} - {
        face["photo_id"] for face in face_rows(str(out)).to_pylist() if face["face_id"] not in faces}
    needles |= {"ids": [face.encode() for face in faces] + [photo.encode() for photo in alone],
                "pictures": [encode_jpeg(np.full((40, 40, 3), 77, np.uint8))]}
    before = {kind: found(tmp_path, these) for kind, these in needles.items()}
    assert all(before.values())

    said = CliRunner().invoke(app, ["erase", str(out), "--label", "Somebody", "--yes"], env={"COLUMNS": "300"})

    assert said.exit_code == 0, said.output
    (report,) = reports(str(out))
    assert len(report["faces"]) == len(faces), "the rejected face is the person's too"
    left = {kind: found(tmp_path, these) for kind, these in needles.items()}
    assert left == {kind: set() for kind in needles}
    assert pq.read_table(folder / "first/judged/conditions/truth.parquet")["number"].to_pylist() == [1]
    assert pq.read_table(folder / "first/restored/restored.parquet")["photo"].to_pylist() == ["others/000.jpg"]
    assert (folder / "first/restored/others/000.jpg.png").exists()
    assert {run["kind"] for run in report["runs"]} == {"training", "evaluation", "mlflow"}
    assert next(run for run in report["runs"] if run["kind"] == "training")["checkpoints"] == ["step-00000008"]
    assert "not searched" in said.output and "backups" in said.output and store
    marks = {face_mark(open_salt(str(out)), face) for face in faces}
    assert all(set(each.face_ids) <= marks and each.note == "" for each in read_decisions(str(out)))


def test_a_preview_says_what_goes_and_why_and_changes_nothing(out):
    row = person(out)
    other = row["face_ids"][0]
    stray = next(each["face_ids"][0] for each in identity_rows(str(out)) if each["identity"] != row["identity"])
    reject(str(out), [other, stray], made="2026")
    regroup(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "lock.json"}
    said = CliRunner().invoke(app, ["erase", str(out), "--identity", row["identity"]], env={"COLUMNS": "300"})
    assert said.exit_code == 0 and "nothing was erased" in said.output and f"{stray} stays" in said.output.replace(
        "\n", "")
    assert {path: path.read_bytes() for path in before} == before and not (out / "tombstones").exists()
    sure = by_identity(str(out), [row["identity"]])
    assert other in sure.face_ids and stray not in sure.face_ids and "beside the person" in sure.unsure[stray]
    asked = by_identity(str(out), [row["identity"]], also=[stray])
    assert stray in asked.face_ids and stray not in asked.unsure


def test_a_person_is_named_by_a_label_a_subject_or_a_decision(out):
    row = person(out)
    label(str(out), row["identity"], "Somebody", made="2026")
    whole = by_identity(str(out), [row["identity"]])
    number = add_decision(str(out), kind="merge", face_ids=row["face_ids"][:2], made="2026").number
    for way in ({"labels": ["Somebody"]}, {"labels": [row["subject"]]}, {"decisions": [number]}):
        chosen = by_person(str(out), **way)
        assert chosen.face_ids == whole.face_ids and chosen.subjects == ("Somebody", row["subject"]), way
    with pytest.raises(DataError, match="no label, subject or face"):
        by_person(str(out), labels=["Nobody"])
    with pytest.raises(DataError, match="no decision 99"):
        by_person(str(out), decisions=[99])


def test_an_old_version_gives_up_faces_that_no_table_holds(out):
    """The photograph left the source, and only the version's tar still shows it."""
    row = person(out)
    face = row["face_ids"][0]
    for folder in ("photos", "scanned", "faces"):
        for path in (out / folder).glob("*.parquet"):
            table = pq.read_table(path)
            gone = [photo != face.rpartition("-")[0] for photo in table["photo_id"].to_pylist()]
            pq.write_table(table.filter(pa.array(gone)), path)
    uri = out / "identities" / "part-00000.parquet"
    table = read_table(str(uri))
    kept = [each | {"face_ids": [f for f in each["face_ids"] if f != face]} for each in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(kept, schema=table.schema), uri)
    selection = by_identity(str(out), [row["identity"]])
    assert face in selection.face_ids and "stood with the person in a dataset version" in selection.why
    erase(str(out), selection)
    assert not set(open_dataset(str(out / "dataset")).columns["face_id"].tolist()) & set(row["face_ids"])


@pytest.mark.parametrize("state", ["ingested", "a part of the faces", "found", "group was killed", "not published"])
def test_a_half_curated_workspace_can_be_erased_from(line, out, state):
    row, photo = person(out), str(line.source / "s000004" / "000.jpg")
    (content,) = needles_of(out, [f"{hashlib.sha256(Path(photo).read_bytes()).hexdigest()[:24]}-0"])["crops"]
    gone = {
        "ingested": ["faces", "identities", "index", "dataset", "done/find_faces", "done/group", "done/shards",
                     "done/version.json", "dropped/find_faces", "dropped/group"],
        "a part of the faces": ["faces/part-00000.parquet", "done/find_faces/complete.json", "identities", "index",
                                "dataset", "done/group", "done/shards", "done/version.json"],
        "found": ["identities", "index", "dataset", "done/group", "done/shards", "done/version.json"],
        "group was killed": ["index/faces.lance", "done/group", "identities", "dataset", "done/version.json"],
        "not published": ["dataset", "done/version.json", "done/shards/complete.json"],
    }[state]
    for name in gone:
        place = out / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    erase(str(out), by_photo(str(out), [photo]))
    chosen = by_person(str(out), labels=[row["subject"]])
    assert set(chosen.photo_ids) or chosen.shared
    erase(str(out), chosen)
    needles = [row["subject"].encode(), Path(photo).as_posix().encode(), content]
    assert found(out, needles) == set()


def test_erasing_goes_down_to_one_person_and_to_nobody(out):
    while rows := identity_rows(str(out)):
        report = erase(str(out), by_identity(str(out), [rows[-1]["identity"]]))
        assert len(identity_rows(str(out))) < len(rows) and report["faces"]
    assert len(face_rows(str(out))) == 0 and versions(str(out / "dataset"))[-1].manifest.faces == 0
