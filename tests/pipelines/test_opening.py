"""Every address that a table names goes through one guard, whatever it stands for."""

import gzip
import http.server
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.sources import PhotoReader, opening
from anchorface.pipelines.sources.films import Film
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.addresses import is_percent, join
from anchorface.records.errors import PhotoError
from anchorface.records.web import FETCH_PRIVATE

INSIDE = ("one.jpg", "a.tar#m.jpg@0+10", "t.parquet#image@0", "f.mp4#t=0.000", "one.jpg#t=0.000", "one.jpg#x@0+9")


class _Server(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        if self.path.startswith("/bomb"):
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(bytes(2**27)))
        else:
            self.send_header("Content-Length", "100")
            self.end_headers()
            for _ in range(100 if self.path.startswith("/slow") else 1):
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(0.05)

    do_HEAD = do_GET

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Server.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{one.server_address[1]}"
        one.shutdown()


def test_no_form_of_an_address_reaches_this_machine(server, tmp_path):
    urls = [f"{scheme}://{server}/{place}" for scheme in ("http", "HTTP") for place in INSIDE]
    pq.write_table(pa.table({"url": urls}), tmp_path / "t.parquet")
    out = str(tmp_path / "out")
    assert ingest(str(tmp_path / "t.parquet"), out, fetch=True, concurrency=0)["photos"] == 0
    told = {row["detail"] for row in dropped(out).to_pylist()}
    assert told and all("public internet" in detail for detail in told)
    for url in urls:  # nor does one that stands in a table of photographs already
        with pytest.raises(PhotoError, match="unreadable"):
            PhotoReader().read(url)
    with pytest.raises(PhotoError, match="public internet"):
        Film(f"http://{server}/f.mp4", 10**6)
    assert not _Server.asked


def test_a_permission_that_is_taken_back_is_gone_at_once(server, monkeypatch):
    """Also for tables, which a process reads that began while there was one."""
    table = f"http://{server}/t.parquet#image@0"
    monkeypatch.setenv(FETCH_PRIVATE, "1")
    with pytest.raises(PhotoError):
        PhotoReader().read(table)
    assert "/t.parquet" in _Server.asked
    _Server.asked.clear()
    monkeypatch.delenv(FETCH_PRIVATE)
    with pytest.raises(PhotoError, match="unreadable"):
        PhotoReader().read(table)
    assert not _Server.asked


def test_a_server_is_asked_for_the_file_alone(server, tmp_path, monkeypatch):
    monkeypatch.setenv(FETCH_PRIVATE, "1")
    pq.write_table(pa.table({"url": [f"http://{server}/{place}" for place in INSIDE[1:4]]}), tmp_path / "t.parquet")
    ingest(str(tmp_path / "t.parquet"), str(tmp_path / "out"), fetch=True, concurrency=0)
    assert set(_Server.asked) == {"/a.tar", "/t.parquet", "/f.mp4"}


def test_what_comes_from_the_web_is_bounded_in_bytes_and_in_time(server, monkeypatch):
    monkeypatch.setenv(FETCH_PRIVATE, "1")
    with pytest.raises(PhotoError, match="too large"):
        opening.fetch(f"http://{server}/bomb.jpg")
    begun = time.monotonic()
    with pytest.raises(PhotoError, match="unreadable"):
        opening.fetch(f"http://{server}/slow.jpg", seconds=1.0)
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("named", [
    "file:///etc/hostname", "s3://bucket/one.jpg", "gs://bucket/one.jpg", "memory://one.jpg", "/etc/hostname",
    "../one.jpg", "a/../../one.jpg", "simplecache::http://127.0.0.1/one.jpg", "FILE:///etc/hostname",
])
def test_a_table_names_only_what_lies_below_the_source(tmp_path, named):
    (tmp_path / "in").mkdir()
    (tmp_path / "one.jpg").write_bytes(b"outside")
    pq.write_table(pa.table({"path": [named]}), tmp_path / "in" / "t.parquet")
    out = str(tmp_path / "out")
    assert ingest(str(tmp_path / "in"), out, fetch=True, concurrency=0)["photos"] == 0
    assert {row["cause"] for row in dropped(out).to_pylist()} == {"leads out of the source"}


def test_signs_in_names_stay_signs_in_addresses():
    assert join("s3://bucket/a?region=x", "b c/50%#1?.jpg") == "s3://bucket/a/b%20c/50%25%231%3F.jpg?region=x"
    assert join("memory://a", "b c%.jpg") == "memory://a/b c%.jpg" and not is_percent("/a/b")
    assert join("/a", "b#1.jpg") == "/a/b#1.jpg"
