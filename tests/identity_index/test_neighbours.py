"""Nearest neighbours: exact in small tables, nearly so in large ones, the same every time."""

import numpy as np
import pytest

from anchorface.identity_index.clustering.descent import descend
from anchorface.identity_index.clustering.neighbours import nearest, neighbours
from anchorface.identity_index.unit import unit
from anchorface.records import rng


def people(count: int, each: int, *, alike: float = 0.87) -> np.ndarray:
    """Unit vectors [count * each, 64], shuffled; faces of a person have a cosine of about alike squared."""
    draws = rng(8, "people")
    centres = np.repeat(unit(draws.standard_normal((count, 64))), each, axis=0)
    own = unit(draws.standard_normal(centres.shape))
    return unit(alike * centres + np.sqrt(1 - alike**2) * own)[draws.permutation(count * each)]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return people(300, 10)


@pytest.fixture(scope="module")
def exact(vectors):
    return neighbours(vectors, 12)


def test_small_tables_are_exact(vectors, exact):
    truth = vectors @ vectors.T
    np.fill_diagonal(truth, -2)
    rows, cosines = exact
    np.testing.assert_array_equal(rows, np.argsort(-truth, axis=1, kind="stable")[:, :12])
    np.testing.assert_allclose(cosines, np.take_along_axis(truth, rows, 1), atol=1e-5)


def test_a_row_is_never_its_own_neighbour_even_among_copies():
    vectors = np.repeat(people(3, 1), 4, axis=0)
    rows, cosines = neighbours(vectors, 3)
    assert all(set(found) == set(range(n // 4 * 4, n // 4 * 4 + 4)) - {n} for n, found in enumerate(rows.tolist()))
    np.testing.assert_allclose(cosines, 1, atol=1e-5)


def test_where_there_are_too_few_rows_the_graph_is_padded():
    rows, cosines = neighbours(people(3, 1), 5)
    assert rows.shape == cosines.shape == (3, 5) and rows.dtype == np.int64 and cosines.dtype == np.float32
    assert (rows[:, 2:] == -1).all() and (cosines[:, 2:] == -np.inf).all() and (rows[:, :2] >= 0).all()
    assert neighbours(people(1, 1), 2)[0].tolist() == [[-1, -1]]
    assert neighbours(np.empty((0, 64), np.float32), 2)[0].shape == (0, 2)


def test_large_tables_find_nearly_all_of_a_person(vectors, exact):
    rows, cosines = neighbours(vectors, 12, exact_rows=0, partition_rows=300, probes=3)
    # The nine others of the person are the nine nearest.
    found = np.mean([len(set(a) & set(b)) / 9 for a, b in zip(rows[:, :9], exact[0][:, :9], strict=True)])
    assert found > 0.98
    known = rows >= 0
    truth = np.einsum("nd,nkd->nk", vectors, vectors[rows])
    np.testing.assert_allclose(cosines[known], truth[known], atol=1e-5)
    assert (np.diff(np.where(known, cosines, -9)) <= 0).all()
    assert all(len(set(f[f >= 0].tolist())) == (f >= 0).sum() and n not in f for n, f in enumerate(rows))


def test_neighbours_of_neighbours_make_the_graph_better_and_never_worse(vectors, exact):
    lost = rng(8, "lost").random(exact[0].shape) < 0.5
    order = np.argsort(lost, axis=1, kind="stable")
    before = tuple(np.take_along_axis(np.where(lost, nothing, values), order, 1)
                   for values, nothing in zip(exact, (-1, -np.inf), strict=True))
    after = descend(vectors, *before)
    assert (after[1] >= before[1] - 1e-6).all()
    shares = [np.mean([len(set(a) & set(b)) / 9 for a, b in zip(rows[:, :9], exact[0][:, :9], strict=True)])
              for rows in (before[0], after[0])]
    assert shares[0] < 0.6 and shares[1] > 0.95


def test_the_same_embeddings_give_the_same_graph_also_from_a_memory_map(vectors, tmp_path):
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    for exact_rows in (None, 0):
        one, other = (neighbours(each, 6, exact_rows=exact_rows, partition_rows=300) for each in (vectors, mapped))
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_nearest_takes_a_table_in_blocks_of_any_size(vectors):
    queries = vectors[:30]
    whole = nearest(queries, [vectors], 7)
    for size in (5, 999):
        parts = nearest(queries, (vectors[n : n + size] for n in range(0, len(vectors), size)), 7)
        np.testing.assert_array_equal(parts[0], whole[0])
    assert nearest(queries, [vectors[:4]], 7)[0].shape == (30, 4) and nearest(queries, [], 7)[0].shape == (30, 0)
