"""The same pictures in a folder, a tar, a table, on another filesystem: the same photographs. Films, and the web."""

import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
from functools import partial
from typing import ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anchorface.degradation.film import film_bytes
from anchorface.identity_index.tombstones import bury
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.sources import Listing, PhotoReader, find_sources
from anchorface.pipelines.sources.address import file_uri, local_path, member_uri, parse_address, row_uri
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import ConfigurationError, PhotoError
from anchorface.records.seeds import rng
from anchorface.records.storage import list_files, read_table

SAYS = {
    "a/1.jpg": {"subject": "s1", "birth_date": "1980-02-15", "licence": "CC0", "consent": "signed", "source": "here"},
    "a/2.png": {"subject": "s1", "taken": "2001-07-15", "faces": [{"age": 30.5}]},
    "b/odd #1@2+3 100%.jpg": {"subject": "s2", "licence": "CC BY 4.0"},
}


def picture(seed: int, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    pixels = np.kron(rng(seed, "noise").integers(0, 256, (5, 6, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = f"20{seed:02d}:05:04 12:00:00"
    Image.fromarray(pixels).save(stream, kind, exif=exif)
    return stream.getvalue()


PICTURES = {name: picture(n, "PNG" if name.endswith("png") else "JPEG") for n, name in enumerate(SAYS)}


def fill(folder) -> None:
    for name, content in PICTURES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "metadata.jsonl").write_text("".join(json.dumps({"file": k} | v) + "\n" for k, v in SAYS.items()))


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def rows(out) -> list[dict]:
    found = [row for uri in list_files(f"{out}/photos", (".parquet",)) for row in read_table(uri).to_pylist()]
    return sorted(found, key=lambda row: row["photo_id"])


def without_uri(out) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "uri"} for row in rows(out)]


@pytest.fixture
def expected(tmp_path):
    folder = tmp_path / "plain"
    fill(folder)
    assert ingest(str(folder), str(tmp_path / "expected"), concurrency=0)["photos"] == 3
    return without_uri(tmp_path / "expected")


def check(source, out, expected) -> None:
    """The photographs are the expected ones, and each uri leads back to its bytes, in any order."""
    assert ingest(str(source), str(out), concurrency=0) == {"photos": 3, "dropped": 0, "duplicates": 0}
    assert without_uri(out) == expected
    reader = PhotoReader()
    for row in rows(out) + rows(out)[::-1]:
        pixels, info = reader.read(row["uri"])
        assert info.sha256.startswith(row["photo_id"]) and pixels.shape == (row["height"], row["width"], 3)


def test_a_tar_with_a_sidecar_gives_the_photographs_of_the_folder(tmp_path, expected):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "plain", arcname=".")
    check(tmp_path / "x.tar", tmp_path / "out", expected)


def test_a_webdataset_gives_the_photographs_of_the_folder(tmp_path, expected):
    (tmp_path / "shards").mkdir()
    for number, (name, content) in enumerate(PICTURES.items()):
        with tarfile.open(tmp_path / "shards" / f"{number:05d}.tar", "w") as archive:
            ending = name.rpartition(".")[2]
            members = [(f"{number:09d}.{ending}", content), (f"{number:09d}.json", json.dumps(SAYS[name]).encode())]
            for member in members[:: 1 if number else -1]:
                add(archive, *member)
            add(archive, f"{number:09d}.txt", b"a caption")
    check(tmp_path / "shards", tmp_path / "out", expected)
    check(f"{tmp_path}/shards/*.tar", tmp_path / "again", expected)


@pytest.mark.parametrize("form", ["bytes", "struct", "paths", "whole paths"])
def test_a_parquet_table_gives_the_photographs_of_the_folder(tmp_path, expected, form):
    folder = tmp_path / "table"
    folder.mkdir()
    names, content = list(PICTURES), list(PICTURES.values())
    if form == "bytes":
        column = {"jpg": content}
    elif form == "struct":
        column = {"image": [{"bytes": c, "path": n} for n, c in PICTURES.items()]}
    else:
        fill(folder / "pictures")
        (folder / "pictures" / "metadata.jsonl").unlink()
        start = "pictures" if form == "paths" else folder / "pictures"
        column = {"path": [f"{start}/{name}" for name in names]}
    keys = ("subject", "birth_date", "taken", "licence", "consent", "source", "faces")
    table = pa.table(column | {key: [SAYS[name].get(key) for name in names] for key in keys})
    pq.write_table(table, folder / "part.parquet", row_group_size=2)
    check(folder / "part.parquet", tmp_path / "out", expected)
    check(folder, tmp_path / "again", expected)


