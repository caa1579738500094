"""Promises of records: seeds, round trips, atomic files, a manifest that cannot change unnoticed."""

import dataclasses
import hashlib
import pickle
from datetime import date

import pyarrow as pa
import pytest

from anchorface.records import (
    FACE_SCHEMA,
    IDENTITY_SCHEMA,
    PAIR_SCHEMA,
    PHOTO_SCHEMA,
    DataError,
    Face,
    GivenFace,
    Identity,
    Manifest,
    Pair,
    Photo,
    PhotoError,
    Shard,
    StorageError,
    derive,
    rng,
    storage,
)
from anchorface.records.table_stream import sha256_of, write_stream


def photo() -> Photo:
    return Photo(
        photo_id="ab" * 12, uri="a/b.jpg", width=640, height=480, format="JPEG", byte_size=1234, subject="s1",
        birth_date=date(1970, 1, 2), taken=date(2001, 3, 4), licence="CC0-1.0", consent="given", source="test",
        given_faces=(GivenFace(landmarks=tuple(float(i) for i in range(10)), yaw=12.5, age=31.0),),
    )


def manifest() -> Manifest:
    shard = Shard(
        path="shards/train-00000.tar", split="train", identities=("p1", "p2"), faces=9, byte_size=10, sha256="0"
    )
    return Manifest(
        shards=(shard,), counts={"train": {"faces": 9, "identities": 2}}, licences={"CC0-1.0": 9},
        consents={"given": 9}, weights={"adaface_small": "1"}, settings={"seed": 3}, faces_sha256="2",
    )


def test_the_same_seed_purpose_and_position_give_the_same_numbers_and_others_do_not() -> None:
    first = rng(7, "degradation", 5).random(4).tolist()
    assert first == rng(7, "degradation", 5).random(4).tolist()
    others = [rng(8, "degradation", 5), rng(7, "references", 5), rng(7, "degradation", 6)]
    assert all(first != other.random(4).tolist() for other in others)
    assert derive(7, "degradation", 5) == 6697418915701324854, "stored runs depend on these numbers"


@pytest.mark.parametrize(
    ("noun", "schema"), [(Photo, PHOTO_SCHEMA), (Face, FACE_SCHEMA), (Identity, IDENTITY_SCHEMA), (Pair, PAIR_SCHEMA)]
)
def test_every_noun_has_the_columns_of_its_schema_in_order(noun: type, schema: pa.Schema) -> None:
    assert [field.name for field in dataclasses.fields(noun)] == schema.names


def test_a_photo_survives_arrow() -> None:
    table = pa.Table.from_pylist([photo().to_row()], schema=PHOTO_SCHEMA)
    assert Photo.from_row(table.to_pylist()[0]) == photo()


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        photo().uri = "other"  # type: ignore[misc]


def test_a_manifest_round_trips_and_any_change_changes_its_id() -> None:
    one = manifest()
    assert Manifest.from_json(one.to_json()) == one
    assert Manifest.from_json(one.to_json()).manifest_id == one.manifest_id
    assert dataclasses.replace(one, faces_sha256="3").manifest_id != one.manifest_id


def test_versions_of_equal_content_are_told_whatever_their_parents() -> None:
    one = manifest()
    child = dataclasses.replace(one, parents=(one.manifest_id,))
    assert child.manifest_id != one.manifest_id and child.content_id == one.content_id
    assert dataclasses.replace(one, code="other").content_id != one.content_id
    assert one.faces == 9


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}'])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Manifest.from_json(text)


@pytest.mark.parametrize("root", ["{tmp}/files", "memory://records-test"])
def test_files_are_written_whole_on_any_filesystem(root: str, tmp_path) -> None:
    uri = root.format(tmp=tmp_path)
    storage.write_atomic(storage.join(uri, "a", "b.txt"), b"one")
    storage.write_atomic(storage.join(uri, "a", "b.txt"), b"two")
    assert storage.read_bytes(storage.join(uri, "a", "b.txt")) == b"two"
    assert [name.rpartition("/")[2] for name in storage.list_files(uri)] == ["b.txt"]
    table = pa.table({"x": [1, 2]})
    storage.write_table(storage.join(uri, "t.parquet"), table)
    assert storage.read_table(storage.join(uri, "t.parquet")).equals(table)
    storage.delete(uri)
    assert not storage.exists(storage.join(uri, "a", "b.txt"))


@pytest.mark.parametrize("root", ["{tmp}/files", "memory://table-stream-test"])
def test_a_table_larger_than_memory_is_written_in_row_groups_with_its_hash(root: str, tmp_path) -> None:
    uri = storage.join(root.format(tmp=tmp_path), "t.parquet")
    tables = [pa.table({"x": [n, n + 1]}) for n in range(0, 6, 2)]
    digest = write_stream(uri, tables[0].schema, iter(tables))
    assert digest == sha256_of(uri) == hashlib.sha256(storage.read_bytes(uri)).hexdigest()
    assert storage.read_table(uri)["x"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert write_stream(uri, tables[0].schema, tables) == digest
    assert [name.rpartition("/")[2] for name in storage.list_files(root.format(tmp=tmp_path))] == ["t.parquet"]


def test_missing_and_unwritable_places_are_named(tmp_path) -> None:
    with pytest.raises(StorageError, match="no such folder"):
        storage.list_files(str(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file/inside"):
        storage.write_atomic(str(tmp_path / "file" / "inside"), b"")
    with pytest.raises(DataError, match="not a readable table"):
        storage.read_table(str(tmp_path / "file"))


def test_a_photo_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(PhotoError("truncated", "a.jpg", "cut at byte 10")))
    assert (error.cause, error.uri, str(error)) == ("truncated", "a.jpg", "a.jpg: truncated (cut at byte 10)")
