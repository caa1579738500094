"""What reads tables may die of them: the table is told, and the next file is read."""

import io
import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anchorface.pipelines.ingest import ingest
from anchorface.pipelines.sources import table_child
from anchorface.pipelines.sources.address import row_uri
from anchorface.pipelines.sources.table_child import TableChild
from anchorface.pipelines.sources.tables import TableRow
from anchorface.pipelines.stages.stage import dropped
from anchorface.records.decoding import child as decoding
from anchorface.records.decoding.child import MEMORY, Child
from anchorface.records.errors import PhotoError
from anchorface.records.nouns import Dropped
from anchorface.records.seeds import rng


@pytest.fixture
def child():
    one = Child()
    yield one
    one.close()


def test_a_cell_of_gigabytes_ends_the_process_and_not_the_stage(tmp_path, monkeypatch):
    column = pa.array([bytes(2**27)] * 4)
    pq.write_table(pa.table({"jpg": column}), tmp_path / "bomb.parquet", compression="zstd", use_dictionary=True)
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    pixels = rng(1, "child").integers(0, 256, (32, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    (tmp_path / "one.png").write_bytes(stream.getvalue())
    pq.write_table(pa.table({"jpg": [stream.getvalue() + b"2"]}), tmp_path / "good.parquet")
    decoding.decoder().close()
    monkeypatch.setattr(decoding, "PIXEL_BYTES", 0)  # what is left is MEMORY
    out = str(tmp_path / "out")
    assert ingest(str(tmp_path), out, concurrency=0)["photos"] == 2
    told = dropped(out).to_pylist()
    assert len(told) == 4 and {row["cause"] for row in told} <= {"unreadable", "not an image"}
    decoding.decoder().close()
    small = Child(memory=MEMORY // 2)
    tables = TableChild(small)
    with pytest.raises(PhotoError, match="unreadable"):
        tables.cell(row_uri(str(tmp_path / "bomb.parquet"), "jpg", 0), 2**29)
    assert tables.cell(row_uri(str(tmp_path / "good.parquet"), "jpg", 0), 2**29) == stream.getvalue() + b"2"
    small.close()


def test_what_never_ends_is_ended(tmp_path):
    column = pa.repeat(pa.scalar(b"x", pa.binary()), 20_000_000)
    pq.write_table(pa.table({"jpg": column}), tmp_path / "long.parquet", row_group_size=20_000_000)
    pq.write_table(pa.table({"jpg": [b"good"]}), tmp_path / "good.parquet")
    hasty = Child(seconds=1)
    tables = TableChild(hasty)
    with pytest.raises(PhotoError, match="took more than 1 seconds"):
        tables.cell(row_uri(str(tmp_path / "long.parquet"), "jpg", 19_999_999), 2**20)
    with pytest.raises(PhotoError, match="took more than 1 seconds"):
        tables.cell(row_uri(str(tmp_path / "long.parquet"), "jpg", 0), 2**20)
    assert hasty.pid is None, "a second row of it ends no second process"
    hasty.close()


def test_an_ended_process_costs_a_table_nothing(child, tmp_path):
    pq.write_table(pa.table({"jpg": [b"one", b"two"]}), tmp_path / "good.parquet")
    tables = TableChild(child)
    assert tables.cell(row_uri(str(tmp_path / "good.parquet"), "jpg", 0), 10) == b"one"
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert tables.cell(row_uri(str(tmp_path / "good.parquet"), "jpg", 1), 10) == b"two"


def test_bytes_and_not_rows_bound_what_a_table_says(child, tmp_path, monkeypatch):
    rows, tables = 400, TableChild(child)
    pq.write_table(pa.table({"url": ["http://x/" + "a" * 800_000] * rows}), tmp_path / "long.parquet")
    size = (tmp_path / "long.parquet").stat().st_size
    assert size < 100_000
    told = list(tables.rows(str(tmp_path / "long.parquet"), True, size))
    assert len(told) == rows and all(isinstance(row, Dropped) and len(row.detail) < 100 for row in told)
    monkeypatch.setattr(table_child, "SAID_BYTES", 2**22)
    pq.write_table(pa.table({"url": ["http://x/" + "a" * 50_000] * rows}), tmp_path / "much.parquet")
    *said, last = tables.rows(str(tmp_path / "much.parquet"), True, (tmp_path / "much.parquet").stat().st_size)
    assert all(isinstance(row, TableRow) for row in said) and last.cause == "damaged table"
    assert sum(len(row.place) for row in said) < 2**25
    assert not tables.names_places(str(tmp_path / "nothing.parquet")), "what was left unsaid is no answer to the next"
    assert tables.names_places(str(tmp_path / "much.parquet"))
