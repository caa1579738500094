"""A batch's number of references is known without choosing them, and a rank chooses for its own samples alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchorface.identity_index import MismatchPolicy
from anchorface.identity_index.retrieval.album import Album
from anchorface.identity_index.retrieval.exclusions import admissible
from anchorface.identity_index.retrieval.mismatch import select
from anchorface.pipelines.feed.dataset import Dataset, open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records.seeds import rng

BATCH, STEPS = 12, 8


def some(*values):
    """One of some values, or None."""
    return st.none() | st.sampled_from(values)


@st.composite
def albums(draw):
    """Up to nine faces of one person, many of them copies, of one clip, of one day, or without a word of where from."""
    faces = []
    for number in range(draw(st.integers(1, 9))):
        angle = draw(st.sampled_from((0.0, 0.1, 1.0)))
        faces.append({
            "face_id": f"f{number}", "photo_id": draw(st.sampled_from(("a", "b", f"own {number}"))),
            "uri": draw(some("", "x.jpg", "film.mp4#t=0.2", "film.mp4#t=0.9", "film.mp4#t=3.0")),
            "yaw": draw(some(-40.0, 0.0, 9.0)), "smile": draw(some(0.1, 0.5)), "norm": draw(some(0.0, 10.0, 20.0)),
            "sharpness": draw(some(1.0, 50.0)), "score": draw(some(0.2, 0.9)),
            "taken": draw(some(np.datetime64("2020-01-01").item(), np.datetime64("2021-01-01").item())),
            "perceptual_hash": draw(some(0, 1, 2**60 - 1)),
            "embedding": np.array([np.cos(angle), np.sin(angle)], np.float32),
        })
    return Album.of_rows(faces)


policies = st.builds(
    MismatchPolicy, mode=st.sampled_from(("mismatch", "random")), minimum_norm=st.sampled_from((0.0, 15.0)),
    minimum_sharpness=st.sampled_from((0.0, 10.0)), minimum_score=st.sampled_from((0.0, 0.5)), other_day=st.booleans(),
) | st.just(MismatchPolicy(mode="asked", yaw_asked=(0.2, 0.2, 0.2, 0.2, 0.2), other_day=True))


@settings(max_examples=300, deadline=None)
@given(album=albums(), policy=policies, k=st.integers(1, 5))
def test_as_many_are_chosen_as_are_asked_and_admissible(album, policy, k):
    counts = admissible(album, policy)
    for target in range(len(album)):
        chosen = select(album, target, policy, k, rng(1, "test", target)).chosen
        assert len(chosen) == len(set(chosen)) == min(k, counts[target])


@pytest.fixture(scope="module")
def fed(line):
    shares = (0.1, 0.2, 0.3, 0.4)
    return FeedSettings(dataset=str(line.out / "dataset"), batch=BATCH, size=32, seed=5, embedder=line.embedder,
                        reference_count_probabilities=shares)


@pytest.mark.parametrize("policy", [MismatchPolicy(), MismatchPolicy(minimum_sharpness=150.0, mode="random")])
def test_the_count_is_that_of_the_poorest_of_the_whole_batch(fed, policy):
    feed = Feed(open_dataset(fed.dataset), replace(fed, policy=policy))
    shares, counts = fed.reference_count_probabilities, []
    for step in range(STEPS):
        drawn = int(rng(fed.seed, "reference count", step).choice(len(shares), p=shares))
        chosen = [feed.dataset.references(int(row), policy, drawn, rng(fed.seed, "references", step * BATCH + place))
                  for place, row in enumerate(feed.target_rows(step))]
        count = min(len(choice) for choice in chosen) if drawn else 0
        counts.append(count)
        for place, choice in enumerate(chosen):
            pair = feed.sample(step * BATCH + place).pair
            assert list(zip(pair.references, pair.reasons, strict=True)) == [
                (one.face_id, one.reason) for one in choice[:count]]
    assert len(set(counts)) > 1


def test_a_rank_chooses_for_its_own_samples_alone(fed, monkeypatch):
    asked, choose = [], Dataset.references

    def noting(dataset, row, *rest):
        asked.append(row)
        return choose(dataset, row, *rest)

    monkeypatch.setattr(Dataset, "references", noting)
    feed = Feed(open_dataset(fed.dataset), replace(fed, reference_count_probabilities=(0.0, 1.0)))
    for step in range(STEPS):
        asked.clear()
        made = feed.batch(step, 1, 5)
        own = feed.target_rows(step)[2:4].tolist()
        assert asked == (own if made["references"].shape[1] else [])
    assert asked
