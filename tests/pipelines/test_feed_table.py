"""A face table is written once a node, mapped by all its processes, private, and gone when nobody needs it."""

import multiprocessing
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anchorface.pipelines.erasure.versions import rewrite_version
from anchorface.pipelines.feed import table as feed_table
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.table import FOLDER, KEPT_SECONDS, forget, open_table
from anchorface.pipelines.versions.publish import TABLE_SCHEMA
from anchorface.records.errors import DataError, StorageError
from anchorface.records.manifest import CLIP_COLUMNS, FACE_COLUMNS
from anchorface.records.storage import read_table
from anchorface.records.table_stream import sha256_of


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "tables"
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


def rows(count=7):
    """Faces of three persons in two shards, with what may be unknown and a text that is not ASCII."""
    faces = []
    for number in range(count):
        face = {field.name: 1.5 * number for field in TABLE_SCHEMA if pa.types.is_floating(field.type)}
        faces.append(face | {
            "face_id": f"{number}", "photo_id": f"photo {number // 2}", "uri": f"bilder/größe-{number}.jpg",
            "identity": f"p{number // 3}", "split": "train", "shard": f"shards/{number // 5}.tar", "offset": number,
            "byte_size": 9, "crop_size": 64, "crop_landmarks": [float(number)] * 10, "embedding": [0.6, 0.8],
            "perceptual_hash": 2**63 + number, "taken": None, "licence": "", "consent": None, "source": "x",
            "age": None if number else 3.0, "track": f"t{number}" if number else "", "frame": number - 1,
        })
    return faces


def write(place: Path, faces=None) -> tuple[str, str]:
    pq.write_table(pa.Table.from_pylist(faces or rows(), schema=TABLE_SCHEMA), place, row_group_size=4)
    return str(place), sha256_of(str(place))


def test_columns_are_those_of_the_table_across_borders_of_reading(root, tmp_path, monkeypatch):
    monkeypatch.setattr(feed_table, "ROWS", 2)
    uri, sha256 = write(tmp_path / "faces.parquet")
    made, stored = open_table(uri, sha256), read_table(uri)
    assert set(made.columns) == {*FACE_COLUMNS, *CLIP_COLUMNS} and len(made) == 7
    for name in ("face_id", "uri", "offset", "yaw", "perceptual_hash", "licence", "track", "frame"):
        assert made.columns[name].tolist() == stored[name].to_pylist()
        assert made.columns[name][1:3].tolist() == stored[name].to_pylist()[1:3]
    assert made.columns["consent"].tolist() == [""] * 7
    assert made.columns["crop_landmarks"].shape == (7, 5, 2) and made.columns["embedding"].dtype == np.float32
    assert np.isnat(made.columns["taken"]).all() and np.isnan(made.columns["age"]).tolist() == [False] + [True] * 6
    assert made.group.tolist() == [0, 0, 0, 1, 1, 2, 3] and made.starts.tolist() == [0, 3, 5, 6, 7]
    assert made.shards.tolist() == [0] * 5 + [1, 1]
    texts = made.columns["identity"]
    assert texts[np.array([6, 0])].tolist() == ["p2", "p0"] and texts[::-2].tolist() == ["p2", "p1", "p0", "p0"]
    assert (texts == "p1").tolist() == [False] * 3 + [True] * 3 + [False] and (texts != "p1").sum() == 4
    assert texts[-1] == texts[np.int64(6)] == "p2" and texts[np.arange(7) > 5].tolist() == ["p2"]
    assert not made.columns["embedding"].flags.writeable


def test_it_is_written_once_and_for_this_user_alone(root, tmp_path):
    uri, sha256 = write(tmp_path / "faces.parquet")
    folder = open_table(uri, sha256).folder
    assert root.stat().st_mode & 0o777 == 0o700 and folder.parent == root
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    Path(uri).unlink()
    assert len(open_table(uri, sha256)) == 7
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def _open_at_once(uri, sha256, barrier, queue):
    barrier.wait()
    queue.put(open_table(uri, sha256).columns["face_id"].tolist())


