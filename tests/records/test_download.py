"""Downloads from a real server that behaves well and badly: resumed, refused, never half under the final name."""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anchorface.records.download import download, part_of
from anchorface.records.errors import ConfigurationError, DataError, StorageError
from anchorface.records.seeds import rng
from anchorface.records.web import FETCH_PRIVATE
from tests.file_server import FileServer, Served, file_server

CONTENT = rng(0, "download").bytes(1_000_000)
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv(FETCH_PRIVATE, "1")
    with file_server() as one:
        yield one


def get(server: FileServer, target: Path, path: str = "/f", sha256: str = HASH, **more: float) -> Path:
    return download(server.url + path, target, sha256, **({"wait": 0.01, "silence": 5.0} | more))  # type: ignore[arg-type]


def left(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_file_comes_whole_and_tells_its_progress(server: FileServer, tmp_path: Path) -> None:
    server.files["/f"] = Served(CONTENT)
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "f"
    assert download(f"{server.url}/f", target, HASH, told=lambda have, whole: seen.append((have, whole))) == target
    assert target.read_bytes() == CONTENT and left(target.parent) == {"f"}
    assert target.stat().st_mode & 0o077 == 0
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)


def test_what_is_cut_off_goes_on_where_it_stopped(server: FileServer, tmp_path: Path) -> None:
    server.files["/f"] = Served(CONTENT, cuts=[300_000, 200_000, None])
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_call_goes_on_too_and_until_then_nothing_stands_under_the_name(
    server: FileServer, tmp_path: Path
) -> None:
    target = tmp_path / "f"
    server.files["/f"] = Served(CONTENT, cuts=[400_000, 0, 0, 0])
    with pytest.raises(DataError, match="400000 bytes are here and are kept"):
        get(server, target)
    assert not target.exists() and part_of(target).stat().st_size == 400_000
    server.asked.clear()
    server.files["/f"].cuts = []
    seen: list[int] = []
    download(f"{server.url}/f", target, HASH, told=lambda have, whole: seen.append(have))
    assert target.read_bytes() == CONTENT and left(tmp_path) == {"f"} and seen[0] == 400_000
    assert server.asked == [("/f", "bytes=400000-")]


@pytest.mark.parametrize("change", ["another version", "no ranges", "no version", "another address", "damaged note"])
def test_what_cannot_be_resumed_starts_anew(server: FileServer, tmp_path: Path, change: str) -> None:
    target, path = tmp_path / "f", "/f"
    server.files["/f"] = Served(b"x" * 900_000, etag="" if change == "no version" else '"one"',
                                cuts=[400_000, 0, 0, 0])
    with pytest.raises(DataError, match="are kept"):
        get(server, target)
    server.files["/f"] = Served(CONTENT, etag='"two"' if change == "another version" else '"one"',
                                ranges=change != "no ranges")
    if change == "another address":
        path, server.files["/g"] = "/g", server.files["/f"]
    if change == "damaged note":
        part_of(target).with_name("f.part.json").write_text("[")
    get(server, target, path)
    assert target.read_bytes() == CONTENT


def test_what_is_whole_already_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    part_of(tmp_path / "f").write_bytes(CONTENT)
    get(server, tmp_path / "f")
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT and not server.asked


def test_another_hash_is_refused_and_nothing_of_it_kept(server: FileServer, tmp_path: Path) -> None:
    server.files["/f"] = Served(CONTENT[:-1] + b"x")
    (tmp_path / "f").write_bytes(b"what stood there before")
    with pytest.raises(DataError, match=rf"SHA-256.*{HASH}"):
        get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"what stood there before" and left(tmp_path) == {"f"}


def test_a_file_cut_off_without_a_word_is_not_taken_for_whole(server: FileServer, tmp_path: Path) -> None:
    server.files["/f"] = Served(CONTENT, length=False, cuts=[500_000])
    with pytest.raises(DataError, match="SHA-256"):
        get(server, tmp_path / "f")
    assert left(tmp_path) == set()


