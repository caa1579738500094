"""Clustering, its constraints, the threshold, and the anchor."""

import csv
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.embed import embedder
from anchorface.faces.images import read_photo
from anchorface.identity_index import (
    Levels,
    b_cubed_scores,
    calibrate,
    calibrate_threshold,
    constraints,
    known,
    pairwise_scores,
)
from anchorface.identity_index import cluster as cluster_faces
from anchorface.identity_index.clustering import linkage
from anchorface.identity_index.clustering.neighbours import neighbours
from anchorface.identity_index.unit import unit
from anchorface.records import DataError, rng


def people(persons: int, each: int, *, spread: float = 0.6, dimension: int = 64) -> tuple[np.ndarray, list[str]]:
    """Embeddings of persons whose photos lie around a direction of their own, and the truth."""
    draws = rng(7, "people", persons)
    centres = np.repeat(draws.standard_normal((persons, dimension)), each, axis=0)
    points = centres + spread * draws.standard_normal(centres.shape)
    return points.astype(np.float32), [f"person {n // each}" for n in range(len(points))]


def photos(count: int) -> list[str]:
    return [f"photo{n:04d}" for n in range(count)]


def cluster(points, photo_ids, subjects, threshold, face_ids=None):
    """Persons from embeddings, photographs and labels alone."""
    face_ids = face_ids or [f"face{n:05d}" for n in range(len(photo_ids))]
    return cluster_faces(points, known(face_ids, photo_ids, subjects), threshold).tolist()


def test_photos_of_one_person_land_in_one_identity():
    points, truth = people(30, 8)
    ids = photos(len(points))
    calibration = calibrate(points, ids)
    precision, recall, f1 = pairwise_scores(cluster(points, ids, None, calibration.threshold), truth)
    assert calibration.depth < 0.5
    assert precision > 0.99 and recall > 0.99 and f1 > 0.99


def test_two_faces_of_one_photo_are_never_one_person():
    points, _ = people(4, 10, spread=0.1)
    together = [f"photo{n // 2:04d}" for n in range(len(points))]
    names = cluster(points, together, None, -1.0)
    for photo in set(together):
        rows = [n for n, name in enumerate(together) if name == photo]
        assert len({names[n] for n in rows}) == len(rows)


def test_labels_win_over_embeddings_and_over_the_photo_rule():
    points, _ = people(2, 6, spread=0.05)
    subjects: list[str | None] = [None] * 12
    subjects[0], subjects[1] = "ada", "grace"
    subjects[2] = subjects[6] = "ada"
    ids = photos(12)
    ids[6] = ids[2]
    names = cluster(points, ids, subjects, 0.5)
    assert names[0] == names[2] == names[6], "one subject is one person, however far apart, even in one photo"
    assert names[1] != names[0], "two subjects are two persons, however alike"


def test_the_order_of_the_rows_does_not_matter():
    points, _ = people(25, 5, spread=1.0)
    ids = photos(len(points))
    faces = [f"{name}-0" for name in ids]
    expected = dict(zip(faces, cluster(points, ids, None, 0.4, face_ids=faces), strict=True))
    order = rng(1, "shuffle").permutation(len(points))
    shuffled = [faces[n] for n in order]
    names = cluster(points[order], [ids[n] for n in order], None, 0.4, face_ids=shuffled)
    assert dict(zip(shuffled, names, strict=True)) == expected
    assert calibrate(points[order], [ids[n] for n in order]) == calibrate(points, ids)


def test_numbers_follow_the_first_face_id():
    points, _ = people(5, 3)
    names = cluster(points, photos(15), None, 0.4)
    assert list(dict.fromkeys(names)) == list(range(5))


def test_average_linkage_agrees_with_a_naive_one():
    points, _ = people(6, 5, spread=0.9)
    vectors = unit(points)
    groups = [[n] for n in range(len(vectors))]
    while True:
        pairs = [(float((vectors[a] @ vectors[b].T).mean()), i, j)
                 for i, a in enumerate(groups) for j, b in enumerate(groups) if i < j]
        best, i, j = max(pairs)
        if best < 0.3:
            break
        groups[i] += groups.pop(j)
    names = cluster(points, photos(len(points)), None, 0.3)
    assert {frozenset(group) for group in groups} == {
        frozenset(n for n, name in enumerate(names) if name == wanted) for wanted in set(names)}


