"""A run planned on fake tensors costs what a real one costs."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from anchorface.cli.app import app
from anchorface.faces.face_encoder import SHAPES, FaceEncoder
from anchorface.models.backbone import TextMemory, build_backbone
from anchorface.models.build import build
from anchorface.models.conditions import Conditions, FaceTokens
from anchorface.records import ConfigurationError
from anchorface.records.attributes import ATTRIBUTES
from anchorface.training.buckets import LIVE, MOST, bucket_size, live_size
from anchorface.training.execution import Execution
from anchorface.training.plan import ATTENTION, Counted, count, memory, share_of
from anchorface.training.recipes import recipe


@pytest.mark.parametrize(("name", "references"), [("iconface_tiny", 0), ("iconface_tiny", 2), ("rg_ipfr_tiny", 2),
                                                    ("ip_fvr_tiny", 1)])
def test_the_plan_of_the_tiny_twin_is_what_a_real_step_keeps_and_computes(name: str, references: int) -> None:
    made = recipe(name, precision="fp32")
    planned, settings = count(made, references), made.model
    network = build(settings.system, build_backbone(settings.backbone))
    side, frames = settings.tokens_per_side, made.feed.frames
    scene, degraded, *shown = torch.randn(2 + references, frames, side * side, settings.backbone.in_channels)
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept.setdefault(place, tensor)
        return tensor

    watched = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    identity = torch.randn(frames, settings.system.identity_dimension)
    face = FaceTokens(whole=identity, tokens=torch.randn(frames, *settings.system.face_shape))
    known = torch.rand(frames, len(ATTRIBUTES)) if settings.system.hears_attributes else None
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter, watched:
        network(scene, torch.rand(frames), Conditions(
            text=TextMemory.fixed(settings.backbone)(frames), degraded=degraded, references=tuple(shown),
            identity=identity, faces=(face,) * references, attributes=known, frames=frames))
    assert counter.get_total_flops() == planned.forward
    really = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert planned.activations == pytest.approx(really, rel=0.02)
    assert planned.adapters == sum(p.numel() for p in network.trainable_parameters())
    assert planned.backbone + planned.adapters == sum(p.numel() for p in network.parameters())


FRUGAL = Execution(micro_batch=1, checkpointing=True)


@cache
def klein(references: int, execution: Execution = FRUGAL) -> Counted:
    """The plan of the 4 B model; counting it takes seconds."""
    return count(recipe("iconface", **{"feed.batch": 64}), references, execution)


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
    assert {each.average for each in stages} == {-(-adapters // 8)}, "in shards at every stage"
    assert {each.bucket for each in stages} == {adapters} and adapters < 4 * MOST, "no larger than what is trained"
    whole = 2 * counted.backbone + adapters
    assert [each.gathered for each in stages[:3]] == [0, 0, 0]
    assert stages[3].gathered == pytest.approx(whole * LIVE / (counted.backbone + counted.adapters), abs=1)
    assert memory(counted, gpus=1, stage=3).gathered == 0
    alone = replace(FRUGAL, checkpointing=False)
    assert memory(klein(3, alone)).activations > 5 * stages[0].activations
    assert klein(0).identity == 0 < counted.identity, "without references nobody decodes"


def test_buckets_hold_what_is_trained_and_no_more_than_deepspeed_would_give_them() -> None:
    assert [bucket_size(adapters) for adapters in (0, 7, 136_000_000, 4_000_000_000)] == [1, 7, 136_000_000, MOST]
    assert (live_size(10), live_size(4_000_000_000)) == (10, LIVE)


def test_the_busiest_rank_decides() -> None:
    counted = replace(count(recipe("iconface_tiny"), 1), execution=Execution(micro_batch=3))
    found = {gpus: (share.samples, share.micro, share.passes)
             for gpus in (1, 3, 5, 16) for share in (share_of(counted, gpus),)}
    assert found == {1: (16, 3, 6), 3: (6, 3, 2), 5: (4, 3, 2), 16: (1, 1, 1)}
    assert memory(counted, gpus=16).activations * 3 == memory(counted, gpus=5).activations


def test_a_face_encoder_is_counted_with_the_references_that_it_reads() -> None:
    made = recipe("rg_ipfr_tiny", precision="fp32")
    identity_alone = recipe("rg_ipfr_tiny", precision="fp32", face_encoder="", **{"model.system.context": "identity"})
    more = count(made, 1).others - count(identity_alone, 1).others
    assert more == sum(p.numel() for p in FaceEncoder(SHAPES["small"]).parameters())
    encoded = [count(each, 1).training - count(each, 1).forward for each in (made, identity_alone)]
    assert encoded[0] > encoded[1]


def test_a_clip_costs_its_frames_and_feedback_what_it_samples_and_decodes_again() -> None:
    def planned(frames: int, share: float = 0.0) -> Counted:
        return count(recipe("ip_fvr_tiny", precision="fp32", **{
            "feed.frames": frames, "losses.feedback.weight": float(share > 0),
            "losses.feedback.fraction": share or 1.0, "losses.feedback.steps": 6, "losses.feedback.window": 3}), 1)

    two, four, fed_back, often = planned(2), planned(4), planned(4, 0.5), planned(4, 1.0)
    assert four.activations == pytest.approx(2 * two.activations, rel=0.05) and four.identity == 2 * two.identity
    assert 1.8 < four.training / two.training < 2.1, "references are encoded once a clip, attention over frames grows"
    assert (four.asked, fed_back.asked, fed_back.identity) == (1, 2, 2 * four.identity)
    assert often.training - four.training == pytest.approx(2 * (fed_back.training - four.training), rel=1e-6)
    assert often.training - four.training > (4 + 3) * four.forward - 1, "four steps in the mean, and one with gradient"
    assert memory(fed_back).activations == 4 * 2 * (four.activations + four.identity), "four clips at once"


def test_impossible_plans_are_refused() -> None:
    counted = count(recipe("iconface_tiny"), 1)
    for wrong in ({"stage": 4}, {"gpus": 0}, {"gpus": 17}):
        with pytest.raises(ConfigurationError):
            memory(counted, **wrong)
    with pytest.raises(ConfigurationError, match="none or more"):
        count(recipe("iconface_tiny"), -1)


def test_the_command_prints_every_stage_and_refuses_what_train_would() -> None:
    answer = CliRunner().invoke(app, ["plan", "--recipe", "iconface_tiny", "--gpus", "1,8,64", "--references", "0"])
    assert answer.exit_code == 0, answer.output
    said = " ".join(answer.output.split())
    assert answer.output.count(" 3 ") >= 2 and "8 GPUs: stage" in said and "samples a second" in said
    assert "64 GPUs: refused, feed.batch 16 has only 16 samples; --set feed.batch=64" in said
    for wrong in (["--gpus", "one"], ["--rate", "nan"], ["--efficiency", "0"], ["--bandwidth", "-1"]):
        refused = CliRunner().invoke(app, ["plan", "--recipe", "iconface_tiny", *wrong])
        assert refused.exit_code != 0 and "s/step" not in refused.output
