"""Promises of files of lines: whole or not at all, on a disk and in a store that cannot append."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from anchorface.records import DataError, StorageError
from anchorface.records.lines import BLOCK, MOST_WAITING, Lines
from anchorface.records.patience import Patience
from anchorface.records.storage import exists, write_atomic
from tests.disks import fill

WRITER = """
import sys
from anchorface.records.lines import Lines
lines = Lines(sys.argv[1])
for number in range(10**9):
    lines.append({"number": number, "text": "x" * 5000})
"""


@pytest.fixture(params=["disk", "store"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path / "run #1 50%25 what?" / "lines.jsonl")
    return f"memory://{uuid.uuid4().hex}/run/lines.jsonl"


def test_what_was_appended_is_read_from_any_place(uri: str) -> None:
    lines = Lines(uri, every=0)
    assert Lines(uri).read() == ([], 0)
    for number in range(5):
        lines.append({"number": number, "text": "line\nend \u2028 é"})
    lines.flush()
    values, end = Lines(uri).read()
    assert [value["number"] for value in values] == [0, 1, 2, 3, 4] and values[0]["text"] == "line\nend \u2028 é"
    assert Lines(uri).read(end) == ([], end)
    one, place = Lines(uri).read(0, most=1)
    assert one == values[:1]
    assert Lines(uri).read(place, most=end - place) == (values[1:], end)
    lines.append({"number": 5})
    lines.flush()
    assert [value["number"] for value in Lines(uri).read(end)[0]] == [5]


def test_a_torn_last_line_is_not_read_and_is_cut_off_before_the_next(uri: str) -> None:
    torn = b'{"number": 2, "text": "' + b"x" * 2 * BLOCK
    write_atomic(uri, b'{"number": 0}\n{"number": 1}\n' + torn)
    assert [value["number"] for value in Lines(uri).read()[0]] == [0, 1]
    lines = Lines(uri)
    lines.append({"number": 3})
    lines.flush()
    assert [value["number"] for value in Lines(uri).read()[0]] == [0, 1, 3]
    write_atomic(uri, torn)
    lines = Lines(uri)
    lines.append({"number": 4})
    lines.flush()
    assert Lines(uri).read()[0] == [{"number": 4}]


def test_a_file_that_became_shorter_is_read_from_its_beginning(uri: str) -> None:
    write_atomic(uri, b'{"number": 0}\n')
    assert Lines(uri).read(1000)[0] == [{"number": 0}]


@pytest.mark.parametrize("damage", [b"\x00\x00\x00\n", b"[1]\n", b"{]\n"])
def test_a_damaged_line_is_named(uri: str, damage: bytes) -> None:
    write_atomic(uri, b'{"number": 0}\n' + damage)
    with pytest.raises(DataError, match="the line at byte 14"):
        Lines(uri).read()


def test_a_store_is_written_seldom_and_at_every_flush() -> None:
    uri = f"memory://{uuid.uuid4().hex}/lines.jsonl"
    lines = Lines(uri, every=3600)
    for number in range(3):
        lines.append({"number": number})
    assert not exists(uri)
    lines.flush()
    assert len(Lines(uri).read()[0]) == 3
    second = Lines(uri, every=3600)
    second.append({"number": 3})
    second.flush()
    assert [value["number"] for value in Lines(uri).read()[0]] == [0, 1, 2, 3]


def test_a_writer_killed_at_any_moment_leaves_whole_lines(tmp_path: Path) -> None:
    path, read = tmp_path / "lines.jsonl", 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        before = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size < before + 10**6:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        values, _ = Lines(path).read()
        assert len(values) > read
        read = len(values)
    assert {value["text"] for value in values} == {"x" * 5000}


def test_a_full_disk_is_told_and_the_lines_before_stand(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from anchorface.records import StorageError
from anchorface.records.lines import Lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
lines = Lines(sys.argv[1])
lines.append({"text": "x" * 600})
try:
    lines.append({"text": "y" * 600})
except StorageError as error:
    print(error)
lines.append({"text": "z"})
"""
    path = tmp_path / "lines.jsonl"
    told = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert str(path) in told.stdout and "cannot be written" in told.stdout
    assert [value["text"][0] for value in Lines(path).read()[0]] == ["x", "z"]


def test_lines_wait_for_room_and_are_written_in_order_and_once(small_disk: Path) -> None:
    said: list[str] = []
    lines = Lines(small_disk / "lines.jsonl", patience=Patience(60.0, "the disk", said.append))
    lines.append({"number": 0})
    ballast = fill(small_disk)
    for number in range(1, 50):  # some of which a begun page still takes, the last of them in part
        lines.append({"number": number, "text": "x" * 1000})
    with pytest.raises(StorageError, match="No space left"):
        lines.flush()
    assert len(Lines(lines.uri).read()[0]) < 10
    assert len(said) == 1 and "the disk cannot be written since" in said[0] and "No space left" in said[0]
    threading.Timer(1.0, ballast.unlink).start()
    lines.close()
    lines.append({"number": 50})
    assert [value["number"] for value in Lines(lines.uri).read()[0]] == list(range(51))
    assert len(said) == 2 and "the disk can be written again after" in said[1]


def test_lines_of_a_store_that_is_away_wait(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.write_text("not a folder")
    said: list[str] = []
    lines = Lines(f"file://{folder}/lines.jsonl", every=0, patience=Patience(60.0, "the store", said.append))
    lines.local = False  # pyarrow's store of files, written as one without appending is
    for number in range(3):
        lines.append({"number": number})
    folder.unlink()
    lines.append({"number": 3})
    assert [value["number"] for value in Lines(lines.uri).read()[0]] == [0, 1, 2, 3] and len(said) == 2


def test_lines_that_wait_too_long_or_are_too_many_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    lines = Lines(tmp_path / "file" / "lines.jsonl", patience=Patience(0.3))
    lines.append({"number": 0})
    time.sleep(0.4)
    with pytest.raises(StorageError, match=r"lines\.jsonl: cannot be written since .* start the same command again"):
        lines.append({"number": 1})
    many = Lines(tmp_path / "file" / "many.jsonl", patience=Patience(60.0))
    with pytest.raises(StorageError, match="bytes wait"):
        for _ in range(20):
            many.append({"text": "x" * (MOST_WAITING // 16)})
    (tmp_path / "file").unlink()
    lines.close()
    assert Lines(lines.uri).read()[0] == [{"number": 0}]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        Lines(tmp_path / "file" / "lines.jsonl").append({"a": 1})
    assert os.listdir(tmp_path) == ["file"]