def test_redirections_are_followed_but_not_everywhere(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"/f": Served(location="/g"), "/g": Served(CONTENT), "/round": Served(location="/round")}
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    for place in ("http://192.0.2.1/f", "file:///etc/hostname", "ftp://127.0.0.1/f", "//192.0.2.1/f", "s3://bucket/f"):
        server.files["/away"] = Served(location=place)
        with pytest.raises(DataError, match="must be https"):
            get(server, tmp_path / "away", "/away")
    with pytest.raises(DataError, match="5 redirections"):
        get(server, tmp_path / "round", "/round")
    assert left(tmp_path) == {"f", "away.part", "round.part"}


def test_this_machine_is_not_asked_unless_the_environment_allows_it(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FETCH_PRIVATE)
    server.files["/f"] = Served(CONTENT)
    with pytest.raises(DataError, match="must be https"):
        get(server, tmp_path / "f")
    with pytest.raises(DataError, match=FETCH_PRIVATE):
        download(server.url.replace("http:", "https:") + "/f", tmp_path / "f", HASH, wait=0.01)
    assert not server.asked


def test_a_silent_and_a_slow_server_end_in_time(server: FileServer, tmp_path: Path) -> None:
    server.files["/silent"] = Served(CONTENT, pause=30.0)
    begun = time.monotonic()
    with pytest.raises(DataError, match="cut off"):
        get(server, tmp_path / "silent", "/silent", silence=0.1)
    server.files["/slow"] = Served(CONTENT, pause=0.1)
    with pytest.raises(DataError, match=r"not done in 0\.5 seconds.*are kept"):
        get(server, tmp_path / "slow", "/slow", longest=0.5)
    assert time.monotonic() - begun < 5
    assert 0 < part_of(tmp_path / "slow").stat().st_size < len(CONTENT)


def test_a_server_that_refuses_is_told_at_once_and_a_busy_one_is_asked_again(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["/f"] = Served(status=404)
    with pytest.raises(DataError, match="answers 404"):
        get(server, tmp_path / "f")
    assert len(server.asked) == 1
    server.files["/f"] = Served(status=503)
    with pytest.raises(DataError, match="answers 503"):
        get(server, tmp_path / "f")
    assert len(server.asked) == 4


@pytest.mark.parametrize("length", [True, False])
def test_no_more_than_the_bound_is_taken(server: FileServer, tmp_path: Path, length: bool) -> None:
    server.files["/f"] = Served(CONTENT, length=length)
    with pytest.raises(DataError, match="more than 500000"):
        get(server, tmp_path / "f", largest=500_000)
    assert part_of(tmp_path / "f").stat().st_size == 0


def test_a_folder_that_cannot_be_written_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        get(server, tmp_path / "file" / "f")
    (tmp_path / "f.part").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        get(server, tmp_path / "f")
    assert not server.asked


def test_two_do_not_write_one_file(server: FileServer, tmp_path: Path) -> None:
    server.files["/f"] = Served(CONTENT, pause=0.05)
    first = threading.Thread(target=get, args=(server, tmp_path / "f"))
    first.start()
    while not server.asked:
        time.sleep(0.01)
    with pytest.raises(ConfigurationError, match="another process"):
        get(server, tmp_path / "f")
    first.join()
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_killed_download_is_resumed(server: FileServer, tmp_path: Path) -> None:
    server.files["/f"] = Served(CONTENT, pause=0.05)
    line = f"import pathlib; download({server.url + '/f'!r}, pathlib.Path({str(tmp_path / 'f')!r}), {HASH!r})"
    child = subprocess.Popen([sys.executable, "-c", f"from anchorface.records.download import download; {line}"])
    part = part_of(tmp_path / "f")
    while not part.is_file() or part.stat().st_size < 200_000:
        time.sleep(0.01)
    child.kill()
    child.wait()
    had = part.stat().st_size
    server.files["/f"].pause = 0.0
    get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT and had < len(CONTENT)
    assert server.asked[-1] == ("/f", f"bytes={had}-")
