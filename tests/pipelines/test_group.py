"""Identities from run to run: names stay, decisions hold, kills change nothing, copies go, splits stay."""

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.attributes import perceptual_hash
from anchorface.faces.embed import embedder
from anchorface.faces.images import decode_jpeg, encode_jpeg
from anchorface.identity_index import IdentityIndex, add_decision
from anchorface.identity_index.unit import unit
from anchorface.pipelines import group as group_module
from anchorface.pipelines.group import group, regroup, report
from anchorface.pipelines.identities import persons as persons_module
from anchorface.pipelines.identities.splits import assign_splits
from anchorface.pipelines.stages import stage
from anchorface.pipelines.stages.stage import Part, dropped
from anchorface.records import FACE_SCHEMA, DataError, rng
from anchorface.records.errors import ConfigurationError
from anchorface.records.storage import read_table
from anchorface.synthetic import State, identity, render

MADE = "2026-01-02T03:04:05"
DIMENSION = 64
POINTS = [38.0, 48.0, 64.0, 48.0, 51.0, 62.0, 40.0, 76.0, 62.0, 76.0]


def looks(person: int, photo: int, spread: float = 0.6) -> np.ndarray:
    """An embedding of a person in one photograph; two of them have a cosine of about .7, strangers' of about 0."""
    centre = unit(rng(1, "person", person).standard_normal(DIMENSION))
    other = unit(rng(1, "photo", 1000 * person + photo).standard_normal(DIMENSION))
    return unit(centre + spread * other)


def face(person: int, photo: int, **values) -> dict:
    """A row of the face table: one face in a photograph of its own, its crop a pattern."""
    photo_id = f"{person:04d}{photo:04d}"
    pixels = rng(2, "crop", 1000 * person + photo).integers(0, 255, (24, 24, 3), np.uint8)
    row = {
        "face_id": f"{photo_id}-0", "photo_id": photo_id, "uri": f"photos/{photo_id}.jpg", "number": 0, "subject": None,
        "box": [0.0, 0.0, 90.0, 100.0], "landmarks": POINTS, "score": 0.9, "crop": encode_jpeg(pixels), "crop_size": 24,
        "crop_landmarks": POINTS, "age_source": "unknown", "sharpness": 100.0, "norm": 20.0,
        "embedding": looks(person, photo).tolist(), "embedder": "drawn",
        "perceptual_hash": int(rng(3, "hash", 1000 * person + photo).integers(0, 2**63)),
        "licence": "unknown", "consent": "unknown", "source": "test",
    }
    return row | {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "brightness": 128.0} | values


def people(count: int, each: int, first: int = 0) -> list[dict]:
    return [face(person, photo) for person in range(first, first + count) for photo in range(each)]


def write_faces(out: Path, *parts: list[dict]) -> None:
    """What `find_faces` leaves behind, with these faces."""
    tables = {stage.part_name(n): pa.Table.from_pylist(rows, schema=FACE_SCHEMA) for n, rows in enumerate(parts)}

    def work(name: str, payload: object):
        return {f"faces/{name}.parquet": stage.parquet_bytes(tables[name])}, {"faces": len(tables[name])}

    plan = [
        Part(name=name, rows=len(rows), inputs=stage.fingerprint([row["face_id"] for row in rows]), payload="{}")
        for name, rows in zip(tables, parts, strict=True)
    ]
    stage.run(str(out), "find_faces", plan, lambda: work, settings={}, concurrency=0)


def identities(out: Path) -> dict[str, dict]:
    rows = read_table(str(out / "identities" / "part-00000.parquet")).to_pylist()
    return {row["identity"]: row for row in rows}


def persons(out: Path) -> dict[str, frozenset[str]]:
    return {name: frozenset(row["face_ids"]) for name, row in identities(out).items()}


def files(out: Path) -> dict[str, bytes]:
    """Every file that `group` writes beside the index."""
    folders = [out / "identities", out / "done" / "group", out / "dropped" / "group"]
    return {str(p.relative_to(out)): p.read_bytes() for f in folders for p in sorted(f.rglob("*")) if p.is_file()}


run = partial(group, labels=False, threshold=0.4)


