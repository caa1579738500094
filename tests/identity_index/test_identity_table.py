"""The face index on real Lance tables."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anchorface.identity_index import INDEX_SCHEMA, IdentityIndex, MismatchPolicy
from anchorface.identity_index.lance_store import WRITING, writing
from anchorface.records import FACE_SCHEMA, DataError, rng

DIMENSION = 32


def table(start: int, stop: int, *, each: int = 5) -> pa.Table:
    """Faces number start to stop, `each` of one person."""
    return pa.Table.from_pylist([row(number, each) for number in range(start, stop)], schema=INDEX_SCHEMA)


def row(number: int, each: int) -> dict[str, Any]:
    draws = rng(4, "row", number)
    vector = rng(4, "person", number // each).standard_normal(DIMENSION) + 0.5 * draws.standard_normal(DIMENSION)
    return {
        "face_id": f"{number:05d}-0", "photo_id": f"{number:05d}", "uri": f"/photos/it's {number}.jpg", "number": 0,
        "subject": None, "box": [0.0] * 4, "landmarks": [0.0] * 10, "score": 1.0, "crop_size": 512,
        "crop_landmarks": [0.0] * 10, "yaw": float(draws.uniform(-50, 50)), "pitch": 0.0, "roll": 0.0,
        "age": float(draws.uniform(20, 60)), "age_source": "given", "sharpness": 90.0, "brightness": 120.0,
        "light_x": 0.1, "light_y": -0.1, "smile": 1.0, "clipped": 0.0,
        "embedding": (vector / np.linalg.norm(vector)).tolist(), "norm": 20.0, "embedder": "small",
        "perceptual_hash": int(draws.integers(2**64, dtype=np.uint64)), "birth_date": None, "taken": None,
        "licence": "CC0", "consent": "given", "source": "test", "identity": f"p{number // each:06d}",
        "split": "train", "crop_bytes": len(crop(number)),
    }


def crop(number: int) -> bytes:
    """Stands for a JPEG: the store does not look inside."""
    return rng(4, "crop", number).bytes(200 + number % 50)


def crops(start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """The crops of faces number start to stop, ten a batch."""
    for first in range(start, stop, 10):
        numbers = range(first, min(first + 10, stop))
        yield pa.RecordBatch.from_pydict(
            {"face_id": [f"{n:05d}-0" for n in numbers], "crop": [crop(n) for n in numbers]})


def holding(folder: str, *patterns: bytes) -> list[str]:
    """The files under a folder that hold one of the byte patterns."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return [str(path) for path in files if any(pattern in path.read_bytes() for pattern in patterns)]


def disk(folder: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


@pytest.fixture
def index(tmp_path):
    return IdentityIndex.create(str(tmp_path / "index"), table(0, 60))


def test_what_was_written_is_read_back(index):
    again = IdentityIndex.open(index.uri)
    assert len(again) == 60 and again.dimension == DIMENSION
    assert again.faces().schema.equals(INDEX_SCHEMA)
    assert again.faces().equals(table(0, 60))
    assert again.faces(["embedding"]).schema.field("embedding").type == FACE_SCHEMA.field("embedding").type


def test_a_filter_finds_a_persons_faces(index):
    found = index.faces(["face_id"], "identity = 'p000003'")["face_id"].to_pylist()
    assert sorted(found) == [f"{n:05d}-0" for n in range(15, 20)]
    turned = index.faces(["yaw"], "identity = 'p000003' AND abs(yaw) > 20")["yaw"].to_pylist()
    assert all(abs(yaw) > 20 for yaw in turned)
    with pytest.raises(DataError, match="nonsense"):
        index.faces(None, "nonsense = 1")


def test_appended_faces_are_found_at_once_and_never_twice(index):
    index.append(table(60, 70))
    assert len(index) == len(IdentityIndex.open(index.uri)) == 70
    assert len(index.faces(["face_id"], "identity = 'p000012'")) == 5
    assert index.nearest(np.array(row(65, 5)["embedding"]), 1)[0] == [["00065-0"]]
    with pytest.raises(DataError, match="00064-0"):
        index.append(table(64, 65))


def test_nearest_is_exact(index):
    queries = rng(1, "queries").standard_normal((7, DIMENSION))
    stored = np.array(table(0, 60)["embedding"].to_pylist(), np.float32)
    truth = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ stored.T
    names, cosines = index.nearest(queries, 10)
    np.testing.assert_allclose(cosines, -np.sort(-truth, axis=1)[:, :10], atol=1e-5)
    assert names == [[f"{n:05d}-0" for n in found] for found in np.argsort(-truth, axis=1)[:, :10].tolist()]
    assert len(index.nearest(queries[:1], 500)[0][0]) == 60
    with pytest.raises(DataError, match="vectors of 8"):
        index.nearest(np.ones((1, 8)), 1)


def test_the_vector_index_finds_what_the_exact_search_finds(tmp_path):
    index = IdentityIndex.create(str(tmp_path / "large"), table(0, 600), vector_index_rows=500)
    queries = np.array(index.faces(["embedding"])["embedding"].to_pylist())[:20]
    quick, _ = index.nearest(queries, 5, exact=False)
    exact, _ = index.nearest(queries, 5)
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(quick, exact, strict=True)]) > 0.9


