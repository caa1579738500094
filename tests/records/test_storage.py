"""Files are made for their owner alone, and are on the disk before their name is, whatever writes them."""

import os
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from anchorface.records import storage
from anchorface.records.errors import AnchorfaceError, StorageError
from anchorface.records.lines import Lines
from anchorface.records.lock import locked
from anchorface.records.table_stream import sha256_of, write_stream

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


PLACES = {
    "memory": "memory://me:s3cret@box/{}", "nowhere": "http://me:s3cret@127.0.0.1:9/{}?sig=s1gned1",
    "unknown": "nosuch://KEY:s3cret/s3cret@bucket/{}", "no bucket": "s3://KEY:s3cret@no.bucket/{}?endpoint_override="
    "127.0.0.1:9&scheme=http&connect_timeout=1&request_timeout=1&retry_strategy=standard:1",
    "a folder is in the way": "memory://me:s3cret@full/taken/{}",
}
CALLS: dict[str, Callable[[str], object]] = {
    **WRITERS, "filesystem": storage.filesystem, "is_local": storage.is_local, "exists": storage.exists,
    "make_folder": storage.make_folder, "require_writable": storage.require_writable,
    "read_bytes": storage.read_bytes, "read_table": storage.read_table,
    "move": lambda uri: storage.move(uri, uri + "2"), "sync": storage.sync, "list_files": storage.list_files,
    "list_sources": lambda uri: storage.list_sources(uri, uri + "/out"), "list_folders": storage.list_folders,
    "real_place": storage.real_place, "delete": storage.delete, "delete_unfinished": storage.delete_unfinished,
    "sha256_of": sha256_of, "read_if_there": storage.read_if_there,
    "name_in": lambda uri: storage.name_in(uri, uri + "/a"),
}
SILENT = {"name_fits", "private", "private_files", "told"}
"""Of these none asks a filesystem."""


def test_every_function_of_storage_is_among_those_that_are_tried() -> None:
    own = {name for name, each in vars(storage).items()
           if callable(each) and getattr(each, "__module__", "") == storage.__name__ and not name.startswith("_")}
    assert own == (CALLS.keys() & own) | SILENT


@pytest.mark.parametrize("place", [*PLACES])
@pytest.mark.parametrize("name", [*CALLS])
def test_no_function_of_storage_shows_the_password_of_an_address(name: str, place: str) -> None:
    storage.write_atomic("memory://me:s3cret@full/taken", b"a file where a folder is expected")
    try:
        CALLS[name](PLACES[place].format("deep/file"))
    except Exception as error:
        assert isinstance(error, AnchorfaceError), repr(error)
        shown = "".join(traceback.format_exception(error))
        for secret in ("s3cret", "s1gned1"):
            assert secret not in shown.replace(PLACES[place], "")
