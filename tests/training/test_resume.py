"""A run goes on at any size: the same bits where it is carried out alike, near them where not, no position lost."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anchorface.models.checkpoint import read_description
from anchorface.models.weights import load
from anchorface.training.checkpoints.layout import folder_of, latest
from anchorface.training.networks import load_networks
from anchorface.training.recipes import Recipe
from tests.forked import Forked, finished
from tests.training.plain_loop import write_plain
from tests.training.ranks import job_of, only_checkpoint, run_ranks, same_bits, weights

pytestmark = pytest.mark.line
HALF, WHOLE = 4, 8
STAGES = (0, 1, 2, 3)
FULL, BF16 = "full", "bf16"


@pytest.fixture(scope="module")
def recipe(micro_recipe: Recipe) -> Recipe:
    return replace(micro_recipe, checkpoint_every=HALF * micro_recipe.feed.batch, log_every=8)


def full(recipe: Recipe) -> Recipe:
    """The same with the backbone's own weights trained as well; they start near where they were."""
    system = replace(recipe.model.system, full=True)
    return replace(recipe, model=replace(recipe.model, system=system), learning_rate=1e-3)


def quarters(recipe: Recipe) -> Recipe:
    """The same with a checkpoint at every quarter."""
    return replace(recipe, checkpoint_every=2 * recipe.feed.batch, checkpoints_kept=9)


