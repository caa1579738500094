"""IConFace beside its backbone."""

import copy
from dataclasses import replace

import pytest
import torch
from small import (
    BACKBONE,
    BATCH,
    PATHWAYS,
    TEXT,
    TOKENS,
    ask,
    backbone_with_random_weights,
    fresh,
    inputs,
    stirred,
)

from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory, build_backbone, velocity
from anchorface.models.conditions import Conditions
from anchorface.models.configuration import klein_4b, tiny
from anchorface.models.flow import shift_schedule
from anchorface.models.iconface.identity_anchor import IdentityAnchor
from anchorface.models.iconface.network import IConFace
from anchorface.models.iconface.structure_anchor import resize, smooth
from anchorface.models.sampler import initial_noise, sample


def bare(net, given):
    """The stock forward. Frozen as IConFace's is: torch folds products of strided inputs in another way for weights
    that want gradients, and then the last bit differs."""
    return velocity(net.requires_grad_(False), **{name: value for name, value in given.items() if name != "identity"})


@pytest.mark.parametrize("references", [0, 1, 3])
@pytest.mark.parametrize("changes", [
    {}, {"residual_space": "hidden", "identity_scope": "scene", "memory": "single", "cross_scope": "scene"},
    {"smoothing_sigma": 1.0, "smoothing_size": 5}, {"lora_rank": 0, "memory": "none"}, {"opening": "output"},
])
def test_fresh_adapters_equal_the_backbone_exactly(references, changes):
    net, given = backbone_with_random_weights(), inputs(references)
    model = IConFace(copy.deepcopy(net), replace(PATHWAYS, **changes))
    with torch.no_grad():
        assert torch.equal(ask(model, given), bare(net, given))


def test_the_gain_multiplies_the_identity_s_shifts():
    shifts = {}
    for gain in (1.0, 4.0):
        torch.manual_seed(0)
        anchor = IdentityAnchor(replace(PATHWAYS, identity_gain=gain), 8)
        for head in (anchor.psi_double, anchor.psi_single):
            torch.nn.init.ones_(head.weight)
        shifts[gain] = anchor(torch.ones(1, PATHWAYS.identity_dimension))
    for one, four in zip(shifts[1.0], shifts[4.0], strict=True):
        torch.testing.assert_close(four, 4 * one, rtol=0, atol=0)