def test_neighbours_are_exact_and_never_the_row_itself():
    points, _ = people(60, 12)
    vectors = unit(np.concatenate([points, points[:3]]))
    rows, cosines = neighbours(vectors, 5)
    full = vectors @ vectors.T
    np.fill_diagonal(full, -np.inf)
    assert (rows != np.arange(len(vectors))[:, None]).all()
    np.testing.assert_allclose(cosines, -np.sort(-full, axis=1)[:, :5], atol=1e-5)


def test_where_the_data_show_no_valley_the_default_is_used_and_said():
    few, _ = people(2, 3)
    calibration = calibrate(few, photos(len(few)), fallback=0.37)
    assert calibration.threshold == 0.37 and "default" in calibration.reason
    strangers, _ = people(80, 1)
    calibration = calibrate(strangers, photos(80), fallback=0.37)
    assert "default" in calibration.reason and "strangers reach" in calibration.reason
    assert len(set(cluster(strangers, photos(80), None, calibration.threshold))) >= 79, "half a pair is expected"
    assert calibrate(strangers, photos(80), fallback=0.9).threshold == 0.9


@pytest.mark.parametrize(("persons", "each"), [(1, 24), (1, 60), (2, 12), (3, 8), (5, 6), (2, 3)])
def test_an_album_of_few_people_is_sorted_by_the_levels_of_its_embedder(persons: int, each: int) -> None:
    """Most of its pairs are one person's, so they do not tell how alike strangers are."""
    points, truth = people(persons, each)
    ids = photos(len(points))
    measured, _ = people(60, 4)
    cosines = unit(measured) @ unit(measured).T
    one, two = np.triu_indices(len(measured), 1)
    same = one // 4 == two // 4
    strangers = cosines[one, two][~same]
    levels = Levels(float(np.median(strangers)), float(strangers.std()), float(np.median(cosines[one, two][same])))
    found = cluster(points, ids, None, calibrate_threshold(points, ids, levels=levels))
    assert pairwise_scores(found, truth)[:2] == (1.0, 1.0)


def test_levels_move_no_threshold_of_a_collection_of_many_people() -> None:
    for persons, each in ((60, 4), (300, 2)):
        points, _ = people(persons, each, spread=1.2)
        ids = photos(len(points))
        assert calibrate(points, ids, fallback=0.3) == calibrate(
            points, ids, fallback=0.3, levels=Levels(0.0, 0.125, 0.4))


def test_threshold_stays_above_faces_that_stand_in_one_photo():
    points, _ = people(20, 6, spread=0.5)
    twins = unit(points[:60]) + 0.9 * unit(points[60:120])
    everything = np.concatenate([points, twins])
    ids = photos(120) + photos(60)
    apart = calibrate_threshold(everything, photos(180))
    assert calibrate_threshold(everything, ids) >= max(apart, 0.5)


def test_bad_rows_are_named():
    points, _ = people(2, 3)
    points[4, 0] = np.nan
    with pytest.raises(DataError, match="row 4"):
        cluster(points, photos(6), None, 0.4)
    with pytest.raises(DataError, match="5 embeddings for 6 faces"):
        cluster(points[:5], photos(6), None, 0.4)
    with pytest.raises(DataError, match="more than one row"):
        cluster(points[:2], photos(2), None, 0.4, face_ids=["a", "a"])
    assert cluster(np.empty((0, 8)), [], None, 0.4) == []


def test_pairwise_scores_count_pairs():
    assert pairwise_scores(["a", "a", "b"], ["x", "x", "y"]) == (1.0, 1.0, 1.0)
    precision, recall, _ = pairwise_scores(["a", "a", "a"], ["x", "x", "y"])
    assert precision == pytest.approx(1 / 3) and recall == 1.0


