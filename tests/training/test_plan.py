"""A run planned on fake tensors costs what a real one costs."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from anchorface.cli.app import app
from anchorface.models.backbone import TextMemory, build_backbone
from anchorface.models.build import build
from anchorface.models.conditions import Conditions
from anchorface.records import ConfigurationError
from anchorface.training.execution import Execution
from anchorface.training.plan import ATTENTION, Counted, count, memory, samples_per_second
from anchorface.training.recipes import recipe


@pytest.mark.parametrize("references", [0, 2])
def test_the_plan_of_the_tiny_twin_is_what_a_real_step_keeps_and_computes(references: int) -> None:
    made = recipe("iconface_tiny", precision="fp32")
    planned, settings = count(made, references), made.model
    network = build(settings.system, build_backbone(settings.backbone))
    side = settings.tokens_per_side
    scene, degraded, *shown = torch.randn(2 + references, 1, side * side, settings.backbone.in_channels)
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept.setdefault(place, tensor)
        return tensor

    watched = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter, watched:
        network(scene, torch.rand(1), Conditions(
            text=TextMemory.fixed(settings.backbone)(1), degraded=degraded, references=tuple(shown),
            identity=torch.randn(1, settings.system.identity_dimension)))
    assert counter.get_total_flops() == planned.forward
    really = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert planned.activations == pytest.approx(really, rel=0.02)
    assert planned.adapters == sum(p.numel() for p in network.trainable_parameters())
    assert planned.backbone + planned.adapters == sum(p.numel() for p in network.parameters())


FRUGAL = Execution(micro_batch=1, checkpointing=True)


@cache
def klein(references: int, execution: Execution = FRUGAL) -> Counted:
    """The plan of the 4 B model; counting it takes seconds."""
    return count(recipe("iconface"), references, execution)


def test_four_billion_parameters_are_planned_without_being_held() -> None:
    without, three = klein(0), klein(3)
    assert without.backbone / 1e9 == pytest.approx(3.876, abs=1e-3)
    # Every token of the image stream meets the image halves of 5 double blocks and all of 20 single ones.
    width, tokens, words = 3072, 5 * 1024, 512
    double, single = 4 * width**2 + 9 * width**2, (3 + 6) * width**2 + 4 * width**2
    linear = 2 * ((tokens + words) * (20 * single + 5 * double))
    attention = 4 * (tokens + words) ** 2 * width * 25
    assert three.forward == pytest.approx(linear + attention, rel=0.05)
    assert three.training > 3 * three.forward and without.training < three.training


def test_stages_shard_what_they_say() -> None:
    counted = klein(3)
    stages = [memory(counted, gpus=8, stage=stage) for stage in range(4)]
    adapters = counted.adapters * 4
    assert stages[0].moments == 2 * adapters and stages[1].moments == pytest.approx(2 * adapters / 8, abs=1)
    assert stages[1].gradients == adapters and stages[2].gradients == pytest.approx(adapters / 8, abs=1)
    assert stages[2].backbone == 2 * counted.backbone
    assert stages[3].backbone == pytest.approx(counted.backbone / 4, abs=1)
    assert stages[0].total > stages[1].total > stages[2].total > stages[3].total
    alone = replace(FRUGAL, checkpointing=False)
    assert memory(klein(3, alone)).activations > 5 * stages[0].activations
    assert klein(0).identity == 0 < counted.identity, "without references nobody decodes"
    assert samples_per_second(counted, gpus=64, rate=1e15) == pytest.approx(
        64 * samples_per_second(counted, rate=1e15))


def test_impossible_plans_are_refused() -> None:
    counted = count(recipe("iconface_tiny"), 1)
    for wrong in ({"stage": 4}, {"gpus": 0}):
        with pytest.raises(ConfigurationError):
            memory(counted, **wrong)
    with pytest.raises(ConfigurationError, match="none or more"):
        count(recipe("iconface_tiny"), -1)


def test_the_command_prints_every_stage() -> None:
    answer = CliRunner().invoke(app, ["plan", "--recipe", "iconface_tiny", "--gpus", "1,8", "--references", "0"])
    assert answer.exit_code == 0, answer.output
    assert answer.output.count(" 3 ") >= 2 and "a second" in answer.output
    wrong = CliRunner().invoke(app, ["plan", "--gpus", "one"])
    assert wrong.exit_code != 0
