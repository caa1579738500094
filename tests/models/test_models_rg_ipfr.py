"""RG-IPFR beside its backbone: the composite context, its switches, and multi-reference guidance."""

import copy
from dataclasses import replace

import pytest
import torch
from small import BACKBONE, BATCH, PATHWAYS, TOKENS, backbone_with_random_weights, inputs, stir

from anchorface.models.backbone import build_backbone, velocity
from anchorface.models.build import build
from anchorface.models.cache import Cache
from anchorface.models.conditions import Conditions, FaceTokens, joined
from anchorface.models.configuration import klein_4b
from anchorface.models.flow import shift_schedule
from anchorface.models.memory_attention import MemoryAttention
from anchorface.models.rg_ipfr.composite_context import CompositeContext
from anchorface.models.rg_ipfr.guidance import in_one_batch, multi_reference
from anchorface.models.rg_ipfr.network import RGIPFR
from anchorface.models.rg_ipfr.settings import RGIPFRSettings
from anchorface.models.sampler import guided, initial_noise, sample
from anchorface.models.settings import SystemSettings
from anchorface.records import ConfigurationError
from anchorface.training.recipes import recipe

CONTEXT = RGIPFRSettings(identity_dimension=8, face_tokens=5, face_width=6, context_rank=4, context_query_rank=4,
                         context_heads=2, lora_rank=4, lora_alpha=4)
ICONFACE = {name: getattr(PATHWAYS, name) for name in (
    "identity_anchor", "residual", "memory", "base_tokens", "detail_tokens", "pooler_heads", "cross_heads",
    "cross_rank", "cross_query_rank", "residual_rank")}
BOTH = replace(CONTEXT, **ICONFACE)
ALL, NONE = torch.ones(BATCH, dtype=torch.bool), torch.zeros(BATCH, dtype=torch.bool)


def given_of(references=1, seed=0):
    """z, sigma and conditions with faces."""
    made = inputs(references, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)

    def face():
        whole = torch.nn.functional.normalize(torch.randn(BATCH, 8, generator=generator), dim=-1)
        return FaceTokens(whole=whole, tokens=torch.randn(BATCH, 5, 6, generator=generator))

    conditions = Conditions(text=made["text"], degraded=made["degraded"], references=made["references"],
                            identity=made["identity"], faces=tuple(face() for _ in range(references)))
    return made["scene"], made["sigma"], conditions


def stirred(settings=CONTEXT):
    """RG-IPFR with every adapter away from its start."""
    return stir(build(settings, backbone_with_random_weights()), 0.2).eval()


def test_the_context_is_two_projections_and_two_embeddings():
    context = CompositeContext(replace(CONTEXT, identity_dimension=4, face_tokens=2, face_width=2), width=2)
    with torch.no_grad():
        context.identity.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 2.0, 0, 0]]))
        context.identity.bias.zero_()
        context.face[1].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 3.0]]))
        context.face[1].bias.copy_(torch.tensor([0.0, 0.5]))
        context.source.copy_(torch.tensor([[10.0, 20.0], [100.0, 200.0]]))
        context.position.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    face = FaceTokens(whole=torch.tensor([[0.6, 0.8, 0.0, 0.0]]), tokens=torch.tensor([[[5.0, 1.0], [2.0, 4.0]]]))
    with torch.no_grad():
        one, two = context((face,)), context((face, face))
    # Identity: scaled by sqrt(4). A layer norm over two numbers gives 1 and -1 for the larger and the smaller.
    expected = [[0.6 * 2 + 10, 2 * 0.8 * 2 + 20], [0 + 1 + 100, -3 + 0.5 + 2 + 200], [0 + 3 + 100, 3 + 0.5 + 4 + 200]]
    assert torch.allclose(one, torch.tensor([expected]), atol=1e-3)
    assert torch.equal(two, torch.cat([one, one], dim=1))