@pytest.fixture(scope="module")
def staged(recipe: Recipe, tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At every stage eight steps of two ranks in one go (`2-STAGE`), and four that go on from the other's fourth
    (`2-STAGE-resumed`); and a run to go on from with other ranks (`begun`)."""
    folder = tmp_path_factory.mktemp("staged")
    every = replace(recipe, checkpoint_every=recipe.feed.batch, checkpoints_kept=WHOLE)
    ways: dict[object, tuple[Recipe, int]] = {stage: (every if stage == 3 else recipe, stage) for stage in STAGES}
    ways |= {FULL: (full(every), 3), BF16: (replace(recipe, precision="bf16"), 2)}
    run_ranks([*(job_of(made, tiny_dataset, folder / f"2-{way}", 2, zero_stage=stage)
                 for way, (made, stage) in ways.items()),
               job_of(quarters(recipe), tiny_dataset, folder / "begun", 2, zero_stage=3)], 2, folder / "whole")
    run_ranks([job_of(made, tiny_dataset, only_checkpoint(folder / f"2-{way}", HALF, folder / f"2-{way}-resumed"), 2,
                      zero_stage=stage) for way, (made, stage) in ways.items()], 2, folder / "resumed")
    return folder


def last(folder: Path) -> str:
    found = latest(str(folder))
    assert found is not None
    return found


@pytest.mark.parametrize("way", [*STAGES, FULL, BF16])
def test_half_and_half_are_the_whole_bit_for_bit(staged: Path, way: object) -> None:
    whole, resumed = last(staged / f"2-{way}"), last(staged / f"2-{way}-resumed")
    assert read_description(whole).digest == read_description(resumed).digest
    assert same_bits(whole, resumed)
    assert "branches" not in read_description(whole).extra
    assert read_description(resumed).extra["branches"] == []


@pytest.fixture(scope="module")
def plain(recipe: Recipe, tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory,
          ) -> dict[object, dict[str, dict[str, torch.Tensor]]]:
    """What the plain loop ends with, in processes of its own as the ranks' are: in one that has run other tests, some
    of which have had DeepSpeed in them, it ended 2.4e-5 away."""
    folder = tmp_path_factory.mktemp("plain")
    made = {3: recipe, FULL: full(recipe)}
    finished([Forked(folder / f"{way}.log", write_plain, each, tiny_dataset, 2, folder / f"{way}.safetensors")
              for way, each in made.items()], 400)
    found: dict[object, dict[str, dict[str, torch.Tensor]]] = {way: {"adapter": {}, "ema": {}} for way in made}
    for way, kinds in found.items():
        for key, tensor in load(folder / f"{way}.safetensors")[0].items():
            kind, _, name = key.partition("/")
            kinds[kind][name] = tensor
    return found


def distance(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    return max(float((tensor - found[name]).abs().max()) for name, tensor in expected.items())


def length(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum(float((tensor - other[name]).double().square().sum()) for name, tensor in one.items()) ** 0.5


def test_stages_0_to_2_give_the_weights_and_averages_of_a_plain_loop(
    staged: Path, plain: dict[object, dict[str, dict[str, torch.Tensor]]]
) -> None:
    for stage in (0, 1, 2):
        found = weights(last(staged / f"2-{stage}"))
        for kind, tensors in plain[3].items():
            assert distance(tensors, found[kind]) < 1e-6, (stage, kind)


@pytest.mark.parametrize("way", [3, FULL])
def test_stage_3_averages_what_it_trains_and_stays_near_a_plain_loop(
    staged: Path, recipe: Recipe, plain: dict[object, dict[str, dict[str, torch.Tensor]]], way: object
) -> None:
    """At stage 3 weights stand elsewhere in memory, and a few products of matrices round otherwise (1e-8 of a
    gradient). Adam makes whole steps of such bits where a gradient is nearly zero, so the two loops part, by how much
    depends on the processor: at most 2.2e-5 in a weight with AVX2, 2.4e-3 with AVX-512, a three-hundredth of the way
    that the weights went. Averages are still those of a plain average over the run's own weights."""
    made, folder = full(recipe) if way == FULL else recipe, staged / f"2-{way}"
    start = load_networks(made, torch.device("cpu")).network.adapter_state()
    average = {name: tensor.clone() for name, tensor in start.items()}
    for step in range(1, WHOLE + 1):
        clock = step * recipe.feed.batch
        decay = 0.5 ** (recipe.feed.batch / min(recipe.ema_half_life, 0.1 * clock))
        for name, tensor in weights(folder_of(str(folder), step))["adapter"].items():
            average[name].mul_(decay).add_(tensor, alpha=1.0 - decay)
    found = weights(last(folder))
    assert distance(average, found["ema"]) < 1e-6
    apart, went = length(plain[way]["ema"], found["ema"]), length(plain[way]["ema"], start)
    print(f"{way}: {distance(plain[way]['ema'], found['ema']):.1e} from the plain loop, {apart / went:.1e} of the way")
    assert apart < 0.02 * went


def test_a_run_goes_on_with_other_workers_stages_and_pieces(staged: Path, recipe: Recipe, tiny_dataset: str) -> None:
    """Two ranks at stage 3, then one at stage 1, then three at stage 2, whose shares of four samples are uneven."""
    often, begun = quarters(recipe), staged / "begun"
    one = only_checkpoint(begun, 2, staged / "one")
    run_ranks([job_of(often, tiny_dataset, one, 1, zero_stage=1, micro_batch=1)], 1, staged / "alone")
    three = only_checkpoint(one, 4, staged / "three")
    run_ranks([job_of(often, tiny_dataset, three, 3, zero_stage=2)], 3, staged / "three-ranks")
    expected, found = read_description(last(begun)), read_description(last(three))
    assert found.digest == expected.digest
    changed = [branch["changed"] for branch in found.extra["branches"]]
    assert [(each["workers"], each["zero_stage"]) for each in changed] == [([2, 1], [3, 1]), ([1, 3], [1, 2])]
    whole, resumed = weights(last(begun))["ema"], weights(last(three))["ema"]
    start = load_networks(recipe, torch.device("cpu")).network.adapter_state()
    apart, went = length(whole, resumed), length(whole, start)
    print(f"{distance(whole, resumed):.1e} from the undisturbed run, {apart / went:.1e} of the way")
    assert apart < 0.02 * went
