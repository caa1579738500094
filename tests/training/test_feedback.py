"""Feedback learning, and losses of clips, against numbers worked out by hand and against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from anchorface.models.conditions import Conditions
from anchorface.models.encode import identity_embedding
from anchorface.models.flow import mix, shift_schedule
from anchorface.models.ip_fvr.settings import IPFVRSettings
from anchorface.pipelines.feed.dataset import open_dataset
from anchorface.pipelines.feed.feed import Feed
from anchorface.pipelines.feed.sample import Batch
from anchorface.records import ConfigurationError, derive, rng
from anchorface.training.clips import by_frame
from anchorface.training.networks import Networks, load_networks
from anchorface.training.objective import encode, noise_of, objective, sigma_of
from anchorface.training.objectives.feedback import Feedback, suffix_weights
from anchorface.training.objectives.flow import Flow
from anchorface.training.objectives.identity import Identity
from anchorface.training.objectives.prediction import crop_matrices
from anchorface.training.recipes import Recipe
from tests.training.measuring_rank import moved

pytestmark = pytest.mark.usefixtures("one_thread")

CPU, CLIPS, FRAMES = torch.device("cpu"), 2, 3


@pytest.fixture(scope="module")
def recipe(micro_recipe: Recipe) -> Recipe:
    return replace(micro_recipe, losses=(Flow(),), feed=replace(micro_recipe.feed, batch=CLIPS))


@pytest.fixture(scope="module")
def networks(recipe: Recipe) -> Networks:
    found = load_networks(recipe, CPU)
    moved(found.network)
    return found


@pytest.fixture(scope="module")
def clips(recipe: Recipe, tiny_dataset: str) -> Batch:
    """Two clips of three frames, which are three pictures of anybody, with two references."""
    settings = replace(recipe.fed, batch=CLIPS * FRAMES, reference_count_probabilities=(0.0, 0.0, 1.0))
    pictures = Feed(open_dataset(tiny_dataset), settings).batch(0)
    of_frames = ("target", "degraded", "landmarks", "target_embedding")
    made = {name: array.reshape(CLIPS, FRAMES, *array.shape[1:]) if name in of_frames else array[::FRAMES]
            for name, array in pictures.items()}
    return made | {"position": np.array([6, 7])}


def of_frame(clips: Batch, clip: int, frame: int) -> Batch:
    """One frame as a batch of one picture."""
    row = clip * FRAMES + frame
    return {name: array[row : row + 1] for name, array in by_frame(clips).items()}


def test_a_clip_s_rows_are_its_frames_and_what_it_has_once_stands_in_all_of_them(clips: Batch) -> None:
    rows = by_frame(clips)
    assert rows["target"].shape == (CLIPS * FRAMES, *clips["target"].shape[2:])
    assert (rows["degraded"][4] == clips["degraded"][1, 1]).all()
    assert rows["position"].tolist() == [6, 6, 6, 7, 7, 7]
    assert (rows["references"][5] == clips["references"][1]).all()
    picture = of_frame(clips, 0, 0)
    assert by_frame(picture) is picture


def test_suffix_weights_grow_evenly_and_add_up_to_one() -> None:
    assert suffix_weights(4).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert suffix_weights(1).tolist() == [1.0]
    assert float(suffix_weights(24).sum()) == pytest.approx(1.0)
    assert Feedback(frame_weights="uniform").weights_of(4).tolist() == [0.25] * 4


def test_a_clip_s_loss_is_the_mean_of_its_frames_losses(recipe: Recipe, networks: Networks, clips: Batch) -> None:
    made = replace(recipe, losses=(Flow(), Identity()))
    loss, logged = objective(made, networks, networks.network, clips, CPU)
    assert loss.shape == (CLIPS,) and all(values.shape == (CLIPS,) for values in logged.values())
    for clip in range(CLIPS):
        expected = []
        for frame in range(FRAMES):
            target, given = encode(made, networks, of_frame(clips, clip, frame), CPU)
            seed = derive(derive(made.seed, "noise", 6 + clip), "frame", frame)
            noise = torch.randn(target.shape[1:], generator=torch.Generator().manual_seed(seed))[None]
            sigma = sigma_of(made, np.array([6 + clip]))
            velocity = networks.network(mix(target, noise, sigma), sigma, given)
            expected.append(float((velocity - (noise - target)).detach().square().mean()))
        assert float(logged["flow"][clip]) == pytest.approx(np.mean(expected), rel=1e-4)
        assert float(logged["sigma"][clip]) == pytest.approx(float(sigma))
    assert not logged["identity"].isnan().any()


def test_frames_share_as_much_of_their_noise_as_the_system_says(recipe: Recipe) -> None:
    made = replace(recipe, model=replace(recipe.model, system=IPFVRSettings(identity_dimension=256, shared_noise=0.36)))
    picture, own = (noise_of(which, np.array([6]), (64, 128), frames=count)
                    for which, count in ((made, 1), (recipe, FRAMES)))
    mixed = noise_of(made, np.array([6]), (64, 128), frames=FRAMES)
    torch.testing.assert_close(mixed, 0.6 * picture + 0.8 * own)
    flat = mixed.flatten(1)
    assert float((flat[0] * flat[1]).mean()) == pytest.approx(0.36, abs=0.05)
    assert float(flat.var()) == pytest.approx(1.0, abs=0.05)


def test_noise_is_each_frame_s_own_and_a_picture_s_stays_what_it_was(recipe: Recipe) -> None:
    of_clips = noise_of(recipe, np.array([6, 7]), (4, 8), frames=FRAMES)
    assert len({row.numpy().tobytes() for row in of_clips}) == CLIPS * FRAMES
    assert torch.equal(of_clips[FRAMES:], noise_of(recipe, np.array([7]), (4, 8), frames=FRAMES))
    drawn = torch.randn((4, 8), generator=torch.Generator().manual_seed(derive(recipe.seed, "noise", 6)))
    assert torch.equal(noise_of(recipe, np.array([6]), (4, 8))[0], drawn)


@pytest.mark.parametrize("frame_weights", ["suffix", "uniform"])
def test_the_reward_is_that_of_a_sampling_by_hand(recipe: Recipe, networks: Networks, clips: Batch,
                                                  frame_weights: str) -> None:
    part = Feedback(weight=0.5, frame_weights=frame_weights, steps=4, window=2, fraction=1.0)
    loss, logged = objective(replace(recipe, losses=(part,)), networks, networks.network, clips, CPU)
    _, given = encode(recipe, networks, clips, CPU)
    place = int(rng(recipe.seed, "feedback", 3).integers(2, 4))  # position 6 of two a step: step 3
    side = recipe.model.tokens_per_side
    levels, z = shift_schedule(4, side * side), noise_of(recipe, clips["position"], (side * side, 128), frames=FRAMES)
    with torch.no_grad():
        for number in range(place):
            speed = networks.network(z, levels[number].expand(len(z)), given)
            z = z + (levels[number + 1] - levels[number]) * speed
        estimate = z - levels[place] * networks.network(z, levels[place].expand(len(z)), given)
        images = networks.encoders.autoencoder.decode(estimate, side, side)
        units = identity_embedding(networks.encoders.embedder, images, crop_matrices(by_frame(clips)["landmarks"]))
    assert given.identity is not None
    cosines = (units * given.identity).sum(dim=1).reshape(CLIPS, FRAMES)
    weights = torch.tensor([1 / 6, 2 / 6, 3 / 6] if frame_weights == "suffix" else [1 / 3] * 3)
    expected = (weights * cosines).sum(dim=1)
    assert logged["reward"].numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    assert loss.detach().numpy() == pytest.approx(0.5 * (1 - expected.numpy()), abs=1e-4)


def test_the_gradient_of_the_suffix_weighted_reward_is_that_of_finite_differences(
    recipe: Recipe, networks: Networks, clips: Batch
) -> None:
    """With one step nothing goes before the one with gradient, so the whole reward is what is derived."""
    made = replace(recipe, losses=(Feedback(weight=1.0, steps=1, window=1, fraction=1.0),))
    trained = networks.network.trainable_parameters()

    def loss() -> Tensor:
        return objective(made, networks, networks.network, clips, CPU)[0].double().mean()

    gradients = torch.autograd.grad(loss(), trained, allow_unused=True)
    held = [(parameter, gradient) for parameter, gradient in zip(trained, gradients, strict=True)
            if gradient is not None]
    norm = float(torch.stack([gradient.square().sum() for _, gradient in held]).sum().sqrt())
    assert norm > 0

    def along(step: float) -> float:
        with torch.no_grad():
            for parameter, gradient in held:
                parameter.add_(gradient, alpha=step / norm)
            value = float(loss())
            for parameter, gradient in held:
                parameter.sub_(gradient, alpha=step / norm)
        return value

    step = 1e-3
    assert (along(step) - along(-step)) / (2 * step) == pytest.approx(norm, rel=0.05)


def test_one_pass_of_the_sampling_has_a_gradient_and_all_ranks_ask_alike(recipe: Recipe, networks: Networks,
                                                                         clips: Batch) -> None:
    asked: list[tuple[bool, float]] = []

    def ask(z: Tensor, sigma: Tensor, given: Conditions) -> Tensor:
        asked.append((torch.is_grad_enabled(), float(sigma[0])))
        return networks.network(z, sigma, given)

    made = replace(recipe, losses=(Feedback(steps=5, window=3, fraction=1.0),))
    objective(made, networks, ask, clips, CPU)
    passes, asked = asked[1:], []
    assert [gradient for gradient, _ in passes] == [False] * (len(passes) - 1) + [True]
    assert len(passes) in (3, 4, 5)
    # The other rank's clip, a step that samples nothing, and pictures without references.
    objective(made, networks, ask, {name: array[1:] for name, array in clips.items()}, CPU)
    assert asked[1:] == passes
    half = replace(made, losses=(Feedback(steps=5, window=3, fraction=0.5),))
    found = []
    for position in (4, 6):
        asked = []
        _, logged = objective(half, networks, ask, clips | {"position": np.array([position, position + 1])}, CPU)
        found.append((len(asked) > 1, not logged["reward"].isnan().any()))
    assert found == [(False, False), (True, True)]
    asked = []
    alone = {name: array[:, :0] if name.startswith("reference") else array for name, array in clips.items()}
    loss, logged = objective(made, networks, ask, alone, CPU)
    assert len(asked) == 1 and loss.tolist() == [0.0] * CLIPS and logged["reward"].isnan().all()


def test_who_lost_the_references_is_not_rewarded(recipe: Recipe, networks: Networks, clips: Batch) -> None:
    part = Feedback(steps=1, window=1, fraction=1.0)
    made = replace(recipe, losses=(part,), context_dropout=0.5)
    lost = [bool(rng(made.seed, "dropout", position).random(2)[1] < 0.5) for position in range(40)]
    first = next(place for place in range(0, 38, 2) if lost[place] and not lost[place + 1])
    loss, logged = objective(made, networks, networks.network, clips | {"position": np.array([first, first + 1])}, CPU)
    assert float(loss[0].detach()) == 0.0 and float(loss[1].detach()) > 0.0
    assert logged["reward"].isnan().tolist() == [True, False]


@pytest.mark.parametrize(("wrong", "said"), [
    ({"window": 7, "steps": 6}, r"losses\.feedback\.window 7"), ({"frame_weights": "last"}, "'suffix' or 'uniform'"),
    ({"fraction": 0.0}, r"losses\.feedback\.fraction"),
])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Feedback(**wrong)  # type: ignore[arg-type]
