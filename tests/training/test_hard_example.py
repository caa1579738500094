"""The hard-example identity loss and the dropout of conditions, against numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from anchorface.models.encode import identity_embedding
from anchorface.models.pixels import levels_to_tensor
from anchorface.models.rg_ipfr.settings import RGIPFRSettings
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import ConfigurationError
from anchorface.training.networks import Networks, load_networks
from anchorface.training.objective import dropped, encode, objective
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.hard_example import HardExample, hard_example_loss, signal_weight
from anchorface.training.objectives.identity import Identity
from anchorface.training.objectives.prediction import crop_matrices
from anchorface.training.recipes import Recipe, recipe

CPU = torch.device("cpu")


def test_the_loss_mixes_target_and_reference_by_lambda() -> None:
    x, y, between = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.6, 0.8]])
    for share, expected in ((0.0, 0.2), (0.5, 0.5 * 0.2 + 0.5 * 0.4), (1.0, 0.4)):
        assert hard_example_loss(between, x, y, torch.tensor([share])).item() == pytest.approx(expected)
    # At the target itself its own term is at rest; the reference still pulls.
    estimate = y.clone().requires_grad_()
    hard_example_loss(estimate, x, y, torch.tensor([0.0])).sum().backward()
    assert estimate.grad is not None and not estimate.grad.any()
    hard_example_loss(estimate, x, y, torch.tensor([0.5])).sum().backward()
    assert estimate.grad.tolist() == [[-0.5, 0.0]]


def test_the_factor_is_that_of_a_diffusion_with_the_same_signal_to_noise() -> None:
    for alpha_bar in (0.999, 0.5, 0.1, 1e-4):
        ratio = (alpha_bar / (1 - alpha_bar)) ** 0.5  # of signal to noise; the flow's is (1 - sigma) / sigma
        sigma = torch.tensor([1 / (1 + ratio)], dtype=torch.float64)
        assert signal_weight(sigma).item() == pytest.approx(alpha_bar**0.5)
    assert signal_weight(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([1.0, 0.5**0.5, 0.0])


def test_lambda_follows_the_position() -> None:
    part = HardExample(share=0.8, share_at_start=0.2, ramp=100)
    assert part.share_at(np.array([0, 50, 100, 900])).tolist() == pytest.approx([0.2, 0.5, 0.8, 0.8])
    assert HardExample(share=0.3).share_at(np.array([0, 7])).tolist() == [0.3, 0.3]
    for wrong in ({"share": 1.1}, {"ramp": -1}, {"fraction": 0.0}, {"weight": -1.0}):
        with pytest.raises(ConfigurationError, match=rf"losses\.hard_example\.{next(iter(wrong))}"):
            HardExample(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(micro_recipe: Recipe) -> Recipe:
    """The micro recipe as RG-IPFR, its context the identity token."""
    system = RGIPFRSettings(identity_dimension=256, context="identity", context_rank=4, context_query_rank=4,
                            context_heads=2, lora_rank=4, identity_anchor=True)
    return replace(micro_recipe, model=replace(micro_recipe.model, system=system), input_dropout=0.3,
                   context_dropout=0.4, losses=(Flow(weight=1.0), HardExample(share=0.25)))


@pytest.fixture(scope="module")
def networks(made: Recipe) -> Networks:
    return load_networks(made, CPU)


@pytest.fixture(scope="module")
def batch(tiny_dataset: str, made: Recipe) -> Batch:
    """Four samples of one reference, of which some lose something."""
    feed = Feed(open_dataset(tiny_dataset), replace(made.fed, reference_count_probabilities=(0.0, 1.0)))
    for number in range(20):
        found = feed.batch(number)
        degraded, references = dropped(made, found["position"])
        if degraded.any() and (references & ~degraded).any() and not references.all():
            return found
    raise AssertionError("no batch with all three kinds of samples")


def test_a_sample_without_its_picture_is_without_its_reference(made: Recipe) -> None:
    positions = np.arange(4000)
    degraded, references = dropped(made, positions)
    assert float(degraded.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(references.float().mean()) == pytest.approx(0.3 + 0.7 * 0.4, abs=0.03)
    assert not (degraded & ~references).any()
    assert torch.equal(dropped(made, positions[7:9])[1], references[7:9])


def test_training_shows_what_the_positions_say_and_leaves_the_identity_of_the_dropped_alone(
    made: Recipe, networks: Networks, batch: Batch
) -> None:
    seen = []

    def watched(z: torch.Tensor, sigma: torch.Tensor, given: object) -> torch.Tensor:
        seen.append(given)
        return networks.network(z, sigma, given)

    loss, logged = objective(made, networks, watched, batch, CPU)
    _, whole = encode(made, networks, batch, CPU)
    degraded, references = dropped(made, batch["position"])
    given = seen[0]
    own = identity_embedding(networks.encoders.embedder, levels_to_tensor(batch["degraded"]),
                             crop_matrices(batch["landmarks"]))
    assert torch.equal(given.heard, ~references)
    assert not given.degraded[degraded].any() and torch.equal(given.degraded[~degraded], whole.degraded[~degraded])
    alone = references & ~degraded
    assert torch.allclose(given.identity[alone], own[alone], atol=1e-5)
    assert torch.equal(logged["hard_example"].isnan(), references)
    expected = logged["flow"] + 0.1 * signal_weight(logged["sigma"]) * logged["hard_example"].nan_to_num()
    assert torch.allclose(loss.detach(), expected, atol=1e-5)


def test_without_dropout_nothing_is_marked_and_the_loss_is_the_objectives_sum(
    made: Recipe, networks: Networks, batch: Batch, micro_recipe: Recipe
) -> None:
    plain = replace(made, input_dropout=0.0, context_dropout=0.0)
    _, hard = objective(plain, networks, networks.network, batch, CPU)
    both = replace(plain, losses=(Identity(hard=0.0), HardExample(share=1.0)))
    _, other = objective(both, networks, networks.network, batch, CPU)
    assert not hard["hard_example"].isnan().any()
    # With one reference the anchor is that reference: lambda 1 is IConFace's loss without its own hard part.
    assert torch.allclose(other["hard_example"], other["identity"], atol=1e-5)


SETTINGS = {"positions": 32, "feed.batch": 4}


@pytest.mark.parametrize(("name", "overrides", "why"), [
    ("iconface_tiny", {"face_encoder": "face_encoder_small"}, "reads none, leave it empty"),
    ("rg_ipfr_tiny", {"face_encoder": ""}, "name one"),
    ("rg_ipfr_tiny", {"face_encoder": "adaface_small"}, "no network that training knows as such"),
    ("rg_ipfr_tiny", {"latents": "dataset"}, "needs them; leave latents empty"),
    ("rg_ipfr_tiny", {"input_dropout": 1.5}, "input_dropout is 1.5"),
])
def test_recipes_that_do_not_fit_are_refused(name: str, overrides: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        recipe(name, **SETTINGS, **overrides)


def test_a_face_encoder_of_other_tokens_is_refused(micro_recipe: Recipe) -> None:
    system = RGIPFRSettings(identity_dimension=256, face_tokens=9, face_width=128)
    other = replace(micro_recipe, model=replace(micro_recipe.model, system=system), face_encoder="face_encoder_small")
    with pytest.raises(ConfigurationError, match=r"65 tokens of 128 numbers; set .* \(9, 128\)"):
        load_networks(other, CPU)