def test_new_photographs_join_or_found_identities_and_rename_none(tmp_path):
    write_faces(tmp_path, people(8, 5))
    run(str(tmp_path))
    before = persons(tmp_path)
    assert len(before) == 8
    write_faces(tmp_path, people(8, 5), [face(3, 5), face(3, 6), face(20, 0), face(20, 1)])
    said = run(str(tmp_path))
    after = persons(tmp_path)
    third = next(name for name, faces in before.items() if "00030000-0" in faces)
    assert {name: faces for name, faces in after.items() if name in before and name != third} == {
        name: faces for name, faces in before.items() if name != third}
    assert after[third] == before[third] | {"00030005-0", "00030006-0"}
    assert after["p000009"] == {"00200000-0", "00200001-0"}
    assert said["identities"] == 9 and said["kept_identities"] == 8 and said["highest_name"] == 9


def filmed(person: int, film: int, frames: int) -> list[dict]:
    """A film of a person, whose frames look like one another more than like any other photograph."""
    first = looks(person, film)
    return [face(person, 100 * film + n, uri=f"films/{person}-{film}.mp4#t={n / 25:.3f}", embedding=unit(
        first + 0.1 * rng(4, "frame", n).standard_normal(DIMENSION) / 8).tolist()) for n in range(frames)]


def test_long_films_of_one_person_are_one_person_though_each_frames_nearest_are_its_own_films(tmp_path, monkeypatch):
    films = [row for person in range(3) for film in range(2) for row in filmed(person, film, 40)]
    write_faces(tmp_path / "one", films + people(2, 3, first=10))
    said = run(str(tmp_path / "one"))
    assert said["identities"] == 5 and said["faces"] == len(films) + 6
    monkeypatch.setattr(persons_module, "OF_TRACK", 40)
    write_faces(tmp_path / "other", films + people(2, 3, first=10))
    assert run(str(tmp_path / "other"))["identities"] == 8, "compared with all frames, films hide one another"


def test_names_are_never_given_again(tmp_path):
    write_faces(tmp_path, people(6, 4))
    run(str(tmp_path))
    write_faces(tmp_path, people(5, 4))
    run(str(tmp_path))
    assert "p000006" not in persons(tmp_path)
    write_faces(tmp_path, people(5, 4), people(1, 4, first=30))
    run(str(tmp_path))
    assert set(persons(tmp_path)) == {f"p{n:06d}" for n in (1, 2, 3, 4, 5, 7)}


def test_two_existing_identities_are_proposed_and_not_joined(tmp_path):
    one, two = [face(0, n) for n in range(4)], [face(0, n) for n in range(4, 8)]
    write_faces(tmp_path, one + people(5, 4, first=1))
    run(str(tmp_path))
    stranger = [row | {"embedding": looks(40, n).tolist()} for n, row in enumerate(two)]
    write_faces(tmp_path, one + people(5, 4, first=1), stranger)
    run(str(tmp_path))
    assert len(persons(tmp_path)) == 7
    # The same faces embedded by a better network: now they look like one person.
    write_faces(tmp_path, one + people(5, 4, first=1), [], two)
    run(str(tmp_path))
    found = identities(tmp_path)
    assert len(found) == 7
    assert "perhaps the same person as p000007" in found["p000001"]["doubt"]
    assert "perhaps the same person as p000001" in found["p000007"]["doubt"]
    assert {"p000001", "p000007"} <= set(report(str(tmp_path))["suspicious"])
    assert len(persons(tmp_path)) == 7
    run(str(tmp_path), anew=True)
    assert len(persons(tmp_path)) == 6 and persons(tmp_path)["p000001"] >= {row["face_id"] for row in one + two}


def test_decisions_survive_every_run_and_one_from_scratch(tmp_path):
    out = str(tmp_path)
    write_faces(tmp_path, people(6, 4))
    run(out)
    first, second = [[row["face_id"] for row in people(1, 4, first=n)] for n in (0, 1)]
    add_decision(out, kind="merge", face_ids=[*first, *second], made=MADE)
    add_decision(out, kind="split", face_ids=["00020000-0"], others=["00020001-0", "00020002-0"], made=MADE)
    add_decision(out, kind="reject", face_ids=["00030001-0"], note="a statue", made=MADE)
    add_decision(out, kind="label", face_ids=["00040000-0"], label="Ada", made=MADE)
    regroup(out)
    decided = persons(tmp_path)
    assert decided["p000001"] == {*first, *second} and "p000002" not in decided
    assert decided["p000003"] == {"00020001-0", "00020002-0", "00020003-0"} and decided["p000007"] == {"00020000-0"}
    assert identities(tmp_path)["p000005"]["subject"] == "Ada"
    gone = [row for row in dropped(out).to_pylist() if row["cause"] == "rejected by a person"]
    assert [(row["stage"], row["uri"], row["row"]) for row in gone] == [("group", "photos/00030001.jpg", 0)]
    assert "00030001-0" not in IdentityIndex.open(f"{out}/index").faces(["face_id"])["face_id"].to_pylist()
    for anew in (False, True):
        write_faces(tmp_path, people(6, 4), people(1 + anew, 3, first=50))
        run(out, anew=anew)
        again = persons(tmp_path)
        assert {name: again[name] for name in decided} == decided