def test_references_are_other_faces_of_the_same_person(index):
    chosen = index.references("00022-0", MismatchPolicy(), 3, rng(0, "references"))
    assert len(chosen) == 3 and all(c.reason for c in chosen)
    assert {c.face_id for c in chosen} < {"00020-0", "00021-0", "00023-0", "00024-0"}
    with pytest.raises(DataError, match="no face"):
        index.references("it's not there", MismatchPolicy(), 3, rng(0, "references"))


def test_creating_again_replaces_the_table(index):
    IdentityIndex.create(index.uri, table(0, 10))
    assert len(IdentityIndex.open(index.uri)) == 10


def test_further_columns_travel_along(tmp_path):
    faces = table(0, 5).append_column("place", pa.array(["here"] * 5))
    index = IdentityIndex.create(str(tmp_path / "index"), faces)
    assert index.faces(["place"])["place"].to_pylist() == ["here"] * 5 and "place" in index.columns


def test_bad_tables_are_refused_with_the_reason(tmp_path):
    uri = str(tmp_path / "index")
    with pytest.raises(DataError, match="no face index here"):
        IdentityIndex.open(uri)
    with pytest.raises(DataError, match="lacks identity"):
        IdentityIndex.create(uri, table(0, 5).drop_columns(["identity"]))
    with pytest.raises(DataError, match="crops are given apart"):
        IdentityIndex.create(uri, table(0, 5).append_column("crop", pa.array([b"jpeg"] * 5)))
    with pytest.raises(DataError, match="no faces"):
        IdentityIndex.create(uri, table(0, 0))
    with pytest.raises(DataError, match="more than one row"):
        IdentityIndex.create(uri, pa.concat_tables([table(0, 5), table(4, 6)]))
    short = pa.Table.from_pylist([row(0, 5), {**row(1, 5), "embedding": [1.0]}], schema=INDEX_SCHEMA)
    with pytest.raises(DataError, match="all must have"):
        IdentityIndex.create(uri, short)


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    shuffled = table(0, 60).take(rng(2, "order").permutation(60))
    index = IdentityIndex.create(str(tmp_path / "index"), shuffled)
    assert index.faces().equals(table(0, 60))


def test_crops_stand_apart_and_come_back_as_they_were(tmp_path):
    index = IdentityIndex.create(str(tmp_path / "index"), table(0, 60), crops=crops(0, 80))
    assert "crop" not in index.columns
    asked = ["00042-0", "00007-0", "00042-0"]
    assert index.crops(asked) == {"00042-0": crop(42), "00007-0": crop(7)}
    assert list(index.crops(asked)) == ["00042-0", "00007-0"] and index.crops([]) == {}
    with pytest.raises(DataError, match="no crop of face 00061-0"):
        index.crops(["00061-0"])
    index.append(table(60, 65), crops(60, 65))
    assert index.crops(["00064-0"])["00064-0"] == crop(64)


