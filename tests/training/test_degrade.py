"""Degraded on the training's device: near to the feed's own, the same bits again, everywhere the same way."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from anchorface.pipelines.feed.batches import batches, global_digest
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import ConfigurationError
from anchorface.training.degrade import degraded_on
from anchorface.training.forecast import Assumptions, forecast, told
from anchorface.training.networks import Networks, load_networks
from anchorface.training.objective import objective
from anchorface.training.plan import count
from anchorface.training.prefetch import Prefetch
from anchorface.training.preview import fixed_batch, grid, restore
from anchorface.training.recipes import Recipe, recipe
from anchorface.training.validation import Validation
from anchorface.training.validation_settings import ValidationSettings
from tests.degradation.test_batch import BAR, WORST

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
STEPS = 8


@pytest.fixture(scope="module")
def plain(micro_recipe: Recipe, tiny_dataset: str) -> Recipe:
    return replace(micro_recipe, feed=replace(micro_recipe.feed, dataset=tiny_dataset, flip=True),
                   validation=ValidationSettings(every=8, samples=4, sigmas=(0.5,), pictures=1, steps=2))


@pytest.fixture(scope="module")
def on_device(plain: Recipe) -> Recipe:
    return replace(plain, feed=replace(plain.feed, degrade_on_device=True))


@pytest.fixture(scope="module")
def networks(plain: Recipe) -> Networks:
    return load_networks(plain, CPU)


def fed(recipe: Recipe, first: int = 0) -> Iterator[Batch]:
    return batches("", recipe.fed, first, STEPS, engine="inline")


def prefetched(recipe: Recipe, first: int = 0) -> list[dict[str, Any]]:
    return list(Prefetch(fed(recipe, first), CPU))


def test_the_training_makes_what_the_feed_would_have_made_within_the_bound_of_batches(
    plain: Recipe, on_device: Recipe, networks: Networks
) -> None:
    apart = []
    for made, own in zip(prefetched(on_device), fed(plain), strict=True):
        assert made["degraded"].dtype == torch.uint8
        for name in own.keys() - {"degraded", "digest"}:
            np.testing.assert_array_equal(made[name], own[name])
        apart += list(np.abs(made["degraded"].numpy().astype(int) - own["degraded"]).mean(axis=(1, 2, 3)))
        found, _ = objective(on_device, networks, networks.network, made, CPU)
        expected, _ = objective(plain, networks, networks.network, own, CPU)
        assert found.detach().numpy() == pytest.approx(expected.detach().numpy(), rel=0.05)
    assert np.mean(apart) <= BAR and max(apart) <= WORST


def test_a_resumed_run_sees_the_same_bits_and_the_digest_knows_the_plan(plain: Recipe, on_device: Recipe) -> None:
    whole, resumed = prefetched(on_device), prefetched(on_device, STEPS // 2)
    for one, two in zip(whole[STEPS // 2:], resumed, strict=True):
        assert torch.equal(one["degraded"], two["degraded"]) and (one["digest"] == two["digest"]).all()
    assert global_digest(whole) != global_digest(fed(plain))
    other = replace(on_device, feed=replace(on_device.feed, degradation_overrides={"jpeg.quality": [30, 31]}))
    for one, two in zip(whole, fed(other), strict=True):
        np.testing.assert_array_equal(one["target"], two["target"])
        assert (one["digest"] != two["digest"]).all()


def test_validation_and_grids_show_the_same(
    plain: Recipe, on_device: Recipe, networks: Networks, tiny_dataset: str
) -> None:
    values = [Validation(one, networks, tiny_dataset, CPU).measure(networks.network) for one in (plain, on_device)]
    assert values[1]["validation/flow"] == pytest.approx(values[0]["validation/flow"], rel=0.02)
    shown = [fixed_batch(one, tiny_dataset, CPU) for one in (plain, on_device)]
    assert np.abs(shown[0]["degraded"].astype(int) - shown[1]["degraded"]).mean() <= BAR
    pictures, _ = restore(on_device, networks, networks.network, shown[1], CPU)
    assert grid(shown[1], pictures).shape == grid(shown[0], pictures).shape


def test_a_batch_that_is_degraded_already_stays_as_it_is(plain: Recipe) -> None:
    batch = next(fed(plain))
    assert degraded_on(batch, CPU) is batch


@pytest.mark.parametrize(("profile", "said"), [
    ("video_call", "webp"), ("old_print", "scratches"), ("wild", "occlude"), ("messenger", "avif, webp"),
])
def test_profiles_that_leave_the_device_are_refused(profile: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"degrade_on_device: profile '{profile}' asks for .*{said}"):
        recipe("iconface_tiny", **{"feed.profile": profile, "feed.degrade_on_device": True})


def test_it_shapes_the_weights_and_is_off_where_a_checkpoint_does_not_know_it(
    plain: Recipe, on_device: Recipe
) -> None:
    assert plain.digest != on_device.digest
    assert plain.defaults()["feed.degrade_on_device"] is False


def test_a_forecast_spares_the_feeds_cpus_and_says_so(plain: Recipe, on_device: Recipe) -> None:
    found = [forecast(count(one, 0), stage=0) for one in (plain, on_device)]
    assert found[1].feed_cpus < 0.7 * found[0].feed_cpus
    assert "leaves degrading to it" in told(found[1], on_device, Assumptions())
    assert "degrading" not in told(found[0], plain, Assumptions())