def test_a_rerun_with_nothing_new_does_nothing(tmp_path):
    write_faces(tmp_path, people(5, 3))
    said = run(str(tmp_path))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != "lock.json"}
    assert run(str(tmp_path)) == said and regroup(str(tmp_path)) == said
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != "lock.json"} == before


@pytest.mark.parametrize("killed_at", ["IdentityIndex.create", "part-00000.parquet", "report.json", "part-00000.json"])
def test_a_killed_and_repeated_run_equals_an_undisturbed_one(tmp_path, monkeypatch, killed_at):
    old, new = people(8, 4), [face(2, 4), face(9, 0), face(9, 1), face(1, 9, embedding=looks(5, 9).tolist())]
    for name in ("calm", "killed"):
        write_faces(tmp_path / name, old)
        run(str(tmp_path / name))
        write_faces(tmp_path / name, old, new)
    run(str(tmp_path / "calm"))
    write = stage.write_atomic

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def write_until(uri: str, content: bytes) -> None:
        if uri.endswith(killed_at) and "previous" not in uri:
            stop()
        write(uri, content)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(stage, "write_atomic", write_until)
        if killed_at == "IdentityIndex.create":
            patched.setattr(group_module.IdentityIndex, "create", stop)
        run(str(tmp_path / "killed"))
    run(str(tmp_path / "killed"))
    assert files(tmp_path / "killed") == files(tmp_path / "calm")


def test_the_order_of_faces_and_parts_does_not_matter(tmp_path):
    rows = people(10, 4)
    shuffled = [rows[n] for n in rng(4, "order", 0).permutation(len(rows))]
    write_faces(tmp_path / "one", rows[:20], rows[20:])
    write_faces(tmp_path / "two", shuffled[:7], shuffled[7:])
    said = [group(str(tmp_path / name), labels=False) for name in ("one", "two")]
    assert said[0] == said[1] and identities(tmp_path / "one") == identities(tmp_path / "two")


def test_copies_of_a_picture_are_dropped_and_the_best_is_kept(tmp_path):
    shot = render(identity(5), State(), 320)
    points = np.asarray(shot.landmarks, np.float64)
    other = render(identity(5), State(smile=0.8), 320)
    small = cv2.resize(shot.image, (160, 160), interpolation=cv2.INTER_AREA)

    def shown(photo: int, image: np.ndarray, where: np.ndarray, side: float) -> dict:
        values = {"crop": encode_jpeg(image, 60), "crop_landmarks": where.ravel().tolist(), "crop_size": len(image)}
        near = looks(0, 0) + 0.05 * photo * looks(99, photo)
        code = perceptual_hash(cv2.resize(shot.image, (112, 112)))
        return face(0, photo, **values, box=[0.0, 0.0, side, side], embedding=unit(near).tolist(), perceptual_hash=code)

    rows = [shown(0, small, points / 2, 80.0), shown(1, shot.image, points, 160.0),
            shown(2, other.image, np.asarray(other.landmarks), 160.0)]
    write_faces(tmp_path, rows + people(6, 4, first=1))
    said = run(str(tmp_path))
    assert said["near_duplicates"] == 1
    (row,) = dropped(str(tmp_path)).to_pylist()
    assert (row["stage"], row["uri"], row["cause"]) == (
        "group", "photos/00000000.jpg", "near-duplicate of 00000001-0")
    assert frozenset({"00000001-0", "00000002-0"}) in persons(tmp_path).values()
    assert run(str(tmp_path), near_duplicates="keep")["faces"] == 27 and not len(dropped(str(tmp_path)))