@pytest.mark.filterwarnings("ignore:lance is not fork-safe")
def test_processes_that_open_it_at_once_write_it_once(root, tmp_path):
    uri, sha256 = write(tmp_path / "faces.parquet")
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_open_at_once, args=(uri, sha256, barrier, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == [[str(number) for number in range(7)]] * 4
    for process in processes:
        process.join()
    assert {file.name for file in root.iterdir()} == {"lock", f"{sha256}-{feed_table.FORMAT}"}


def test_what_is_derived_is_made_once(root, tmp_path):
    made = open_table(*write(tmp_path / "faces.parquet"))
    assert made.derived("square", lambda: np.arange(7) ** 2).tolist() == [0, 1, 4, 9, 16, 25, 36]
    assert open_table(*write(tmp_path / "faces.parquet")).derived("square", lambda: 1 / 0)[3] == 9


def test_a_folder_open_to_others_is_refused(root, tmp_path):
    root.mkdir()
    root.chmod(0o755)
    with pytest.raises(StorageError, match="nobody else can read"):
        open_table(*write(tmp_path / "faces.parquet"))
    root.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="nobody else can read"):
        open_table(*write(tmp_path / "faces.parquet"))


def test_a_table_unused_for_a_day_and_what_a_kill_left_are_deleted(root, tmp_path):
    old = open_table(*write(tmp_path / "old.parquet", rows(3)))
    (root / "half.1234.tmp").mkdir()
    os.utime(old.folder, (0, old.folder.stat().st_mtime - KEPT_SECONDS - 60))
    new = open_table(*write(tmp_path / "new.parquet"))
    assert {file.name for file in root.iterdir()} == {"lock", new.folder.name}
    assert old.columns["face_id"].tolist() == ["0", "1", "2"]  # its process keeps what it has


def test_an_erasure_leaves_no_embedding_behind(root, tmp_path, line):
    out = tmp_path / "out"
    shutil.copytree(line.out, out)
    dataset = open_dataset(str(out / "dataset"))
    face = str(dataset.columns["face_id"][0])
    new = rewrite_version(str(out), dataset.manifest_id, frozenset({face}), frozenset())
    assert not dataset.table.folder.exists()
    assert face not in open_dataset(str(out / "dataset" / new)).columns["face_id"].tolist()
    forget(dataset.manifest.faces_sha256)


def test_damaged_and_unfit_tables_are_refused_and_leave_nothing(root, tmp_path):
    uri, _ = write(tmp_path / "faces.parquet")
    with pytest.raises(DataError, match="other hash"):
        open_table(uri, "0" * 64)
    (tmp_path / "no.parquet").write_bytes(b"no table")
    cut = read_table(uri).drop_columns(["yaw", "norm"])
    pq.write_table(cut, tmp_path / "cut.parquet")
    uneven = pa.array([[1.0]] * 6 + [[]])
    lists = read_table(uri).set_column(TABLE_SCHEMA.get_field_index("embedding"), "embedding", uneven)
    pq.write_table(lists, tmp_path / "lists.parquet")
    null = [face | {"offset": None} for face in rows(1)]
    write(tmp_path / "null.parquet", null)
    for name, said in (("no", "not a readable table"), ("cut", "missing: norm, yaw"), ("lists", "lists of"),
                       ("null", "column offset: 1 rows hold no number")):
        place = str(tmp_path / f"{name}.parquet")
        with pytest.raises(DataError, match=said):
            open_table(place, sha256_of(place))
    assert {file.name for file in root.iterdir()} == {"lock"}


def _open_with_little_room(uri, sha256, queue):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
    try:
        open_table(uri, sha256)
    except StorageError as error:
        queue.put(str(error))


@pytest.mark.filterwarnings("ignore:lance is not fork-safe")
def test_a_full_disk_is_an_error_that_leaves_nothing(root, tmp_path):
    uri, sha256 = write(tmp_path / "faces.parquet", rows(500))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_open_with_little_room, args=(uri, sha256, queue))
    process.start()
    assert "make room" in queue.get(timeout=60)
    process.join()
    assert {file.name for file in root.iterdir()} == {"lock"}
