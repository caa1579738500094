"""What reads bombs may die of them: the picture or table is told, and the next one is read."""

import io
import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anchorface.faces.images import read_photo
from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.sources.address import row_uri
from anchorface.pipelines.sources.child import MEMORY, Child, is_ordinary
from anchorface.pipelines.sources.tables import TableRow
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.errors import PhotoError
from anchorface.records.nouns import Dropped
from anchorface.records.seeds import rng


def encoded(kind: str, size: int = 32) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rng(1, "child").integers(0, 256, (size, size + 8, 3), dtype=np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def child():
    one = Child()
    yield one
    one.close()


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "HEIF", "AVIF", "JPEG2000"])
def test_the_same_pixels_and_words_come_from_the_process(child, kind):
    content = encoded(kind)
    assert not is_ordinary(content)
    pixels, info = read_photo(content, 10_000, "x")
    theirs, said = child.picture(content, 10_000, "x")
    assert np.array_equal(pixels, theirs) and info == said == child.info(content, 10_000, "x")
    with pytest.raises(PhotoError) as refused:
        child.picture(content[: len(content) // 3], 10_000, "cut")
    assert refused.value.uri == "cut" and refused.value.cause in ("truncated", "unreadable", "not an image")


def test_an_ended_process_costs_nothing_and_a_dying_one_its_picture(child):
    content = encoded("WEBP")
    child.picture(content, 10_000, "x")
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait()
    assert child.picture(content, 10_000, "x")[1].width == 40


def test_a_cell_of_gigabytes_ends_the_process_and_not_the_stage(tmp_path, monkeypatch):
    column = pa.array([bytes(2**27)] * 4)
    pq.write_table(pa.table({"jpg": column}), tmp_path / "bomb.parquet", compression="zstd", use_dictionary=True)
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    (tmp_path / "one.webp").write_bytes(encoded("WEBP"))
    monkeypatch.setattr("anchorface.pipelines.sources.child.PIXEL_BYTES", 0)  # what is left is MEMORY
    out = str(tmp_path / "out")
    assert ingest(str(tmp_path), out, concurrency=0)["photos"] == 1
    told = dropped(out).to_pylist()
    assert len(told) == 4 and {row["cause"] for row in told} <= {"unreadable", "not an image"}
    small = Child(memory=MEMORY // 2)
    with pytest.raises(PhotoError, match="unreadable"):
        small.cell(row_uri(str(tmp_path / "bomb.parquet"), "jpg", 0), 2**29)
    assert small.picture(encoded("WEBP"), 10_000, "next")[1].width == 40
    small.close()


def test_what_never_ends_is_ended(tmp_path):
    column = pa.repeat(pa.scalar(b"x", pa.binary()), 20_000_000)
    pq.write_table(pa.table({"jpg": column}), tmp_path / "long.parquet", row_group_size=20_000_000)
    hasty = Child(seconds=1)
    with pytest.raises(PhotoError, match="took more than 1 seconds"):
        hasty.cell(row_uri(str(tmp_path / "long.parquet"), "jpg", 19_999_999), 2**20)
    assert hasty.picture(encoded("WEBP"), 10_000, "next")[1].width == 40
    hasty.close()


def test_bytes_and_not_rows_bound_what_a_table_says(child, tmp_path, monkeypatch):
    rows = 400
    pq.write_table(pa.table({"url": ["http://x/" + "a" * 800_000] * rows}), tmp_path / "long.parquet")
    size = (tmp_path / "long.parquet").stat().st_size
    assert size < 100_000
    told = list(child.rows(str(tmp_path / "long.parquet"), True, size))
    assert len(told) == rows and all(isinstance(row, Dropped) and len(row.detail) < 100 for row in told)
    monkeypatch.setattr("anchorface.pipelines.sources.child.SAID_BYTES", 2**22)
    pq.write_table(pa.table({"url": ["http://x/" + "a" * 50_000] * rows}), tmp_path / "much.parquet")
    *said, last = child.rows(str(tmp_path / "much.parquet"), True, (tmp_path / "much.parquet").stat().st_size)
    assert all(isinstance(row, TableRow) for row in said) and last.cause == "damaged table"
    assert sum(len(row.place) for row in said) < 2**25
