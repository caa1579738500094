"""A feed that cannot run is refused at launch, one that waits says so, and one that is far ahead stops."""

import re
import time
from dataclasses import replace

import pytest
import ray

from anchorface.pipelines.feed import ray_feed
from anchorface.pipelines.feed.batches import batches
from anchorface.pipelines.feed.cpus import require_cpus
from anchorface.pipelines.feed.settings import FeedSettings
from anchorface.records.errors import ConfigurationError


@pytest.fixture(scope="module")
def settings(line):
    return FeedSettings(dataset=str(line.out / "dataset"), batch=4, size=64, seed=7, embedder=line.embedder)


def test_what_does_not_fit_is_refused_with_what_would():
    require_cpus(workers=2, cpus=0.5, feed_workers=1, feed_cpus=0.5, nodes=[1, 1])
    require_cpus(workers=4, cpus=0.5, feed_workers=0, feed_cpus=0.5, nodes=[1, 1])
    with pytest.raises(ConfigurationError, match=r"4 workers x 0\.5 CPU .* 4 feed workers x 0\.5 CPU need 4 CPUs, and "
                       r"Ray has 2: .* 2 workers of that kind, or 4 workers with 0\.25 CPU") as caught:
        require_cpus(workers=4, cpus=0.5, feed_workers=1, feed_cpus=0.5, nodes=[1, 1])
    assert "for ever" in str(caught.value)
    require_cpus(workers=4, cpus=0.25, feed_workers=1, feed_cpus=0.25, nodes=[1, 1])
    with pytest.raises(ConfigurationError, match=r"What fits: 1 workers with 0\.33 CPU"):
        require_cpus(workers=1, cpus=1, feed_workers=2, feed_cpus=1, nodes=[1])


def test_a_worker_with_its_feed_needs_room_on_one_node():
    require_cpus(workers=3, cpus=0.5, feed_workers=1, feed_cpus=0.5, nodes=[2.5, 1, 0], together=True)
    with pytest.raises(ConfigurationError, match=r"need 4 CPUs, 1 at a time on one node, and Ray has 2\.5 \+ 1\.5: .* "
                       r"What fits: 3 workers of that kind"):
        require_cpus(workers=4, cpus=0.5, feed_workers=1, feed_cpus=0.5, nodes=[2.5, 1.5], together=True)


@ray.remote(num_cpus=2)
class Hog:
    """Books CPUs and does nothing."""

    def ready(self) -> bool:
        return True


def test_a_feed_without_a_worker_says_what_is_booked_and_goes_on_when_there_is_room(ray_session, settings):
    hog = Hog.remote()
    assert ray.get(hog.ready.remote())
    assert len(list(batches("", settings, 0, 1, num_cpus=0))) == 1  # its reader has booked for it
    told = []

    def report(line):
        told.append(line)
        if len(told) == 2:
            ray.kill(hog)

    made = list(batches("", settings, 0, 2, num_cpus=1, patience=3, report=report))
    assert len(made) == 2 and len(told) >= 2
    waited = re.search(r"rank 0 has waited (\d+) s for batch 1", told[0])
    assert waited and int(waited[1]) >= 3 and "asks Ray for 1 x 1 CPU" in told[0]
    assert "Ray has 2 CPUs, 0 of them not booked" in told[0]


def test_without_a_report_it_is_a_warning(ray_session, settings):
    with pytest.warns(RuntimeWarning, match="has waited"):
        next(batches("", settings, 0, 1, patience=0.01))


def test_a_slow_reader_stops_the_workers(ray_session, settings, tmp_path, monkeypatch):
    """A rank's batches fill its part of the object store and no more."""
    large = replace(settings, size=512, reference_count_probabilities=(1.0,), profile="refldm-train")
    store = ray.cluster_resources()["object_store_memory"]
    monkeypatch.setattr(ray_feed, "AHEAD", 40 * 2**20 / store)
    made = batches("", large, 0, 60, steps_per_task=1)  # 6 MiB each
    next(made)
    time.sleep(12)
    one = large.batch * 2 * 512 * 512 * 3
    assert 2 * one < _stored() <= 60 * 2**20 < 59 * one
    assert sum(1 for _ in made) == 59


def _stored() -> float:
    """Bytes in the object store."""
    free = ray.available_resources().get("object_store_memory", 0)
    return ray.cluster_resources()["object_store_memory"] - free