def test_a_face_without_a_crop_is_named(tmp_path):
    with pytest.raises(DataError, match="00010-0 has no crop"):
        IdentityIndex.create(str(tmp_path / "index"), table(0, 11), crops=crops(0, 10))
    index = IdentityIndex.create(str(tmp_path / "other"), table(0, 11))
    with pytest.raises(DataError, match="no crops here"):
        index.crops(["00010-0"])


def test_a_killed_create_goes_on_where_it_stopped(tmp_path, monkeypatch):
    uri = str(tmp_path / "index")
    monkeypatch.setattr("anchorface.identity_index.crops.PIECE", 2000)

    def killed() -> Iterator[pa.RecordBatch]:
        yield from crops(0, 40)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        IdentityIndex.create(uri, table(0, 60), crops=killed())
    kept = {path.name for path in Path(uri, "crops.lance", "data").iterdir()}
    index = IdentityIndex.create(uri, table(0, 60), crops=crops(0, 60))
    assert kept and kept < {path.name for path in Path(uri, "crops.lance", "data").iterdir()}
    assert index.crops([f"{n:05d}-0" for n in range(60)]) == {f"{n:05d}-0": crop(n) for n in range(60)}


def test_what_a_power_cut_leaves_of_an_index_is_made_anew(tmp_path):
    whole, uri = str(tmp_path / "whole"), str(tmp_path / "index")
    IdentityIndex.create(whole, table(0, 30), crops=crops(0, 30))
    IdentityIndex.open(whole).append(table(30, 60), crops(30, 60))
    folders = sorted({path.relative_to(whole).parts[:2] for path in Path(whole).rglob("*") if path.is_file()})
    assert len(folders) == 8  # data, indexes, transactions and versions of both tables
    cuts = [(folder, (lambda content: bytes(len(content)))) for folder in folders]
    cuts += [((), lambda content: b""), ((), lambda content: content[: len(content) // 2])]
    for folder, left in cuts:
        shutil.copytree(whole, uri)
        for path in Path(uri, *folder).rglob("*"):
            if path.is_file():
                path.write_bytes(left(path.read_bytes()))
        Path(uri, WRITING).write_text("the machine's run before this one")
        IdentityIndex.create(uri, table(0, 60), crops=crops(0, 60))
        again = IdentityIndex.open(uri)
        assert again.faces().equals(table(0, 60))
        assert list(again.crops([f"{n:05d}-0" for n in range(60)]).values()) == [crop(n) for n in range(60)]
        assert len(again.faces(["face_id"], "identity = 'p000003'")) == 5
        assert not Path(uri, WRITING).exists()
        shutil.rmtree(uri)


def test_a_killed_writer_leaves_no_doubt_and_a_power_cut_does_until_all_is_made_anew(tmp_path):
    uri = str(tmp_path / "index")
    made = IdentityIndex.create(uri, table(0, 30), crops=crops(0, 30))
    with pytest.raises(KeyboardInterrupt), writing(uri):
        raise KeyboardInterrupt
    with writing(uri) as doubtful:
        assert not doubtful
    mark = Path(uri, WRITING)
    assert not mark.exists()
    mark.write_text("the machine's run before this one")
    made.delete(["00003-0"])
    assert mark.exists()
    with writing(uri) as doubtful:
        assert doubtful
    IdentityIndex.create(uri, table(0, 30), crops=crops(0, 30))
    assert not mark.exists()


def test_creating_again_leaves_no_trace_of_gone_faces_and_changed_crops(tmp_path):
    uri = str(tmp_path / "index")
    IdentityIndex.create(uri, table(0, 60), crops=crops(0, 60))
    changed = pa.RecordBatch.from_pydict({"face_id": ["00003-0"], "crop": [b"another crop size"]})
    batches = [changed, *list(crops(4, 50)), *list(crops(0, 3))]
    index = IdentityIndex.create(uri, table(0, 50), crops=batches)
    assert index.crops(["00003-0"]) == {"00003-0": b"another crop size"}
    gone = [np.array(row(n, 5)["embedding"], np.float32).tobytes() for n in range(50, 60)]
    assert holding(uri, crop(3), *map(crop, range(50, 60)), *gone, b"00055-0") == []


def test_the_disk_does_not_grow_when_the_same_is_created_again(tmp_path):
    uri = str(tmp_path / "index")
    IdentityIndex.create(uri, table(0, 60), crops=crops(0, 60))
    first = disk(uri)
    for _ in range(3):
        IdentityIndex.create(uri, table(0, 60), crops=crops(0, 60))
    assert disk(uri) < 1.1 * first


def test_deleted_faces_are_in_no_file_any_more(tmp_path):
    uri = str(tmp_path / "index")
    index = IdentityIndex.create(uri, table(0, 600), crops=crops(0, 600), vector_index_rows=500)
    index.append(table(600, 620), crops(600, 620))
    numbers = [*range(100, 120), *range(600, 605)]
    names = [f"{n:05d}-0" for n in numbers]
    vectors = [np.array(row(n, 5)["embedding"], np.float32) for n in numbers]
    patterns = [v.tobytes() for v in vectors] + [crop(n) for n in numbers] + [n.encode() for n in names]
    # Also halves: a part of a vector or of a crop is a trace, too.
    patterns += [v[:16].tobytes() for v in vectors] + [crop(n)[64:128] for n in numbers] + [b"p000021", b"p000120"]
    assert holding(uri, *patterns)
    assert index.delete([*names, "never seen"]) == 25
    assert holding(uri, *patterns) == []
    for again in (index, IdentityIndex.open(uri)):
        assert len(again) == 595
        assert not len(again.faces(["face_id"], "identity = 'p000021'"))
        found = again.nearest(np.stack(vectors), 20, exact=False)[0]
        assert not {name for each in found for name in each} & set(names)
        assert len(again.references("00122-0", MismatchPolicy(), 3, rng(0, "references"))) == 3
        assert again.crops(["00099-0"]) == {"00099-0": crop(99)}
    assert index.delete(names) == 0


@pytest.mark.parametrize("step", ["index_column", "forget"])
def test_a_killed_erasure_is_finished_by_the_next(tmp_path, monkeypatch, step):
    uri = str(tmp_path / "index")
    index = IdentityIndex.create(uri, table(0, 600), crops=crops(0, 600), vector_index_rows=500)
    names, patterns = ["00100-0"], [np.array(row(100, 5)["embedding"], np.float32).tobytes(), crop(100), b"00100-0"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"anchorface.identity_index.lance_store.{step}", killed)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                index.delete(names)
    assert holding(uri, *patterns)
    IdentityIndex.open(uri).delete(names)
    assert holding(uri, *patterns) == [] and len(IdentityIndex.open(uri)) == 599


def test_nearest_keeps_to_the_filter(tmp_path):
    index = IdentityIndex.create(str(tmp_path / "index"), table(0, 600), vector_index_rows=500)
    query = np.array([row(number, 5)["embedding"] for number in (52, 300)])
    wanted = "identity <> 'p000010' AND abs(yaw) < 25"
    allowed = set(index.faces(["face_id"], wanted)["face_id"].to_pylist())
    for exact in (True, False):
        names, cosines = index.nearest(query, 8, exact=exact, filter=wanted)
        assert all(len(found) == 8 and set(found) <= allowed for found in names) and cosines.shape == (2, 8)
        assert index.nearest(query, 8, exact=exact, filter="yaw > 1000")[0] == [[], []]
        names, cosines = index.nearest(query[:1], 8, exact=exact, filter="identity = 'p000010'")
        assert len(names[0]) == 5 and cosines.shape == (1, 5)
        with pytest.raises(DataError, match="nonsense"):
            index.nearest(query, 8, exact=exact, filter="nonsense = 1")