def test_fresh_adapters_equal_the_backbone_exactly_at_the_tiny_configuration_under_autocast():
    settings = tiny()
    net = build_backbone(settings.backbone).requires_grad_(False)
    model = IConFace(copy.deepcopy(net), settings.system)
    scene, degraded, reference = torch.randn(3, 2, 64, 128)
    identity, sigma = torch.nn.functional.normalize(torch.randn(2, 256), dim=-1), torch.rand(2)
    text = TextMemory.fixed(settings.backbone)(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        given = Conditions(text=text, degraded=degraded, references=(reference,), identity=identity)
        ours = model(scene, sigma, given)
        stock = velocity(net, scene, sigma, text, degraded, (reference,))
    assert ours.shape == (2, 64, 128)
    assert torch.equal(ours, stock)


def test_autocast_stays_close_to_full_precision():
    model, given = stirred(), inputs(1)
    with torch.no_grad():
        exact = ask(model, given)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = ask(model, given)
    assert (rounded - exact).square().mean() < 1e-2 * exact.square().mean()


def test_float32_adapters_learn_beside_a_bfloat16_backbone():
    net = backbone_with_random_weights().bfloat16()
    model, given = IConFace(copy.deepcopy(net), PATHWAYS), inputs(2)
    half = {name: tuple(v.bfloat16() for v in value) if name == "references" else value.bfloat16()
            for name, value in given.items()}
    output = ask(model, given)
    with torch.no_grad():
        assert torch.equal(output, bare(net, half))
    output.float().square().mean().backward()
    assert all(p.dtype == torch.float32 for p in model.trainable_parameters())
    assert model.identity_anchor.psi_single.weight.grad.any()


def test_every_trainable_parameter_learns_after_one_step():
    model = fresh()
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.5)
    for seed in range(2):
        optimizer.zero_grad()
        ask(model, inputs(seed=seed)).square().mean().backward()
        if seed == 0:
            optimizer.step()
    dead = [name for name, p in model.named_trainable_parameters().items() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize(("opening", "shut"), [("gate", ".gamma"), ("output", ".to_out.up.weight")])
def test_every_gate_and_zero_start_learns_from_the_first_step(opening, shut):
    model = fresh(replace(PATHWAYS, opening=opening))
    ask(model, inputs()).square().mean().backward()
    starts = [(n, p) for n, p in model.named_trainable_parameters().items() if not p.any() and "memory" not in n]
    assert len(starts) == 4 + 2 * 4 + 2 * 2 + 4 + 1  # attentions, LoRA ups, the two heads' weights and biases, residual
    assert sum("_attention." in name and name.endswith(shut) for name, _ in starts) == 4
    assert [n for n, p in starts if not p.grad.any()] == []


def test_training_never_touches_the_backbone():
    net = backbone_with_random_weights()
    before = copy.deepcopy(net.state_dict())
    model = IConFace(net, PATHWAYS)
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=0.1, weight_decay=0.1)
    ask(model, inputs()).square().mean().backward()
    optimizer.step()
    after = {name.replace(".base.", "."): value for name, value in net.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all("backbone" not in name or ".down." in name or ".up." in name
               for name, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("references", [0, 1, 3])
def test_blocks_see_exactly_the_segments_that_exist(references):
    model, seen = fresh(), []
    model.backbone.single_transformer_blocks[0].register_forward_pre_hook(lambda _, a: seen.append(a[0].shape[1]))
    model.backbone.transformer_blocks[0].register_forward_pre_hook(lambda _, a: seen.append(a[0].shape[1]))
    output = ask(model, inputs(references))
    assert seen == [TOKENS * (2 + references), TEXT + TOKENS * (2 + references)]
    assert output.shape == (BATCH, TOKENS, 16)


def test_references_and_their_order_matter():
    model, given = stirred(), inputs(2)
    swapped = {**given, "references": given["references"][::-1]}
    alone = {**given, "references": given["references"][:1]}
    with torch.no_grad():
        plain = ask(model, given)
        assert not torch.allclose(plain, ask(model, swapped), atol=1e-4)
        assert not torch.allclose(plain, ask(model, alone), atol=1e-4)


def test_without_places_in_time_of_their_own_references_are_a_set():
    """Their order reaches the output through their position ids alone."""
    model, given = stirred(replace(PATHWAYS, reference_step=0)), inputs(3)
    with torch.no_grad():
        plain = ask(model, given)
        for order in ((2, 0, 1), (1, 0, 2)):
            shuffled = {**given, "references": tuple(given["references"][n] for n in order)}
            assert torch.allclose(plain, ask(model, shuffled), atol=1e-5)


@pytest.mark.parametrize("scope", ["image", "scene"])
def test_identity_moves_the_modulation_of_image_tokens_only(scope):
    model = stirred(replace(PATHWAYS, identity_scope=scope))
    net, given, caught = model.backbone, inputs(1), []
    net.transformer_blocks[0].register_forward_pre_hook(lambda _, a: caught.append(a[2:4]))
    net.single_transformer_blocks[0].register_forward_pre_hook(lambda _, a: caught.append(a[2]))
    with torch.no_grad():
        ask(model, given)
        ask(model, {**given, "identity": None})
    (double, words), single, (plain_double, plain_words), plain_single = caught
    assert torch.equal(words, plain_words)
    plain_single = plain_single[:, None].expand_as(single)
    assert torch.equal(single[:, :TEXT], plain_single[:, :TEXT])
    touched = TOKENS if scope == "scene" else 3 * TOKENS
    assert (single != plain_single)[:, TEXT : TEXT + touched].any(-1).all()
    assert torch.equal(single[:, TEXT + touched :], plain_single[:, TEXT + touched :])
    if scope == "scene":
        plain_double = plain_double[:, None].expand_as(double)
        assert (double != plain_double)[:, :TOKENS].any(-1).all()
        assert torch.equal(double[:, TOKENS:], plain_double[:, TOKENS:])
    else:
        assert (double != plain_double).any(-1).all()


def test_degraded_attention_leaves_the_text_stream_alone():
    model, given = stirred(replace(PATHWAYS, lora_rank=0, residual=False, identity_anchor=False)), inputs(1)
    net = build_backbone(BACKBONE)
    net.load_state_dict(model.backbone.state_dict())
    words = []
    for module in (model.backbone, net):
        module.transformer_blocks[0].register_forward_hook(lambda _, a, out: words.append(out[0]))
        module.transformer_blocks[1].register_forward_pre_hook(
            lambda _, a, k: words.append(a[1] if a else k["encoder_hidden_states"]), with_kwargs=True)
    with torch.no_grad():
        assert not torch.allclose(ask(model, given), bare(net, given), atol=1e-4)
    assert all(torch.equal(word, words[0]) for word in words)


@pytest.mark.parametrize("off", [
    {"identity_anchor": False}, {"residual": False}, {"memory": "none"}, {"memory": "single"}, {"lora_rank": 0},
])
def test_each_pathway_can_be_switched_off_and_then_has_no_parameters(off):
    model = stirred(replace(PATHWAYS, **off))
    all_of_them = set(stirred().adapter_state())
    assert set(model.adapter_state()) < all_of_them
    assert torch.isfinite(ask(model, inputs(1))).all()


def test_content_of_other_images_never_changes_an_image():
    model, given = stirred(), inputs(2)
    other = inputs(2, seed=9)
    mixed = {name: (tuple(torch.cat([a[:1], b[1:]]) for a, b in zip(value, other[name], strict=True))
                    if name == "references" else torch.cat([value[:1], other[name][1:]]))
             for name, value in given.items()}
    order = torch.tensor([2, 0, 1])
    shuffled = {name: tuple(v[order] for v in value) if name == "references" else value[order]
                for name, value in given.items()}
    with torch.no_grad():
        plain = ask(model, given)
        assert torch.equal(ask(model, mixed)[0], plain[0])
        assert torch.allclose(ask(model, shuffled), plain[order], atol=1e-5)


def test_a_sampled_batch_of_two_equals_each_alone():
    model, given = stirred(), inputs(1, batch=2)

    def run(rows):
        part = {name: tuple(v[rows] for v in value) if name == "references" else value[rows]
                for name, value in given.items()}
        noise = initial_noise([11 + row for row in rows], (TOKENS, 16))
        return sample(lambda z, sigma: ask(model, {**part, "scene": z, "sigma": sigma}), noise,
                      shift_schedule(4, TOKENS))

    together = run([0, 1])
    assert torch.allclose(together, torch.cat([run([0]), run([1])]), atol=1e-4)


@pytest.mark.parametrize("autocast", [False, True])
def test_gradient_checkpointing_changes_no_gradient(autocast):
    model, given, gradients = stirred(), inputs(1), []
    for model.gradient_checkpointing in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = ask(model, given)
        output.float().square().mean().backward()
        gradients.append([p.grad.clone() for p in model.trainable_parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_compiled_blocks_give_the_same_velocity_and_gradients():
    plain, compiled, given = stirred(), stirred(), inputs(1)
    names = list(compiled.named_trainable_parameters())
    compiled.compile_parts("aot_eager")  # what inductor would make into code; that takes it 90 s here
    answers = [ask(model, given) for model in (plain, compiled)]
    assert torch.allclose(*answers, atol=1e-5)
    for answer in answers:
        answer.square().mean().backward()
    assert list(compiled.named_trainable_parameters()) == names
    for one, other in zip(plain.trainable_parameters(), compiled.trainable_parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-5)


def test_the_same_seed_gives_the_same_adapters_and_leaves_torchs_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second = fresh().adapter_state(), fresh().adapter_state()
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(second[name], value) for name, value in first.items())


def test_a_smaller_degraded_image_is_resized_to_the_scene():
    model, given = stirred(), inputs(0)
    given["degraded"] = given["degraded"][:, :4]
    assert ask(model, given).shape == (BATCH, TOKENS, 16)
    assert torch.equal(resize(given["scene"], (4, 4), (4, 4)), given["scene"])
    assert torch.allclose(resize(torch.ones(1, 4, 2), (2, 2), (4, 4)), torch.ones(1, 16, 2))


def test_smoothing_is_the_average_of_three_by_three_with_repeated_borders():
    picture = torch.arange(9.0).view(1, 9, 1)
    smoothed = smooth(picture, (3, 3), 3, 0.0)[0, :, 0]
    assert smoothed[4] == pytest.approx(4.0)
    assert smoothed[0] == pytest.approx((4 * 0 + 2 * 1 + 2 * 3 + 4) / 9)
    assert torch.allclose(smooth(torch.full((1, 9, 2), 3.0), (3, 3), 3, 1.0), torch.full((1, 9, 2), 3.0))


def test_klein_has_the_published_number_of_parameters():
    settings = klein_4b()
    with torch.device("meta"):
        backbone, autoencoder = build_backbone(settings.backbone), Autoencoder(settings.autoencoder)
        assert sum(p.numel() for p in backbone.parameters()) / 1e9 == pytest.approx(3.876, abs=5e-4)
        assert sum(p.numel() for p in autoencoder.parameters()) / 1e6 == pytest.approx(84.05, abs=5e-3)
        model = IConFace(backbone, settings.system)
    lora = sum(p.numel() for name, p in model.named_trainable_parameters().items() if name.startswith("backbone."))
    assert lora / 1e6 == pytest.approx(16.71, abs=5e-3)
    # With q, k and v fused, as in Flux-FaceIR, three downs of 3072 become one per double block.
    assert (lora - 5 * 2 * 16 * 3072) / 1e6 == pytest.approx(16.22, abs=5e-3)
