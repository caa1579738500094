"""A loss's embedder that is another network than the anchor's: what it looks at, what is recorded, who may judge."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from anchorface.faces.embed import embedder
from anchorface.faces.likeness import judge_crop
from anchorface.faces.weights import find
from anchorface.models.checkpoint import Description
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.records import ConfigurationError
from anchorface.records.hashes import sha256
from anchorface.training.networks import Networks, base_weights, load_networks
from anchorface.training.objective import encode, objective
from anchorface.training.objectives.hard_example import HardExample
from anchorface.training.objectives.identity import Identity, estimates
from anchorface.training.objectives.prediction import Prediction
from anchorface.training.plan import count
from anchorface.training.recipes import Recipe, recipe
from anchorface.training.validation_settings import ValidationSettings

CPU, NAME = torch.device("cpu"), "mobileface_mit_112"


@pytest.fixture(scope="module")
def sharp(micro_recipe: Recipe, shared_data: Path) -> Recipe:
    """The micro recipe with the public network in its loss, two references each."""
    feed = replace(micro_recipe.feed, reference_count_probabilities=(0.0, 0.0, 1.0))
    return replace(micro_recipe, feed=feed, losses=(Identity(), HardExample()), loss_embedder=NAME)


@pytest.fixture(scope="module")
def networks(sharp: Recipe) -> Networks:
    return load_networks(sharp, CPU)


def test_the_loss_compares_its_own_embeddings_of_estimate_target_and_references(
    sharp: Recipe, networks: Networks, tiny_dataset: str
) -> None:
    feed = Feed(open_dataset(tiny_dataset), sharp.fed)
    batch, samples = feed.batch(0), [feed.sample(position) for position in range(4)]
    target, given = encode(sharp, networks, batch, CPU)
    still = torch.zeros(len(target))  # at sigma 0 the estimate is the noisy picture, and that the clean one
    prediction = Prediction(velocity=torch.zeros_like(target), clean=target, noise=target, noisy=target, sigma=still,
                            encoders=networks.encoders, loss_embedder=networks.loss_embedder,
                            side=sharp.model.tokens_per_side)
    found = estimates(given, prediction, batch, 1.0)
    assert found is not None and found.found.shape == found.reference.shape == found.truth.shape == (4, 256)
    public = embedder(NAME)
    truth = public.embed(np.stack([judge_crop(one.target, one.target_landmarks) for one in samples]))[0]
    # Drawn bilinearly here and bicubically there, at 32 px.
    assert ((found.truth.numpy() * truth).sum(axis=1) > 0.9).all()
    for row, one in enumerate(samples):
        crops = [judge_crop(*pair) for pair in zip(one.references, one.reference_landmarks, strict=True)]
        weights = np.linalg.norm(one.reference_embeddings, axis=1)
        mean = (public.embed(np.stack(crops))[0] * (weights / weights.sum())[:, None]).sum(axis=0)
        assert found.reference[row].numpy() @ mean / np.linalg.norm(mean) > 0.9
    assert not found.reference.requires_grad and not found.truth.requires_grad


def test_its_gradient_reaches_the_adapters_and_not_the_frozen_networks(
    sharp: Recipe, networks: Networks, tiny_dataset: str
) -> None:
    batch = Feed(open_dataset(tiny_dataset), sharp.fed).batch(0)
    loss, logged = objective(sharp, networks, networks.network, batch, CPU)
    networks.network.zero_grad()
    loss.mean().backward()
    gradients = [p.grad for p in networks.network.trainable_parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) for g in gradients) > 0
    assert not logged["identity"].isnan().any() and not logged["hard_example"].isnan().any()
    own, _ = objective(replace(sharp, loss_embedder=""), replace(networks, loss_embedder=None), networks.network, batch,
                       CPU)
    assert not torch.isclose(loss, own).any()
    assert networks.loss_embedder is not None
    assert all(parameter.grad is None for parameter in networks.loss_embedder.parameters())


@pytest.mark.parametrize(("changes", "said"), [
    ({"loss_embedder": "mobileface_mit"}, f"did you mean {NAME}"),
    ({"loss_embedder": "adaface_small"}, "anchor's own embedder: leave it empty"),
    ({"loss_embedder": NAME, "latents": "dataset"}, "leave latents empty"),
    ({"loss_embedder": "judge_small"}, "judge 'judge_small' is a network in anchor or loss"),
])
def test_what_it_cannot_be_is_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        recipe("iconface_tiny", **changes)


def test_it_stands_in_the_checkpoint_and_in_the_plan(sharp: Recipe, networks: Networks) -> None:
    assert base_weights(sharp)["loss_embedder"].sha256 == sha256(find(NAME))
    said = Description(model=sharp.model, weights=base_weights(sharp), embedder=sharp.embedder)
    assert said.embedders == sharp.embedders == ("adaface_small", NAME)
    plain = replace(sharp, loss_embedder="")
    assert "loss_embedder" not in base_weights(plain) and plain.embedders == ("adaface_small",)
    with_it, without = count(sharp, references=2), count(plain, references=2)
    assert networks.loss_embedder is not None
    assert with_it.others - without.others == sum(p.numel() for p in networks.loss_embedder.parameters())
    crop = torch.zeros(1, 3, 112, 112)
    with FlopCounterMode(display=False) as counter:
        networks.loss_embedder(crop)
    look = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        networks.encoders.embedder(crop)
    # The estimate there and back, and the target and two references there, in place of the estimate there and back.
    extra = with_it.training - without.training + 2 * counter.get_total_flops()
    assert extra == pytest.approx(5 * look, rel=0.03)


def test_a_recipe_of_photographs_takes_one_public_network_for_the_loss_and_the_other_to_judge() -> None:
    made = recipe("iconface_tiny", loss_embedder=NAME, **{"validation.judge": "mobilefacenet_y1_ms1m_112"})
    assert made.validation == replace(ValidationSettings(every=2048), judge="mobilefacenet_y1_ms1m_112")
    assert made.shaping()["loss_embedder"] == NAME and made.defaults()["loss_embedder"] == ""