def test_containers_on_another_filesystem(tmp_path, expected):
    memory = fsspec.filesystem("memory")
    name = tmp_path.name
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "plain", arcname="")
    memory.pipe(f"/{name}/tars/x.tar", (tmp_path / "x.tar").read_bytes())
    for place, content in PICTURES.items():
        memory.pipe(f"/{name}/loose/{place}", content)
    memory.pipe(f"/{name}/loose/metadata.jsonl", (tmp_path / "plain" / "metadata.jsonl").read_bytes())
    memory.pipe(f"/{name}/films/x.mp4", film(4))
    check(f"memory://{name}/tars", tmp_path / "out", expected)
    check(f"memory://{name}/tars/x.tar", tmp_path / "one", expected)
    check(f"memory://{name}/loose", tmp_path / "loose", expected)
    assert ingest(f"memory://{name}/films", str(tmp_path / "films"), concurrency=0)["photos"] == 4


def test_what_is_said_of_a_tar_holds_for_its_photographs(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "1.jpg", PICTURES["a/1.jpg"])
    said = {"file": "x.tar", "licence": "CC0", "consent": "by contract"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(said))
    (file,) = find_sources(str(tmp_path))[0]
    assert file.metadata == {"licence": "CC0", "consent": "by contract"}


def test_a_table_beside_its_own_archive_is_not_read_twice(tmp_path):
    with tarfile.open(tmp_path / "00000.tar", "w") as archive:
        add(archive, "1.jpg", PICTURES["a/1.jpg"])
    pq.write_table(pa.table({"jpg": list(PICTURES.values())}), tmp_path / "00000.parquet")
    assert len(find_sources(str(tmp_path))[0]) == 1


def film(seconds: int, rate: int = 5) -> bytes:
    """A film whose brightness says which frame it is."""
    frames = np.zeros((seconds * rate, 48, 64, 3), np.uint8)
    frames[:] = 40 + 4 * np.arange(len(frames), dtype=np.uint8)[:, None, None, None]
    return film_bytes(frames, rate)


def test_a_film_gives_a_frame_a_second_with_its_time(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "one.mp4").write_bytes(film(4))
    (tmp_path / "films" / "metadata.jsonl").write_text('{"file": "one.mp4", "subject": "s1", "taken": "1999"}')
    ingest(str(tmp_path / "films"), str(tmp_path / "out"), concurrency=0)
    found = sorted(rows(tmp_path / "out"), key=lambda row: row["uri"])
    start = str(tmp_path / "films" / "one.mp4")
    assert [row["uri"] for row in found] == [f"{start}#t={second}.000" for second in range(4)]
    digest = hashlib.sha256((tmp_path / "films" / "one.mp4").read_bytes()).hexdigest()
    name = hashlib.sha256(f"{digest}#t=2.000".encode()).hexdigest()
    assert found[2]["photo_id"] == name[:24] and found[2]["subject"] == "s1" and found[2]["taken"].year == 1999
    reader = PhotoReader()
    for second in (0, 1, 3, 2, 2):
        pixels, info = reader.read(found[second]["uri"])
        assert abs(pixels.mean() - (40 + 20 * second)) < 2.5 and info.sha256.startswith(found[second]["photo_id"])
    with pytest.raises(PhotoError, match="no such frame"):
        reader.read(f"{start}#t=9.000")
    ingest(str(tmp_path / "films"), str(tmp_path / "out"), frame_seconds=0.5, concurrency=0)
    assert len(rows(tmp_path / "out")) == 8
    ingest(str(tmp_path / "films"), str(tmp_path / "out"), frame_seconds=0, concurrency=0)
    every = sorted(rows(tmp_path / "out"), key=lambda row: row["uri"])
    assert [row["uri"] for row in every] == [f"{start}#t={number / 5:.3f}" for number in range(20)]
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="frame_seconds"):
            ingest(str(tmp_path / "films"), str(tmp_path / "out"), frame_seconds=wrong, concurrency=0)


