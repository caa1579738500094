"""The order of targets: pure, complete, by capacity."""

import numpy as np
import pyarrow as pa
import pytest

from anchorface.pipelines.feed.order import batches_per_epoch, order, schedule, share
from anchorface.pipelines.identities.splits import assign_splits, split_counts
from anchorface.pipelines.versions.plan import GROUP_FACES, plan_shards
from anchorface.records.errors import ConfigurationError

SIZES = (30, 7, 50, 13, 41)


def test_each_row_once_per_epoch_and_another_order_in_the_next():
    first, again, second = (order(SIZES, 5, epoch, window=32) for epoch in (0, 0, 1))
    assert sorted(first.tolist()) == list(range(141))
    assert (first == again).all() and (first != second).any() and (first != order(SIZES, 6, 0, window=32)).any()


def test_rows_stay_near_their_shard():
    sizes = [100] * 20
    rows = order(sizes, 1, 0, window=128)
    shards = rows // 100
    assert len({int(s) for s in shards[:256]}) <= 6
    assert len(set(shards.tolist())) == 20


def test_batches_hold_rows_of_one_capacity_where_they_can():
    capacity = np.array([0] * 30 + [1] * 7 + [3] * 104)
    made = schedule(SIZES, capacity, 8, 5, 0)
    assert made.shape == (batches_per_epoch(141, 8), 8)
    assert len(set(made.ravel().tolist())) == made.size
    mixed = sum(len(set(capacity[batch].tolist())) > 1 for batch in made)
    assert mixed <= 2
    assert (made == schedule(SIZES, capacity, 8, 5, 0)).all()


def test_a_set_smaller_than_a_batch_fills_it():
    assert schedule([3], [2, 2, 2], 8, 0, 0).shape == (1, 8)
    assert schedule([], [], 8, 0, 0).shape == (0, 8)


def test_every_place_of_a_batch_is_at_exactly_one_rank_whatever_their_number():
    for batch in (1, 4, 16, 23):
        for world in range(1, batch + 1):
            shares = [share(batch, rank, world) for rank in range(world)]
            assert [place for part in shares for place in part] == list(range(batch))
            assert {len(part) for part in shares} <= {batch // world, -(-batch // world)} - {0}
    assert share(16, 3, 4) == range(12, 16)


@pytest.mark.parametrize(("batch", "rank", "world"), [(4, 0, 5), (4, 2, 2), (4, -1, 2), (4, 0, 0)])
def test_more_ranks_than_samples_and_unknown_ranks_are_refused(batch, rank, world):
    with pytest.raises(ConfigurationError, match=f"batch {batch} over world {world}, rank {rank}"):
        share(batch, rank, world)


def test_splits_have_exact_counts_and_none_is_empty():
    assert split_counts(100, (0.8, 0.1, 0.1)) == [80, 10, 10]
    assert split_counts(15, (0.8, 0.1, 0.1)) == [12, 2, 1]
    assert split_counts(3, (0.8, 0.1, 0.1)) == [1, 1, 1]
    assert split_counts(2, (0.8, 0.1, 0.1)) == [2, 0, 0]
    assert split_counts(9, (1.0, 0.0, 0.0)) == [9, 0, 0]


def test_split_of_a_person_does_not_depend_on_names_or_rows():
    people = {f"p{n}": (f"key{n}", 2 + n % 3) for n in range(50)}
    renamed = {f"q{49 - n}": people[f"p{n}"] for n in reversed(range(50))}
    one, two = assign_splits(people, (0.6, 0.2, 0.2), 9), assign_splits(renamed, (0.6, 0.2, 0.2), 9)
    assert all(one[f"p{n}"] == two[f"q{49 - n}"] for n in range(50))
    assert sorted(one.values()).count("test") == 10


def test_shards_hold_whole_groups_and_large_persons_are_cut():
    faces = [
        {"split": "train", "identity": f"p{n}", "face_id": f"{n:02d}-{m:03d}", "crop_bytes": 1000}
        for n in range(6) for m in range(200 if n == 2 else 5)
    ]
    planned = plan_shards(pa.Table.from_pylist(faces), 60_000)
    plan = {name: face_ids.to_pylist() for name, face_ids in planned.items()}
    assert sorted(f for ids in plan.values() for f in ids) == sorted(row["face_id"] for row in faces)
    for name in plan:
        assert name.startswith("train-")
    cut = [sum(face.startswith("02-") for face in ids) for ids in plan.values()]
    assert max(cut) <= GROUP_FACES and sum(count > 0 for count in cut) == 4
    for n in (0, 1, 3, 4, 5):
        assert sum(any(f.startswith(f"{n:02d}-") for f in ids) for ids in plan.values()) == 1
