"""Files are made for their owner alone, and are on the disk before their name is, whatever writes them."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from anchorface.records import storage
from anchorface.records.errors import StorageError
from anchorface.records.lines import Lines
from anchorface.records.lock import locked
from anchorface.records.table_stream import write_stream

TABLE = pa.table({"x": [1, 2]})


def in_pieces(uri: str) -> None:
    with storage.writing(uri) as file:
        file.write(b"one")
        file.write(b"two")


WRITERS: dict[str, Callable[[str], object]] = {
    "write_atomic": lambda uri: storage.write_atomic(uri, b"content"),
    "writing": in_pieces,
    "write_table": lambda uri: storage.write_table(uri, TABLE),
    "write_stream": lambda uri: write_stream(uri, TABLE.schema, [TABLE]),
}


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*")}


@pytest.mark.parametrize("name", [*WRITERS])
def test_files_and_folders_are_their_owners_alone_whatever_the_umask(name: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        WRITERS[name](str(tmp_path / "new" / "deep" / "file"))
        Lines(str(tmp_path / "lines" / "a.jsonl")).append({"a": 1})
        storage.make_folder(str(tmp_path / "lock"))
        with locked(str(tmp_path / "lock"), "test"):
            pass
    finally:
        os.umask(before)
    assert modes(tmp_path) == {
        "new": 0o700, "new/deep": 0o700, "new/deep/file": 0o600, "lines": 0o700, "lines/a.jsonl": 0o600,
        "lock": 0o700, "lock/lock.json": 0o600}


@pytest.mark.parametrize("name", [*WRITERS])
def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_return(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps what was synced: so the order of the calls is the promise."""
    calls: list[str] = []
    fsync, replace, mkdir = os.fsync, os.replace, os.mkdir

    def told_fsync(number: int) -> None:
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{number}')).name}")
        fsync(number)

    def told_replace(source: str, target: str) -> None:
        calls.append(f"rename {Path(source).name} {Path(target).name}")
        replace(source, target)

    def told_mkdir(path: str, mode: int) -> None:
        calls.append(f"folder {Path(path).name}")
        mkdir(path, mode)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(os, "replace", told_replace)
    monkeypatch.setattr(os, "mkdir", told_mkdir)
    WRITERS[name](str(tmp_path / "new" / "file"))
    temporary = calls[2].removeprefix("sync ")
    assert temporary.startswith("file.") and temporary.endswith(".tmp")
    assert calls == ["folder new", f"sync {tmp_path.name}", f"sync {temporary}", f"rename {temporary} file", "sync new"]


def test_a_write_that_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    storage.write_atomic(str(tmp_path / "file"), b"before")
    with pytest.raises(RuntimeError), storage.writing(str(tmp_path / "file")) as file:
        file.write(b"half")
        raise RuntimeError("what was to be written cannot be computed")
    with pytest.raises(StorageError, match="file: cannot be written"), storage.writing(str(tmp_path / "file")):
        raise OSError("no space left")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"before"}
    storage.write_atomic("memory://trust/file", b"before")
    with pytest.raises(RuntimeError), storage.writing("memory://trust/file") as file:
        file.write(b"half")
        raise RuntimeError("what was to be written cannot be computed")
    assert storage.read_bytes("memory://trust/file") == b"before"


HALF = """
import os, sys, time
from anchorface.records import storage
with storage.writing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(300)
"""


def test_who_leaves_a_folder_deletes_what_killed_writers_left_and_nothing_that_is_being_written(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", HALF, str(tmp_path / "deep" / "file")], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == b"half\n"
        for ended in (False, True):
            with locked(str(tmp_path), "test"):
                assert len(list(tmp_path.rglob("*.tmp"))) == 1
            assert len(list(tmp_path.rglob("*.tmp"))) == (0 if ended else 1)
            writer.kill()
            writer.wait()
    finally:
        writer.kill()


def test_of_a_link_the_link_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    storage.delete(str(tmp_path / "link"))
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "kept" / "file").exists()