def test_a_turned_film_stands_upright(tmp_path):
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    frames[:, :24] = 200
    content = film_bytes(frames, 1)
    plain = b"".join(n.to_bytes(4) for n in (2**16, 0, 0, 0, 2**16, 0, 0, 0, 2**30))
    right = b"".join((n % 2**32).to_bytes(4) for n in (0, 2**16, 0, -(2**16), 0, 0, 0, 0, 2**30))
    track = content.index(b"tkhd")
    matrix = content.index(plain, track)
    (tmp_path / "x.mp4").write_bytes(content[:matrix] + right + content[matrix + 36 :])
    pixels, info = PhotoReader().read(f"{tmp_path}/x.mp4#t=0.000")
    assert (info.width, info.height) == (48, 64)
    assert pixels[:, 30:].mean() > 180 and pixels[:, :18].mean() < 20


def test_a_film_that_ends_early_keeps_its_frames_and_says_so(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "half.mp4").write_bytes(film(4)[:-900])
    (tmp_path / "films" / "list.mp4").write_bytes(b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n")
    (tmp_path / "films" / "text.mkv").write_bytes(b"no film")
    counts = ingest(str(tmp_path / "films"), str(tmp_path / "out"), concurrency=0)
    causes = {row["uri"].rpartition("/")[2]: row["cause"] for row in dropped(str(tmp_path / "out")).to_pylist()}
    assert causes.pop("list.mp4") == "not a film" and causes.pop("text.mkv") == "not a film"
    assert counts["photos"] > 0 or causes == {"half.mp4": "not a film"}


def test_a_rerun_does_nothing_and_a_longer_tar_does_one_part(tmp_path):
    def write(pictures: int) -> None:
        (tmp_path / "in").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "in" / "x.tar", "w") as archive:
            for number in range(pictures):
                add(archive, f"{number}.jpg", picture(number))
        os.utime(tmp_path / "in" / "x.tar", (1, 1))

    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "scanned").iterdir()}

    out = str(tmp_path / "out")
    write(9)
    ingest(str(tmp_path / "in"), out, part_rows=4, concurrency=0)
    before = times()
    ingest(str(tmp_path / "in"), out, part_rows=4, concurrency=0)
    assert times() == before and len(before) == 3
    write(11)
    ingest(str(tmp_path / "in"), out, part_rows=4, concurrency=0)
    assert [name for name, time in times().items() if before.get(name) != time] == [max(before)]
    write(4)
    assert ingest(str(tmp_path / "in"), out, part_rows=4, concurrency=0)["photos"] == 4
    assert [path.name for path in (tmp_path / "out" / "listing").iterdir()] == [min(before)]


