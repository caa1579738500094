"""Photographs that were listed and not read stay away once they are erased, or the report says what does not."""

import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anchorface.degradation.film import film_bytes
from anchorface.pipelines.erasure.erase import erase
from anchorface.pipelines.erasure.person import by_person
from anchorface.pipelines.erasure.selection import by_photo, by_source
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import DataError
from anchorface.records.nouns import FACE_SCHEMA
from anchorface.records.seeds import rng
from anchorface.records.storage import list_files, read_table

KINDS = ("file", "tar", "film", "table", "web")


def pixels(number: int) -> np.ndarray:
    coarse = rng(number, "unread").integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(number)).save(stream, "JPEG")
    return stream.getvalue()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of one picture."""
    monkeypatch.setenv("ANCHORFACE_FETCH_PRIVATE", "1")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "one.jpg").write_bytes(picture(9))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=tmp_path / "web")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/one.jpg"
        server.shutdown()


@pytest.fixture
def source(tmp_path: Path, web: str) -> Path:
    """Sam and Kim, two photographs each, or a film, in everything that holds photographs."""
    folder = tmp_path / "source"
    folder.mkdir()
    said = {name: {"subject": "Kim" if "kim" in name else "Sam"} for name in (
        "sam.jpg", "kim.jpg", "sam.mp4", "kim.mp4")}
    for number, name in enumerate(said):
        frames = np.stack([pixels(10 * number + n) for n in range(6)])
        (folder / name).write_bytes(picture(number) if name.endswith("jpg") else film_bytes(frames, 2.0))
    (folder / "metadata.jsonl").write_text("".join(json.dumps({"file": k} | v) + "\n" for k, v in said.items()))
    with tarfile.open(folder / "both.tar", "w") as archive:
        for number, name in enumerate(("sam", "kim"), 4):
            for ending, content in (("jpg", picture(number)), ("json", json.dumps({"subject": name.title()}).encode())):
                info = tarfile.TarInfo(f"{name}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    pq.write_table(pa.table({"image": [picture(6), picture(7)], "subject": ["Sam", "Kim"]}), folder / "bytes.parquet")
    pq.write_table(pa.table({"url": [web], "subject": ["Sam"]}), folder / "urls.parquet")
    return folder


def listed(source: Path, out: Path) -> None:
    """As an ingest leaves a workspace that was stopped before it read anything."""
    taken(source, out)
    for folder in ("photos", "scanned", "done", "dropped"):
        for uri in list_files(str(out / folder)):
            Path(uri).unlink()


def taken(source: Path, out: Path, frame_seconds: float = 1.0) -> list[str]:
    ingest(str(source), str(out), fetch=True, frame_seconds=frame_seconds, concurrency=0)
    return sorted(row["uri"].removeprefix(f"{source}/") for uri in list_files(str(out / "photos"))
                  for row in read_table(uri).to_pylist())


def test_a_person_who_was_listed_and_not_read_stays_away_from_everything_that_holds_photographs(source, tmp_path):
    out = tmp_path / "out"
    listed(source, out)
    report = erase(str(out), by_person(str(out), labels=["Sam"]))
    assert any(line.startswith("copies elsewhere of 2 listed photographs") for line in report["not_searched"])
    assert b"Sam" not in b"".join(path.read_bytes() for path in (out / "tombstones").iterdir())
    left = taken(source, out)
    assert left and not [uri for uri in left if "sam" in uri or "@0" in uri or "127.0.0.1" in uri], left
    assert {uri.partition("#")[0] for uri in left} == {"kim.jpg", "kim.mp4", "both.tar", "bytes.parquet"}
    causes = [row["cause"] for row in dropped(str(out)).to_pylist()]
    assert causes.count("erased") == len(KINDS)


def test_a_source_that_was_listed_and_not_read_stays_away_and_so_do_other_frames_of_its_films(source, tmp_path):
    out = tmp_path / "out"
    listed(source, out)
    erase(str(out), by_source(str(out), str(source)))
    assert [uri.startswith("http://127.0.0.1") for uri in taken(source, out)] == [True], "it stands elsewhere"
    whole = tmp_path / "whole"
    few = taken(source, whole, frame_seconds=1.0)
    erase(str(whole), by_source(str(whole), f"{source}/sam.mp4"))
    more = taken(source, whole, frame_seconds=0.5)
    assert any("sam.mp4" in uri for uri in few) and not any("sam.mp4" in uri for uri in more) and len(more) > 9
    (source / "moved.mp4").write_bytes((source / "sam.mp4").read_bytes())
    assert not any("moved" in uri for uri in taken(source, whole))


def test_what_could_not_be_read_stays_away_once_it_can_be(source, tmp_path):
    out = tmp_path / "out"
    whole = (source / "both.tar").read_bytes()
    start = whole.index(picture(4))
    (source / "both.tar").write_bytes(whole[:start] + bytes(50) + whole[start + 50 :])
    assert not any("both.tar#sam" in uri for uri in taken(source, out))
    (row,) = [row for row in dropped(str(out)).to_pylist() if "both.tar#sam" in row["uri"]]
    erase(str(out), by_photo(str(out), [row["uri"]]))
    assert not any("both.tar#sam" in row["uri"] for row in dropped(str(out)).to_pylist())
    (source / "both.tar").write_bytes(whole)
    left = taken(source, out)
    assert not any("both.tar#sam" in uri for uri in left) and any("both.tar#kim" in uri for uri in left)
    assert [row["cause"] for row in dropped(str(out)).to_pylist() if "both.tar#sam" in row["uri"]] == ["erased"]
    with pytest.raises(DataError, match="no photograph of"):
        by_photo(str(out), [f"{source}/both.tar#nobody.jpg@0+1"])


def test_a_film_whose_frames_show_others_stays_and_the_report_says_so(source, tmp_path):
    out = tmp_path / "out"
    taken(source, out)
    photos = [row for uri in list_files(str(out / "photos")) for row in read_table(uri).to_pylist()]
    frame = next(row for row in photos if "sam.mp4#t=1" in row["uri"])
    assert by_photo(str(out), [frame["uri"]]).photo_ids == (frame["photo_id"],), "a frame is one photograph"
    frames = sum("sam.mp4#" in row["uri"] for row in photos)
    assert len(by_photo(str(out), [f"{source}/sam.mp4"]).photo_ids) == 1 + frames, "a film is its file and its frames"
    stranger = {"face_id": f"{frame['photo_id']}-0", "photo_id": frame["photo_id"], "uri": frame["uri"], "number": 0,
                "subject": "Kim", "embedder": "adaface_small", "embedding": [1.0] * 128, "perceptual_hash": 0}
    (out / "faces").mkdir()
    pq.write_table(pa.Table.from_pylist([stranger], schema=FACE_SCHEMA), out / "faces" / "part-00000.parquet")
    report = erase(str(out), by_person(str(out), labels=["Sam"]))
    assert any("1 films that show others too" in line for line in report["not_searched"])
    left = [row for uri in list_files(str(out / "photos")) for row in read_table(uri).to_pylist()]
    assert {row["photo_id"]: row["subject"] for row in left if "sam" in row["uri"]} == {frame["photo_id"]: None}
