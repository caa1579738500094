"""What a sample's loss depends on: its position and its batch's bytes, not on who computes it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from anchorface.models.conditions import Conditions
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import ConfigurationError
from anchorface.training.networks import Networks, load_networks
from anchorface.training.objective import encode, noise_of, objective, sigma_of
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.identity import Identity
from anchorface.training.recipes import Recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batch_with(tiny_dataset: str, micro_recipe: Recipe) -> Callable[[int], Batch]:
    """A batch with a wanted number of references."""
    dataset = open_dataset(tiny_dataset)

    def make(count: int) -> Batch:
        shares = tuple(float(n == count) for n in range(4))
        return Feed(dataset, replace(micro_recipe.fed, reference_count_probabilities=shares)).batch(0)

    return make


@pytest.fixture(scope="module")
def networks(micro_recipe: Recipe) -> Networks:
    return load_networks(micro_recipe, CPU)


def test_noise_and_sigma_belong_to_the_position(micro_recipe: Recipe) -> None:
    together, alone = np.arange(8), np.array([5])
    assert torch.equal(noise_of(micro_recipe, together, (4, 128))[5:6], noise_of(micro_recipe, alone, (4, 128)))
    assert torch.equal(sigma_of(micro_recipe, together)[5:6], sigma_of(micro_recipe, alone))
    assert len(set(sigma_of(micro_recipe, together).tolist())) == 8


def test_a_fresh_backbone_is_of_the_recipe_s_type_and_its_adapters_are_not(micro_recipe: Recipe) -> None:
    network = load_networks(replace(micro_recipe, base_precision="bf16"), CPU).network
    assert {parameter.dtype for parameter in network.parameters() if not parameter.requires_grad} == {torch.bfloat16}
    assert {parameter.dtype for parameter in network.trainable_parameters()} == {torch.float32}


def test_a_share_of_a_batch_gives_the_losses_of_its_samples(
    micro_recipe: Recipe, networks: Networks, batch_with: Callable[[int], Batch]
) -> None:
    recipe, batch = replace(micro_recipe, precision="fp32"), batch_with(2)
    whole, _ = objective(recipe, networks, networks.network, batch, CPU)
    half, _ = objective(recipe, networks, networks.network, {k: v[2:] for k, v in batch.items()}, CPU)
    assert half.detach().numpy() == pytest.approx(whole[2:].detach().numpy(), rel=1e-4)


def test_a_share_of_the_batches_knows_its_references_by_the_anchor_alone(
    micro_recipe: Recipe, networks: Networks, batch_with: Callable[[int], Batch]
) -> None:
    recipe, batch, size = replace(micro_recipe, anchor_alone=0.3), batch_with(2), micro_recipe.feed.batch
    alone, whole = [], encode(micro_recipe, networks, batch, CPU)[1]
    for step in range(60):
        seen: list[Conditions] = []

        def watched(z: torch.Tensor, sigma: torch.Tensor, given: Conditions,
                    seen: list[Conditions] = seen) -> torch.Tensor:
            seen.append(given)
            return torch.zeros_like(z)

        for rank in (slice(0, 2), slice(2, 4)):  # all ranks take the same step
            part = {name: array[rank] for name, array in batch.items()}
            objective(replace(recipe, losses=(Flow(),)), networks, watched,
                      part | {"position": np.arange(step * size, (step + 1) * size)[rank]}, CPU)
        assert torch.equal(torch.cat([given.identity for given in seen]), whole.identity)
        assert len(seen[0].references) == len(seen[1].references) in (0, 2)
        alone.append(not seen[0].references)
    assert np.mean(alone) == pytest.approx(0.3, abs=0.15)
    always = replace(recipe, anchor_alone=1.0, losses=(Identity(),))
    _, logged = objective(always, networks, networks.network, batch, CPU)
    assert not logged["identity"].isnan().any(), "the anchor learns whom it must name"
    without = replace(micro_recipe.model, system=replace(micro_recipe.model.system, identity_anchor=False))
    with pytest.raises(ConfigurationError, match=r"anchor_alone 0\.3: this system has no identity anchor"):
        replace(recipe, model=without)


def test_without_references_there_is_no_identity_part(
    micro_recipe: Recipe, networks: Networks, batch_with: Callable[[int], Batch]
) -> None:
    batch = batch_with(0)
    _, given = encode(micro_recipe, networks, batch, CPU)
    assert given.references == ()
    assert given.identity is not None and given.identity.norm(dim=1).numpy() == pytest.approx(np.ones(4), abs=1e-2)
    loss, logged = objective(micro_recipe, networks, networks.network, batch, CPU)
    assert logged["identity"].isnan().all()
    assert loss.detach().numpy() == pytest.approx(0.75 * logged["flow"].numpy(), rel=1e-5)


def test_the_identity_loss_reaches_the_adapters_through_decoder_and_embedder(
    micro_recipe: Recipe, networks: Networks, batch_with: Callable[[int], Batch]
) -> None:
    recipe = replace(micro_recipe, losses=(Identity(),))
    loss, logged = objective(recipe, networks, networks.network, batch_with(3), CPU)
    networks.network.zero_grad()
    loss.mean().backward()
    gradients = [p.grad for p in networks.network.trainable_parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) for g in gradients) > 0
    assert not logged["identity"].isnan().any()
    frozen = [*networks.encoders.embedder.parameters(), *networks.encoders.autoencoder.parameters()]
    assert all(parameter.grad is None for parameter in frozen)