def test_what_was_erased_does_not_come_back(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for number in range(2):
            add(archive, f"{number}.jpg", picture(number))
    gone = hashlib.sha256(picture(1)).hexdigest()
    bury(str(tmp_path / "out"), "e1", photos=[gone], people=[])
    assert ingest(str(tmp_path / "x.tar"), str(tmp_path / "out"), concurrency=0)["photos"] == 1
    (row,) = dropped(str(tmp_path / "out")).to_pylist()
    assert row["cause"] == "erased" and "#1.jpg@" in row["uri"]


def test_copies_are_found_across_containers_and_the_one_of_which_most_is_said_is_kept(tmp_path):
    fill(tmp_path / "in")
    with tarfile.open(tmp_path / "in" / "0.tar", "w") as archive:
        for name, content in PICTURES.items():
            add(archive, name, content)
    counts = ingest(str(tmp_path / "in"), str(tmp_path / "out"), concurrency=0)
    assert counts == {"photos": 3, "dropped": 3, "duplicates": 3}
    assert {row["uri"] for row in rows(tmp_path / "out")} == {str(tmp_path / "in" / name) for name in PICTURES}
    details = {row["detail"] for row in dropped(str(tmp_path / "out")).to_pylist()}
    assert details == {f"labelled None here and {subject!r} there; the latter was kept" for subject in ("s1", "s2")}


def test_photographs_on_the_web_are_dropped_unless_they_are_asked_for(tmp_path, monkeypatch):
    fill(tmp_path / "web")
    (tmp_path / "web" / "big.jpg").write_bytes(PICTURES["a/1.jpg"] + bytes(2**26))
    handler = partial(_Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        start = f"http://127.0.0.1:{server.server_address[1]}"
        urls = [f"{start}/a/1.jpg", f"{start}/none.jpg", f"{start}/big.jpg", f"{start}/to-a-file.jpg"]
        pq.write_table(pa.table({"url": urls, "subject": ["s1", "s2", "s3", "s4"]}), tmp_path / "t.parquet")
        out = str(tmp_path / "out")
        assert ingest(str(tmp_path / "t.parquet"), out, concurrency=0)["photos"] == 0
        assert {row["cause"] for row in dropped(out).to_pylist()} == {"remote"}
        # The server stands on this machine, where a table from outside has nothing to look for: nobody is asked.
        assert ingest(str(tmp_path / "t.parquet"), out, fetch=True, concurrency=0)["photos"] == 0
        assert all("public internet" in row["detail"] for row in dropped(out).to_pylist()) and not _Quiet.asked
        monkeypatch.setenv("ANCHORFACE_FETCH_PRIVATE", "1")
        out = str(tmp_path / "again")
        assert ingest(str(tmp_path / "t.parquet"), out, fetch=True, concurrency=0)["photos"] == 1
        server.shutdown()
    (row,) = rows(tmp_path / "again")
    assert row["uri"] == urls[0] and row["subject"] == "s1"
    causes = {row["uri"]: row["cause"] for row in dropped(out).to_pylist()}
    assert causes == {urls[1]: "unreadable", urls[2]: "too large", urls[3]: "unreadable"}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/to-a-file"):
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


@pytest.mark.parametrize("name", ["a/1.jpg", "#@+%.jpg", "x@1+2", "a b\n.jpg", "\udcff\udc80.jpg", "é", "t=3.000"])
def test_an_address_leads_back_to_its_member_whatever_the_name(name):
    for file in ("/x/a.tar", "/x/odd#t.tar", "s3://bucket/a.tar"):
        uri = member_uri(file, name, 512, 99)
        uri.encode("utf-8")
        address = parse_address(uri)
        assert (address.kind, address.file, address.offset, address.size) == ("member", file, 512, 99)
        row = parse_address(row_uri(file, name.encode("utf-8", "replace").decode(), 7))
        assert (row.kind, row.file, row.row) == ("row", file, 7)
    path = f"/x/{name}"
    file_uri(path).encode("utf-8")
    assert local_path(file_uri(path)) == path and parse_address(file_uri(path)).kind == "file"


def test_a_file_whose_name_looks_like_an_address_is_read_as_itself(tmp_path):
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("x.tar#1.jpg@0+9", "x.parquet#jpg@1", "x.mp4#t=1.000")):
        (tmp_path / "in" / name).write_bytes(picture(number))
    assert ingest(str(tmp_path / "in"), str(tmp_path / "out"), concurrency=0)["photos"] == 3


def test_a_listing_in_many_buckets_holds_each_file_once(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for number in range(300):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(b"")
    lines = "".join(json.dumps({"file": f"{number}.jpg", "subject": number}) + "\n" for number in range(300))
    (tmp_path / "in" / "metadata.jsonl").write_text(lines)
    parts = dict(Listing(str(tmp_path / "in")).parts(16))
    listed = [row for table in parts.values() for row in table.to_pylist()]
    assert sorted(row["place"] for row in listed) == sorted(f"{number}.jpg" for number in range(300))
    assert all(json.loads(row["metadata"]) == {"subject": row["place"].removesuffix(".jpg")} for row in listed)
    assert len(parts) == 32
    monkeypatch.setattr("anchorface.pipelines.sources.spill.SPILL_ROWS", 64)
    monkeypatch.setattr("anchorface.pipelines.sources.spill.GATHER_ROWS", 50)
    slower = dict(Listing(str(tmp_path / "in")).parts(16))
    assert all(slower[name].equals(table) for name, table in parts.items()) and slower.keys() == parts.keys()
    (tmp_path / "in" / "new.jpg").write_bytes(b"")
    again = dict(Listing(str(tmp_path / "in")).parts(16))
    assert sum(not parts[name].equals(table) for name, table in again.items()) == 1
