"""The face table on a real Lance store."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from identity_index import INDEX_SCHEMA, IdentityIndex, MismatchPolicy
from records import FACE_SCHEMA, DataError, rng

DIMENSION = 32


def table(start: int, stop: int, *, each: int = 5) -> pa.Table:
    """Faces number start to stop, `each` of one person."""
    return pa.Table.from_pylist([row(number, each) for number in range(start, stop)], schema=INDEX_SCHEMA)


def row(number: int, each: int) -> dict[str, Any]:
    draws = rng(4, "row", number)
    vector = rng(4, "person", number // each).standard_normal(DIMENSION) + 0.5 * draws.standard_normal(DIMENSION)
    return {
        "face_id": f"{number:05d}-0", "photo_id": f"{number:05d}", "uri": f"/photos/it's {number}.jpg", "number": 0,
        "subject": None, "box": [0.0] * 4, "landmarks": [0.0] * 10, "score": 1.0, "crop": b"jpeg", "crop_size": 512,
        "crop_landmarks": [0.0] * 10, "yaw": float(draws.uniform(-50, 50)), "pitch": 0.0, "roll": 0.0,
        "age": float(draws.uniform(20, 60)), "age_source": "given", "sharpness": 90.0, "brightness": 120.0,
        "embedding": (vector / np.linalg.norm(vector)).tolist(), "norm": 20.0, "embedder": "small",
        "perceptual_hash": int(draws.integers(2**64, dtype=np.uint64)), "birth_date": None, "taken": None,
        "licence": "CC0", "consent": "given", "source": "test", "identity": f"p{number // each:06d}",
    }


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
    faces = table(0, 5).append_column("split", pa.array(["train"] * 5))
    index = IdentityIndex.create(str(tmp_path / "index"), faces)
    assert index.faces(["split"])["split"].to_pylist() == ["train"] * 5


def test_bad_tables_are_refused_with_the_reason(tmp_path):
    uri = str(tmp_path / "index")
    with pytest.raises(DataError, match="no face index here"):
        IdentityIndex.open(uri)
    with pytest.raises(DataError, match="lacks identity"):
        IdentityIndex.create(uri, table(0, 5).drop_columns(["identity"]))
    with pytest.raises(DataError, match="no faces"):
        IdentityIndex.create(uri, table(0, 0))
    with pytest.raises(DataError, match="more than one row"):
        IdentityIndex.create(uri, pa.concat_tables([table(0, 5), table(4, 6)]))
    short = pa.Table.from_pylist([row(0, 5), {**row(1, 5), "embedding": [1.0]}], schema=INDEX_SCHEMA)
    with pytest.raises(DataError, match="all must have"):
        IdentityIndex.create(uri, short)
