"""Buckets of a real server: whole objects, few requests, ranges, rights, and names with any sign in them."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anchorface.records import storage
from anchorface.records.addresses import bucket_and_key, key_and_secret
from anchorface.records.errors import ConfigurationError, StorageError
from anchorface.records.lines import Lines
from anchorface.records.lock import held, locked
from tests.object_store import READER, SECRET, ObjectStore, counts

NAMES = ("plain.json", "a b/ä +#?%41&=.json", "deep/日本語 @1.json")


@pytest.mark.parametrize(("uri", "root", "path"), [
    ("s3://bucket/a/b", "s3://bucket", "bucket/a/b"), ("s3://bucket", "s3://bucket", "bucket"),
    ("s3://bucket/a/", "s3://bucket", "bucket/a"), ("s3://bucket/a%20b@1", "s3://bucket", "bucket/a b@1"),
    ("s3://KEY:s3/cr+t@bucket/a b?region=x", "s3://KEY:s3/cr+t@bucket?region=x", "bucket/a b"),
])
def test_an_address_is_taken_apart_into_what_leads_to_the_server_and_the_place_there(
    uri: str, root: str, path: str
) -> None:
    assert bucket_and_key(uri) == (root, path)
    assert key_and_secret(root) == (("KEY", "s3/cr+t") if "@bucket" in root else ("", ""))


def test_what_is_written_is_found_by_its_name_whatever_signs_it_has(bucket: str) -> None:
    for name in NAMES:
        storage.write_atomic(storage.join(bucket, "files", name), name.encode())
    found = storage.list_files(f"{bucket}/files")
    assert sorted(storage.name_in(f"{bucket}/files", uri) for uri in found) == sorted(NAMES)
    assert {storage.read_bytes(uri).decode() for uri in found} == set(NAMES)
    assert storage.list_files(f"{bucket}/files", recursive=False) == [f"{bucket}/files/plain.json"]
    assert sorted(storage.list_folders(f"{bucket}/files")) == [f"{bucket}/files/a%20b", f"{bucket}/files/deep"]
    storage.move(found[0], f"{bucket}/moved/here")
    assert storage.read_bytes(f"{bucket}/moved/here") and not storage.exists(found[0])
    storage.delete(f"{bucket}/files")
    assert not storage.list_files(bucket, (".json",))


def test_whether_a_bucket_may_be_written_is_tried_at_the_place_alone_and_leaves_nothing(
    bucket: str, buckets: ObjectStore
) -> None:
    storage.write_atomic(f"{bucket}/team/mine/run/one", b"x")
    before = len(buckets.requests())
    storage.make_folder(f"{bucket}/team/mine/run")
    storage.require_writable(f"{bucket}/team/mine/run/one")
    put = [each.path for each in buckets.requests()[before:] if each.method == "PUT"]
    assert put and all("/team/mine/run/" in path for path in put), put
    assert storage.list_files(bucket) == [f"{bucket}/team/mine/run/one"]
    assert storage.read_bytes(f"{bucket}/team/mine/run/one") == b"x"


def test_a_small_object_is_written_by_one_request_and_read_by_its_range(bucket: str, buckets: ObjectStore) -> None:
    table = pa.table({name: np.arange(200_000) + number for number, name in enumerate("abcdefgh")})
    before = len(buckets.requests())
    storage.write_atomic(f"{bucket}/deep/in/a/folder.json", b"{}")
    assert [each.method for each in buckets.requests()[before:]] == ["PUT"]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    storage.write_atomic(f"{bucket}/table.parquet", sink.getvalue())
    before = len(buckets.requests())
    assert storage.read_table(f"{bucket}/table.parquet", ["c"]).equals(table.select(["c"]))
    asked = counts(buckets.requests()[before:])
    assert asked["down"] < 0.25 * sink.getvalue().size, asked


def test_an_object_is_whole_or_what_stood_there_before(bucket: str) -> None:
    uri = f"{bucket}/large"
    storage.write_atomic(uri, b"before")
    with pytest.raises(ZeroDivisionError), storage.writing(uri) as file:
        file.write(bytes(2**20))
        raise ZeroDivisionError
    assert storage.read_bytes(uri) == b"before"
    content = os.urandom(2**20 * 11)  # three parts
    with storage.writing(uri) as file:
        file.write(content)
    assert storage.read_bytes(uri) == content


def test_a_bucket_that_may_not_be_written_is_said_by_whoever_wants_to(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_atomic(f"{bucket}/run/there", b"x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    assert storage.read_bytes(f"{bucket}/run/there") == b"x"
    for write in (lambda: storage.make_folder(f"{bucket}/run"), lambda: storage.write_atomic(f"{bucket}/a", b""),
                  lambda: storage.require_writable(f"{bucket}/a"),
                  lambda: locked(f"{bucket}/run", "train").__enter__(), lambda: storage.delete(f"{bucket}/run/there")):
        with pytest.raises(StorageError, match=r"(?i)access.denied") as refused:
            write()
        assert SECRET not in str(refused.value) and f"{bucket}/" in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody:here"),
                                             ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")])
def test_a_wrong_key_or_server_is_an_error_that_shows_no_secret(
    bucket: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_atomic(f"{bucket}/there", b"x")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for act in (storage.read_bytes, storage.make_folder, lambda uri: storage.write_atomic(uri, b"")):
        with pytest.raises(StorageError) as said:
            act(f"{bucket}/there")
        assert SECRET not in repr(said.value) + repr(said.value.__cause__)


def test_nothing_is_written_to_an_address_with_a_query(bucket: str) -> None:
    for write in (storage.make_folder, lambda uri: storage.write_atomic(uri, b"")):
        with pytest.raises(StorageError, match="AWS_ENDPOINT_URL"):
            write(f"{bucket}/a?region=us-east-1")


def test_one_writer_at_a_time_and_lines_that_are_read_from_their_place(
    bucket: str, buckets: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.make_folder(f"{bucket}/run")
    with locked(f"{bucket}/run", "train"):
        with pytest.raises(ConfigurationError, match="in use"), locked(f"{bucket}/run", "train"):
            pass
        assert held(f"{bucket}/run")
    assert not held(f"{bucket}/run")
    lines = Lines(f"{bucket}/run/progress.jsonl")
    for number in range(500):
        lines.append({"clock": number, "said": "x" * 100})
    lines.flush()
    first, place = Lines(lines.uri).read(0)
    lines.append({"clock": 500})
    lines.flush()
    before = len(buckets.requests())
    assert Lines(lines.uri).read(place)[0] == [{"clock": 500}] and len(first) == 500
    assert counts(buckets.requests()[before:])["down"] < 100