def test_identities_keep_their_split_and_new_ones_fill_the_shares(tmp_path):
    write_faces(tmp_path, people(20, 3))
    run(str(tmp_path), splits=(0.6, 0.2, 0.2))
    before = {name: row["split"] for name, row in identities(tmp_path).items()}
    write_faces(tmp_path, people(20, 3), people(20, 3, first=20))
    said = run(str(tmp_path), splits=(0.6, 0.2, 0.2))
    after = {name: row["split"] for name, row in identities(tmp_path).items()}
    assert {name: after[name] for name in before} == before
    assert (said["train_identities"], said["val_identities"], said["test_identities"]) == (24, 8, 8)
    run(str(tmp_path), splits=(0.6, 0.2, 0.2), seed=1)
    assert {name: row["split"] for name, row in identities(tmp_path).items()} != after, "another seed, another split"
    kept = {"a": "test", "b": "test"}
    assert assign_splits({n: (n, 2) for n in "abcd"}, (0.5, 0.25, 0.25), 0, kept).items() >= kept.items()


def test_published_splits_win_over_earlier_ones(tmp_path):
    write_faces(tmp_path, [row | {"subject": f"s{row['photo_id'][:4]}"} for row in people(10, 3)])
    group(str(tmp_path), labels=True)
    group(str(tmp_path), labels=True, held={"s0003": "test", "s0004": "val"})
    split = {row["subject"]: row["split"] for row in identities(tmp_path).values()}
    assert split["s0003"] == "test" and split["s0004"] == "val"


def test_a_merge_of_two_given_labels_stops_and_names_both(tmp_path):
    write_faces(tmp_path, [row | {"subject": f"s{row['photo_id'][:4]}"} for row in people(3, 3)])
    both = [row["face_id"] for row in people(2, 3)]
    add_decision(str(tmp_path), kind="merge", face_ids=both, made=MADE)
    with pytest.raises(DataError, match="'s0000' and 's0001'"):
        group(str(tmp_path), labels=True)
    assert group(str(tmp_path), labels=False, threshold=0.4)["identities"] == 2


def test_the_index_and_the_identities_say_the_same(tmp_path):
    write_faces(tmp_path, people(6, 4)[:10], people(6, 4)[10:])
    run(str(tmp_path))
    index = IdentityIndex.open(str(tmp_path / "index"))
    rows = index.faces(["face_id", "identity", "split", "crop_bytes"]).to_pylist()
    found = identities(tmp_path)
    assert {row["face_id"] for row in rows} == {f for row in found.values() for f in row["face_ids"]}
    assert all(row["face_id"] in found[row["identity"]]["face_ids"] for row in rows)
    assert all(row["split"] == found[row["identity"]]["split"] for row in rows)
    crops = index.crops([row["face_id"] for row in rows])
    assert {row["face_id"]: row["crop_bytes"] for row in rows} == {name: len(crop) for name, crop in crops.items()}
    assert json.loads((tmp_path / "identities" / "report.json").read_text())["faces"] == len(rows)


def test_another_network_looks_at_each_part_once_and_decides_who_is_who(tmp_path):
    own = "adaface_small"
    parts = people(2, 3), people(2, 3, first=2)
    write_faces(tmp_path, *parts)
    run(str(tmp_path), clusterer=own)
    looked = sorted((tmp_path / "clusterer").iterdir())
    table = read_table(str(looked[0]))
    assert [path.name for path in looked] == ["part-00000.parquet", "part-00001.parquet"]
    assert table["face_id"].to_pylist() == [row["face_id"] for row in parts[0]]
    row = parts[0][1]
    small = warp(decode_jpeg(row["crop"]), arcface_matrix(np.reshape(POINTS, (5, 2))), 112)
    np.testing.assert_allclose(table["embedding"][1].as_py(), embedder(own).embed(small[None])[0][0], atol=1e-5)
    before = looked[0].stat().st_mtime_ns
    write_faces(tmp_path, parts[0], people(2, 4, first=2))
    run(str(tmp_path), clusterer=own)
    assert looked[0].stat().st_mtime_ns == before
    assert len(read_table(str(looked[1]))) == 8


def test_wrong_choices_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="near_duplicates 'no'"):
        run(str(tmp_path), near_duplicates="no")
    with pytest.raises(DataError, match="has not finished"):
        regroup(str(tmp_path))
