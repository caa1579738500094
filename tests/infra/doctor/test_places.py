"""Places that all must see, from one process: what is written is read, and nothing is left, made or shown."""

from pathlib import Path

import pytest

from anchorface.infra.doctor import places
from anchorface.records import storage
from tests.object_store import READER, SECRET


def test_a_folder_is_written_and_nothing_is_left(tmp_path: Path) -> None:
    assert places.tried(str(tmp_path)).state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_or_is_not_there_is_a_fault(tmp_path: Path, read_only: Path) -> None:
    found = places.tried(str(read_only))
    assert found.state == "fault" and "Read-only file system" in found.detail and found.remedy
    found = places.tried(str(tmp_path / "nowhere"))
    assert found.state == "fault" and "there is no such folder" in found.detail
    assert not (tmp_path / "nowhere").exists()


def test_who_does_not_see_the_driver_s_file_writes_nothing(tmp_path: Path) -> None:
    assert places.begin(str(tmp_path), "theirs") == "" == places.share(str(tmp_path), "theirs", "own")
    assert {path.name for path in tmp_path.iterdir()} == {"theirs", "own"}
    other = tmp_path / "other"
    assert "no such folder" in places.share(str(other), "theirs", "own") and not other.exists()
    other.mkdir()
    assert "the file is not there" in places.share(str(other), "theirs", "own") and list(other.iterdir()) == []
    (other / "theirs").write_bytes(b"of another")
    assert "something else" in places.share(str(other), "theirs", "own")


def test_a_bucket_with_and_without_the_right_to_write(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_atomic(f"{bucket}/kept", b"kept")
    assert places.tried(f"{bucket}/below").state == "ok"
    assert storage.list_files(bucket) == [f"{bucket}/kept"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    found = places.tried(bucket)
    assert found.state == "fault" and "ccess" in found.detail and SECRET not in repr(found)
    found = places.tried(f"s3://{READER.replace(':', '%3A')}:{SECRET}@{bucket.removeprefix('s3://')}")
    assert found.state == "fault" and SECRET not in repr(found)