def test_rounds_and_heap_join_the_same_persons(monkeypatch):
    points, _ = people(40, 12, spread=1.4)
    together = [f"photo{n // 2:04d}" for n in range(len(points))]
    found = {}
    for few in (0, 10**9):
        monkeypatch.setattr(linkage, "FEW", few)
        found[few] = cluster(points, together, None, 0.15)
    assert found[0] == found[10**9]
    assert 40 <= len(set(found[0])) < len(points) / 2


def test_one_wrong_edge_does_not_merge_two_persons():
    points, truth = people(2, 12, spread=0.4)
    points[12] = points[0] + 0.02
    truth[12] = truth[0]
    between = unit(unit(points[1]) + unit(points[13]))
    names = cluster(np.concatenate([points, between[None]]), photos(25), None, 0.45)
    assert pairwise_scores(names[:24], truth)[:2] == (1.0, 1.0)


def test_b_cubed_scores_count_faces():
    assert b_cubed_scores([1, 1, 2], ["x", "x", "y"]) == (1.0, 1.0, 1.0)
    precision, recall, _ = b_cubed_scores([1, 1, 1], ["x", "x", "y"])
    assert precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3) and recall == 1.0


def test_the_threshold_rises_with_the_size_of_the_collection():
    few, _ = people(60, 4, spread=1.2)
    many, _ = people(900, 4, spread=1.2)
    thresholds = [calibrate(points, photos(len(points)), fallback=0.0).threshold for points in (few, many)]
    assert thresholds[0] < thresholds[1]


def test_strangers_reach_no_higher_than_random_directions_do():
    """In few dimensions a bell curve's tail says they do: the threshold then lies where nobody is found."""
    for dimensions, common in ((12, 0.0), (24, 0.3), (200, 0.1)):
        drawn = rng(5, "random directions", dimensions).standard_normal((1500, dimensions + 1))
        drawn[:, 0] = 0.0
        drawn = np.sqrt(1 - common) * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        drawn[:, 0] = np.sqrt(common)
        highest = np.sort((drawn @ drawn.T)[np.triu_indices(len(drawn), 1)])[-2:]
        threshold = calibrate(drawn, photos(len(drawn)), fallback=-1.0).threshold
        assert highest[0] - 0.02 < threshold < highest[1] + 0.12 * (1 - common), dimensions


def test_people_whom_years_keep_apart_lower_the_threshold():
    years = pa.table({
        "face_id": [f"face{n:05d}" for n in range(400)], "photo_id": photos(400),
        "birth_date": [date(1900 + n // 4, 1, 1) for n in range(400)]})
    born = constraints(years, labels=False).possible
    assert born == pytest.approx(3 / 399, rel=0.01)
    assert constraints(years.drop_columns("birth_date"), labels=False).possible == 1.0
    points, _ = people(100, 4, spread=1.2)
    apart, together = (calibrate(points, photos(400), fallback=0.0, possible=share).threshold for share in (born, 1.0))
    assert apart < together


def test_real_photographs_are_grouped_without_labels(shared_data):
    network = embedder("mobilefacenet_y1_ms1m_112")
    crops, ids, truth = [], [], []
    for name, every in (("people", 1), ("congress", 4), ("london", 4)):
        with (shared_data / "photos" / name / "index.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["points"].strip()]
        persons = sorted({row["person"] for row in rows})[::every]
        for row in rows:
            if row["person"] in persons:
                image, _ = read_photo(str(shared_data / "photos" / name / row["file"]))
                points = np.array(row["points"].split(), np.float64).reshape(5, 2)
                crops.append(warp(image, arcface_matrix(points, 112), 112))
                ids.append(f"{name}/{row['file']}")
                truth.append(row["person"])
    vectors, _ = network.embed(np.stack(crops))
    names = cluster(vectors, ids, None, calibrate_threshold(vectors, ids), ids)
    precision, recall, _ = pairwise_scores(names, truth)
    assert len(set(truth)) > 90
    assert precision >= 0.99 and recall >= 0.97