def test_attention_to_the_context_is_what_its_formula_says():
    attention = MemoryAttention(2, 3, heads=1, rank=2, query_rank=2, opening="gate")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    hidden, memory = torch.randn(2, 4, 2, generator=generator), torch.randn(2, 5, 3, generator=generator)

    def low_rank(part, x):
        return x @ part.down.weight.T @ part.up.weight.T

    def rms(x, weight):
        return x / x.square().mean(-1, keepdim=True).add(1e-6).sqrt() * weight

    centred = hidden - hidden.mean(-1, keepdim=True)
    normed = centred / centred.square().mean(-1, keepdim=True).add(1e-6).sqrt()
    query = rms(low_rank(attention.to_query, normed), attention.norm_query.weight)
    key = rms(low_rank(attention.to_key, memory), attention.norm_key.weight)
    weights = torch.softmax(query @ key.transpose(1, 2) / 2**0.5, dim=-1)
    expected = attention.gamma * low_rank(attention.to_out, weights @ low_rank(attention.to_value, memory))
    heard = torch.tensor([True, False])
    with torch.no_grad():
        found = attention(hidden, attention.keys_values(memory), heard)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert not found[1].any()


@pytest.mark.parametrize("references", [0, 1, 3])
@pytest.mark.parametrize("settings", [CONTEXT, BOTH, replace(CONTEXT, context="identity", concatenation=True),
                                      replace(CONTEXT, context="none"), replace(CONTEXT, context_scope="scene"),
                                      replace(CONTEXT, opening="output")])
def test_at_its_start_the_system_is_its_backbone_exactly(references, settings):
    net = backbone_with_random_weights().requires_grad_(False)
    model = build(settings, copy.deepcopy(net))
    z, sigma, given = given_of(references)
    shown = given.references if settings.concatenation else ()
    with torch.no_grad():
        expected = velocity(net, z, sigma, given.text, given.degraded, shown)
        assert torch.equal(model(z, sigma, given), expected)
        shut = "gamma" if settings.opening == "gate" else "to_out.up.weight"
        for name, parameter in model.named_trainable_parameters().items():
            if not name.endswith(shut) and ("context" in name or "position" in name):
                parameter.add_(1.0)
        assert torch.equal(model(z, sigma, given), expected)  # what is shut alone decides


def test_zero_projections_of_the_output_give_the_backbone_whatever_the_gates_are():
    model, (z, sigma, given) = stirred(replace(CONTEXT, lora_rank=0)), given_of(2)
    with torch.no_grad():
        assert not torch.allclose(model(z, sigma, given), model(z, sigma, replace(given, faces=())), atol=1e-3)
        for name, parameter in model.named_trainable_parameters().items():
            if "to_out.up" in name:
                parameter.zero_()
        bare = velocity(model.backbone, z, sigma, given.text, given.degraded)
        assert torch.equal(model(z, sigma, given), bare)


def test_every_trainable_parameter_learns_after_one_step():
    model = build(BOTH, backbone_with_random_weights())
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.5)
    for seed in range(2):
        optimizer.zero_grad()
        z, sigma, given = given_of(2, seed)
        model(z, sigma, given).square().mean().backward()
        if seed == 0:
            optimizer.step()
    dead = [name for name, p in model.named_trainable_parameters().items() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_each_part_can_be_switched_off_and_then_has_no_parameters():
    everything = set(stirred(BOTH).adapter_state())
    for off in ({"context": "identity"}, {"context": "none"}, {"memory": "none"}, {"identity_anchor": False},
                {"residual": False}, {"lora_rank": 0}):
        model, (z, sigma, given) = stirred(replace(BOTH, **off)), given_of(1)
        assert set(model.adapter_state()) < everything
        assert torch.isfinite(model(z, sigma, given)).all()
    assert "context.source" in everything and "residual.project.up.weight" in everything


@pytest.mark.parametrize("scope", ["image", "scene"])
def test_only_image_tokens_of_heard_pictures_are_touched(scope):
    model, (z, sigma, given) = stirred(replace(CONTEXT, context_scope=scope)), given_of(1)
    heard = torch.tensor([True, False, True])
    with torch.no_grad():
        whole = model(z, sigma, given)
        some = model(z, sigma, replace(given, heard=heard))
        without = model(z, sigma, replace(given, faces=()))
    assert torch.allclose(some[heard], whole[heard], atol=1e-6)
    assert torch.equal(some[~heard], without[~heard])
    assert not torch.allclose(whole[heard], without[heard], atol=1e-3)


def test_the_order_of_references_changes_nothing_and_each_of_them_counts():
    model, (z, sigma, given) = stirred(), given_of(3)
    turned = replace(given, faces=given.faces[::-1])
    fewer = replace(given, faces=given.faces[:2])
    with torch.no_grad():
        plain = model(z, sigma, given)
        assert torch.allclose(model(z, sigma, turned), plain, atol=1e-5)
        assert not torch.allclose(model(z, sigma, fewer), plain, atol=1e-4)


def test_what_is_kept_while_sampling_changes_no_bit():
    model, (_, _, given) = stirred(BOTH), given_of(1)

    def drawn(cache):
        return sample(lambda z, sigma: model(z, sigma, given, cache), initial_noise(range(BATCH), (TOKENS, 16)),
                      shift_schedule(3, TOKENS))

    assert torch.equal(drawn(Cache()), drawn(None))


def test_dropped_conditions_are_zeros_unheard_and_known_by_the_degraded_face():
    _, _, given = given_of(2)
    own = torch.nn.functional.normalize(torch.ones(BATCH, 8), dim=-1)
    degraded, references = torch.tensor([True, False, False]), torch.tensor([True, True, False])
    less = given.dropped(degraded, references, own)
    assert less.heard.tolist() == [False, False, True]
    assert not less.degraded[0].any() and torch.equal(less.degraded[1:], given.degraded[1:])
    for before, after in zip(given.references, less.references, strict=True):
        assert not after[:2].any() and torch.equal(after[2], before[2])
    assert not less.identity[0].any()
    assert torch.equal(less.identity[1], own[1]) and torch.equal(less.identity[2], given.identity[2])


def test_joined_conditions_come_apart_again():
    (_, _, one), (_, _, other) = given_of(2), given_of(2, seed=5)
    both = joined([one, other.dropped(NONE, ALL, None)])
    assert both.heard.tolist() == [True] * BATCH + [False] * BATCH
    back = both.rows(slice(0, BATCH))
    assert torch.equal(back.degraded, one.degraded) and torch.equal(back.faces[1].tokens, one.faces[1].tokens)
    assert torch.equal(both.rows(slice(BATCH, None)).faces[0].whole, other.faces[0].whole)


def counting(model, calls):
    def predict(z, sigma, given, cache):
        calls.append(len(z))
        return model(z, sigma, given, cache)

    return predict


def by_hand(model, z, sigma, given, own, s_i, s_c):
    """The formula, one call after another."""
    none = given.with_one(0)
    unheard, nothing = none.dropped(NONE, ALL, own), none.dropped(ALL, ALL, own)
    ones = [model(z, sigma, given.with_one(n)) for n in range(len(given.faces))]
    return ((1 - s_i) * model(z, sigma, nothing) + (s_i - s_c) * model(z, sigma, unheard)
            + s_c / len(ones) * sum(ones))


@pytest.mark.parametrize("settings", [CONTEXT, BOTH, replace(BOTH, concatenation=True)])
@pytest.mark.parametrize(("references", "s_i", "s_c", "calls"), [
    (1, 1.2, 1.2, 2), (4, 1.2, 1.2, 5), (4, 1.3, 2.0, 6), (3, 1.0, 1.5, 4), (3, 1.0, 1.0, 3), (2, 0.0, 0.0, 3)])
@torch.no_grad()
def test_n_references_in_one_batch_are_as_many_single_calls(settings, references, s_i, s_c, calls):
    model, (z, sigma, given) = stirred(settings), given_of(references)
    own = torch.nn.functional.normalize(torch.ones(BATCH, 8), dim=-1)
    expected = by_hand(model, z, sigma, given, own, s_i, s_c)
    for most in (64, 4):
        asked = []
        speed = multi_reference(counting(model, asked), given, own, input_scale=s_i, context_scale=s_c, most=most)
        assert torch.allclose(speed(z, sigma), expected, atol=1e-4)
        assert sum(asked) == calls * BATCH and max(asked) <= most
        assert len(asked) == -(-calls * BATCH // most)


@torch.no_grad()
def test_equal_scales_are_the_form_of_two_terms():
    model, (z, sigma, given) = stirred(), given_of(3)
    nothing = given.with_one(0).dropped(ALL, ALL, None)
    mean = sum(model(z, sigma, given.with_one(n)) for n in range(3)) / 3
    expected = (1 - 1.2) * model(z, sigma, nothing) + 1.2 * mean
    speed = multi_reference(counting(model, []), given, None, input_scale=1.2, context_scale=1.2, most=99)
    assert torch.allclose(speed(z, sigma), expected, atol=1e-5)


@torch.no_grad()
def test_without_references_the_degraded_picture_alone_is_guided():
    model, (z, sigma, given) = stirred(), given_of(0)
    expected = guided(lambda z, s: model(z, s, given),
                      [(0.5, lambda z, s: model(z, s, given.dropped(ALL, ALL, None)))])(z, sigma)
    speed = multi_reference(counting(model, []), given, given.identity, input_scale=1.5, context_scale=9.0, most=99)
    assert torch.allclose(speed(z, sigma), expected, atol=1e-5)


@torch.no_grad()
def test_a_second_step_asks_with_what_the_first_kept():
    model, (z, sigma, given) = stirred(BOTH), given_of(2)
    answers = in_one_batch(model, [given.with_one(n) for n in range(2)], most=4)
    first, second = answers(z, sigma), answers(z + 1, sigma)
    assert torch.allclose(first[1], model(z, sigma, given.with_one(1)), atol=1e-5)
    assert torch.allclose(second[0], model(z + 1, sigma, given.with_one(0)), atol=1e-5)


def test_settings_come_back_by_their_kind_and_wrong_ones_are_refused():
    back = SystemSettings.from_dict(BOTH.to_dict())
    assert back == BOTH and isinstance(back, RGIPFRSettings)
    assert CONTEXT.face_shape == (5, 6) and replace(CONTEXT, context="identity").face_shape == (0, 0)
    for wrong, why in (({"context": "everything"}, "composite, identity, none"), ({"context_scope": "text"}, "scene"),
                       ({"identity_dimension": 0}, "identity token"), ({"face_tokens": 0}, "face_tokens is 0")):
        with pytest.raises(ConfigurationError, match=why):
            replace(CONTEXT, **wrong)
    with pytest.raises(ConfigurationError, match="those of 'rg_ipfr'"):
        replace(CONTEXT, kind="iconface")


def test_on_klein_the_context_has_as_many_numbers_as_its_ranks_say():
    settings = recipe("rg_ipfr").model
    assert settings.system.face_shape == (197, 768) and settings.backbone == klein_4b().backbone
    with torch.device("meta"):
        model = RGIPFR(build_backbone(settings.backbone), settings.system)
    sizes = {name: p.numel() for name, p in model.named_trainable_parameters().items()}
    readers = sum(size for name, size in sizes.items() if "_context." in name)
    each = 2 * 64 * (3072 + 3072) + 2 * 64 * (768 + 3072) + 2 * 128 + 1  # Q and output, K and V, two norms, the gate
    assert readers == 25 * each
    context = sum(size for name, size in sizes.items() if name.startswith("context."))
    assert context == 512 * 768 + 768 + 2 * 768 + 768 * 768 + 768 + 2 * 768 + 197 * 768
    assert BACKBONE.width == 32  # the small one of the other tests keeps its own
