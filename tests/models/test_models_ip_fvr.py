"""IP-FVR beside its backbone: time, decoupled attention to references and attributes, and their switches."""

import copy
from dataclasses import replace

import pytest
import torch
from small import BACKBONE, PATHWAYS, TOKENS, backbone_with_random_weights
from small_films import BATCH, FILMS, FRAMES, SAID, given_of, stirred_film

from anchorface.models import weights
from anchorface.models.anchor import anchor
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import velocity
from anchorface.models.build import build
from anchorface.models.cache import Cache
from anchorface.models.checkpoint import BaseWeight, Description, load_model, write_adapter, write_description
from anchorface.models.conditions import joined
from anchorface.models.configuration import AutoencoderSettings, ModelSettings
from anchorface.models.export import read_adapter_file, write_adapter_file
from anchorface.models.flow import shift_schedule
from anchorface.models.iconface.network import IConFace
from anchorface.models.ip_fvr.attribute_context import AttributeContext
from anchorface.models.ip_fvr.decoupled_attention import DecoupledAttention, Offer
from anchorface.models.ip_fvr.settings import IPFVRSettings
from anchorface.models.ip_fvr.temporal import TemporalAttention
from anchorface.models.memory_attention import MemoryAttention
from anchorface.models.sampler import initial_noise, sample
from anchorface.models.settings import SystemSettings
from anchorface.records import CheckpointError, ConfigurationError
from anchorface.records.attributes import ATTRIBUTES, attribute_row

BARE = {"identity_anchor": False, "residual": False, "memory": "none", "lora_rank": 0}


def random_numbers(module, seed=3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module.eval(), generator


def low_rank(part, x):
    return x @ part.down.weight.T @ part.up.weight.T


def rms(x, weight):
    return x / x.square().mean(-1, keepdim=True).add(1e-6).sqrt() * weight


def normed(hidden):
    centred = hidden - hidden.mean(-1, keepdim=True)
    return centred / centred.square().mean(-1, keepdim=True).add(1e-6).sqrt()


def turned(x, frame, theta):
    """A head [4] of a query or a key, rotated by its frame: pairs of numbers at frequencies 1 and theta ** -1/2."""
    pairs = torch.view_as_complex(x.reshape(2, 2))
    angles = frame * torch.tensor([1.0, theta**-0.5])
    return torch.view_as_real(pairs * torch.polar(torch.ones(2), angles)).flatten()


@torch.no_grad()
def test_attention_over_frames_is_what_its_formula_says():
    attention, generator = random_numbers(TemporalAttention(4, heads=1, rank=3, theta=9.0, opening="gate"))
    hidden = torch.randn(2 * 3, 5, 4, generator=generator)
    expected = torch.zeros_like(hidden)
    for clip in range(2):
        for token in range(5):
            line = normed(hidden[3 * clip: 3 * clip + 3, token])
            query = rms(low_rank(attention.to_query, line), attention.norm_query.weight)
            key = rms(low_rank(attention.to_key, line), attention.norm_key.weight)
            value = low_rank(attention.to_value, line)
            for frame in range(3):
                at = turned(query[frame], frame, 9.0)
                scores = torch.stack([at @ turned(key[other], other, 9.0) for other in range(3)]) / 2
                found = torch.softmax(scores, 0) @ value
                expected[3 * clip + frame, token] = attention.gamma * low_rank(attention.to_out, found)
    assert torch.allclose(attention(hidden, 3), expected, atol=1e-4)


@torch.no_grad()
def test_decoupled_attention_is_the_sum_of_two_each_with_its_own_scale_and_mask():
    both, generator = random_numbers(DecoupledAttention(2, 3, 5, heads=1, rank=2, query_rank=2, opening="gate"))
    hidden, image = torch.randn(2, 4, 2, generator=generator), torch.randn(2, 3, 3, generator=generator)
    attributes = torch.randn(2, 6, 5, generator=generator)
    known = torch.tensor([[1, 0, 0, 1, 0, 1], [0, 0, 1, 0, 0, 0]], dtype=torch.bool)

    def by_hand(part: MemoryAttention, memory, picture):
        query = rms(low_rank(part.to_query, normed(hidden[picture])), part.norm_query.weight)
        key = rms(low_rank(part.to_key, memory), part.norm_key.weight)
        shares = torch.softmax(query @ key.T / 2**0.5, dim=-1)
        return part.gamma * low_rank(part.to_out, shares @ low_rank(part.to_value, memory))

    found = both(hidden, Offer(both.image.keys_values(image), torch.tensor([0.5, 2.0]), None),
                 Offer(both.attributes.keys_values(attributes), torch.tensor([3.0, 1.0]), known))
    expected = torch.stack([
        s_image * by_hand(both.image, image[n], n) + s_said * by_hand(both.attributes, attributes[n][known[n]], n)
        for n, (s_image, s_said) in enumerate([(0.5, 3.0), (2.0, 1.0)])])
    assert torch.allclose(found, expected, atol=1e-5)
    assert not both(hidden, None, None).any()


@torch.no_grad()
def test_an_attribute_is_its_name_and_so_much_of_its_direction():
    context = AttributeContext(2)
    context.name.zero_()
    context.direction.zero_()
    context.name[0] = torch.tensor([1.0, 4.0])
    context.direction[0] = torch.tensor([10.0, 0.0])
    found = context(torch.from_numpy(attribute_row({"age": 50}))[None])
    # 1 + 0.5 * 10 = 6 beside 4: of two numbers the larger becomes 1 and the smaller -1.
    assert torch.allclose(found[0, 0], torch.tensor([1.0, -1.0]), atol=1e-4) and not found[0, 1:].any()
    found = context(torch.from_numpy(attribute_row({"age": 20}))[None])
    assert torch.allclose(found[0, 0], torch.tensor([-1.0, 1.0]), atol=1e-4)  # 3 beside 4
    wider = AttributeContext(3, prompt_width=2)
    low, high = torch.randn(2, len(ATTRIBUTES), 2, generator=torch.Generator().manual_seed(1))
    wider.start_at({"low": low, "high": high}, "prompts")
    ends = [wider(torch.full((1, len(ATTRIBUTES)), value))[0] for value in (0.0, 1.0)]
    for end, prompt in zip(ends, (low, high), strict=True):
        assert torch.allclose(end, wider.project(torch.nn.functional.layer_norm(prompt, (2,))), atol=1e-4)
    with pytest.raises(CheckpointError, match="prompts"):
        wider.start_at({"low": low[:3], "high": high[:3]}, "prompts")


@pytest.mark.parametrize("references", [0, 2])
@pytest.mark.parametrize("changes", [{}, BARE, {"temporal": "single", "temporal_every": 2}, {"context_scope": "scene"},
                                     {"opening": "output"}])
@torch.no_grad()
def test_at_its_start_the_system_is_its_backbone_exactly(references, changes):
    net = backbone_with_random_weights().requires_grad_(False)
    model = build(replace(FILMS, **changes), copy.deepcopy(net))
    z, sigma, given = given_of(references)
    assert torch.equal(model(z, sigma, given),
                       velocity(net, z, sigma, given.text, given.degraded, given.references))


@pytest.mark.parametrize("opening", ["gate", "output"])
@torch.no_grad()
def test_fresh_parts_are_iconface_frame_by_frame_bit_for_bit(opening):
    image = IConFace(backbone_with_random_weights(), replace(PATHWAYS, opening=opening))
    generator = torch.Generator().manual_seed(7)
    for parameter in image.trainable_parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    film = build(replace(FILMS, opening=opening), backbone_with_random_weights())
    assert image.adapter_state().keys() < film.adapter_state().keys()
    film.load_adapter_state(film.adapter_state() | image.adapter_state())
    z, sigma, given = given_of()
    of_clips = film(z, sigma, given)
    assert torch.equal(of_clips, image(z, sigma, replace(given, frames=1)))
    alone = replace(given, frames=1)
    for frame in range(BATCH):
        row = slice(frame, frame + 1)
        one = image(z[row], sigma[row], alone.rows(row))
        assert torch.equal(film(z[row], sigma[row], alone.rows(row)), one)
        assert torch.allclose(of_clips[row], one, atol=1e-5)  # another batch may round in another way


@torch.no_grad()
def test_both_scales_at_zero_are_the_unconditioned_model():
    model, (z, sigma, given) = stirred_film(), given_of()
    nothing = replace(given, faces=(), attributes=None)
    expected, whole = model(z, sigma, nothing), model(z, sigma, given)
    assert torch.equal(model(z, sigma, replace(given, context_scales=(0.0, 0.0))), expected)
    assert torch.equal(model(z, sigma, replace(given, context_scales=(1.0, 1.0))), whole)
    faces_alone = model(z, sigma, replace(given, context_scales=(1.0, 0.0)))
    said_alone = model(z, sigma, replace(given, context_scales=(0.0, 1.0)))
    assert torch.equal(faces_alone, model(z, sigma, replace(given, attributes=None)))
    assert torch.equal(said_alone, model(z, sigma, replace(given, faces=())))
    half = build(replace(FILMS, image_scale=0.5), backbone_with_random_weights())
    half.load_adapter_state(model.adapter_state())
    assert torch.equal(half(z, sigma, given), model(z, sigma, replace(given, context_scales=(0.5, 1.0))))
    answers = (expected, whole, faces_alone, said_alone, half(z, sigma, given))
    assert all(not torch.allclose(one, other, atol=1e-3)
               for n, one in enumerate(answers) for other in answers[:n])


@torch.no_grad()
def test_what_is_unknown_is_not_heard():
    model, (z, sigma, given) = stirred_film(), given_of()
    plain = model(z, sigma, given)
    unheard = torch.where(given.attributes[0].isnan())[0]
    model.attribute_context.name[unheard] += 1
    assert torch.equal(model(z, sigma, given), plain)
    nothing = torch.full((BATCH, len(ATTRIBUTES)), torch.nan)
    half = torch.cat([given.attributes[:FRAMES], nothing[FRAMES:]])
    silent, mixed = model(z, sigma, given.with_attributes(None)), model(z, sigma, given.with_attributes(half))
    assert torch.equal(model(z, sigma, given.with_attributes(nothing)), silent)
    assert torch.equal(mixed[:FRAMES], plain[:FRAMES]) and torch.equal(mixed[FRAMES:], silent[FRAMES:])
    older = given.with_attributes(torch.from_numpy(attribute_row({"age": 70, "beard": 1, "quality": 1})).expand(6, -1))
    assert not torch.allclose(model(z, sigma, older), plain, atol=1e-3)


@torch.no_grad()
def test_the_order_of_references_is_nothing_to_the_anchor_and_to_the_context():
    raw = torch.randn(BATCH, 3, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.allclose(anchor(raw), anchor(raw.flip(1)), atol=1e-12)
    model, (z, sigma, given) = stirred_film(), given_of(3)
    turned_round = replace(given, faces=given.faces[::-1])
    plain = model(z, sigma, given)
    assert torch.allclose(model(z, sigma, turned_round), plain, atol=1e-4)
    assert not torch.allclose(model(z, sigma, replace(given, faces=given.faces[:2])), plain, atol=1e-3)


@torch.no_grad()
def test_frames_see_their_clip_and_no_other_and_a_picture_sees_no_time():
    model, (z, sigma, given) = stirred_film(), given_of()
    plain, moved = model(z, sigma, given), z.clone()
    moved[1] += 1  # a frame of the first clip
    other = model(moved, sigma, given)
    assert torch.equal(other[FRAMES:], plain[FRAMES:])
    assert all(not torch.allclose(other[frame], plain[frame], atol=1e-4) for frame in range(FRAMES))
    alone = replace(given, frames=1)
    pictures = model(z, sigma, alone)
    assert not torch.allclose(pictures, plain, atol=1e-3)
    without = build(replace(FILMS, temporal="none"), backbone_with_random_weights())
    without.load_adapter_state({name: value for name, value in model.adapter_state().items()
                                if not name.startswith("temporal.")})
    assert torch.equal(pictures, without(z, sigma, given))
    with pytest.raises(ConfigurationError, match="2 at most"):
        build(replace(FILMS, most_frames=2), backbone_with_random_weights())(z, sigma, given)


def test_time_stands_behind_the_blocks_that_the_settings_name():
    blocks = {("all", 1): (0, 1, 2, 3), ("double", 1): (0, 1), ("single", 1): (2, 3), ("none", 1): (),
              ("all", 3): (0, 3)}
    for (which, every), expected in blocks.items():
        settings = replace(FILMS, temporal=which, temporal_every=every)
        names = build(settings, backbone_with_random_weights()).adapter_state()
        assert {int(name.split(".")[1]) for name in names if name.startswith("temporal.")} == set(expected)


@pytest.mark.parametrize("off", [{"temporal": "none"}, {"image_context": "none"}, {"attribute_context": False},
                                 {"image_context": "none", "attribute_context": False}, {"memory": "none"},
                                 {"identity_anchor": False}, {"residual": False}, {"lora_rank": 0}])
@torch.no_grad()
def test_each_part_can_be_switched_off_and_then_has_no_parameters(off):
    model, (z, sigma, given) = stirred_film(replace(FILMS, **off)), given_of(1)
    assert set(model.adapter_state()) < set(build(FILMS, backbone_with_random_weights()).adapter_state())
    assert torch.isfinite(model(z, sigma, given)).all()
    assert torch.isfinite(model(z, sigma, replace(given, faces=(), attributes=None))).all()


def test_every_trainable_parameter_learns_after_one_step_and_recomputation_gives_the_same_gradients():
    model = build(FILMS, backbone_with_random_weights())
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.5)
    for seed in range(2):
        optimizer.zero_grad()
        z, sigma, given = given_of(2, seed=seed)
        model(z, sigma, given).square().mean().backward()
        if seed == 0:
            optimizer.step()
    gradients = {name: p.grad.clone() for name, p in model.named_trainable_parameters().items()}
    unsaid = torch.isnan(SAID)
    for name in ("name", "direction"):  # an attribute of which nothing was said taught nothing
        gradient = gradients[f"attribute_context.{name}"]
        assert not gradient[unsaid].any() and gradient[~unsaid].any(dim=1).all()
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []
    model.gradient_checkpointing = True
    optimizer.zero_grad()
    model(z, sigma, given).square().mean().backward()
    assert all(torch.allclose(p.grad, gradients[name], atol=1e-7)
               for name, p in model.named_trainable_parameters().items())


def test_under_autocast_on_a_bfloat16_base_clips_are_computed():
    model, (z, sigma, given) = stirred_film(), given_of()
    with torch.no_grad():
        fine = model(z, sigma, given)
    for parameter in model.backbone.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(z, sigma, given)
    rough.square().mean().backward()
    assert (rough - fine).abs().mean() < 0.1 * fine.abs().mean()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.trainable_parameters())


def test_what_is_kept_while_sampling_changes_no_bit_and_reuse_moves_it_a_little():
    model, (_, _, given) = stirred_film(), given_of(1)

    def drawn(cache):
        return sample(lambda z, sigma: model(z, sigma, given, cache), initial_noise(range(BATCH), (TOKENS, 16)),
                      shift_schedule(4, TOKENS))

    plain = drawn(None)
    assert torch.equal(drawn(Cache()), plain)
    assert 0 < (drawn(Cache(reuse=2)) - plain).abs().mean() < 0.2 * plain.abs().mean()
    z, sigma, _ = given_of(1)
    cache = Cache(reuse=2)
    with torch.no_grad():
        whole = model(z, sigma, given, cache)
        assert torch.allclose(model(z, sigma, given, cache), whole, atol=1e-5)
    assert cache.replays


def test_conditions_of_clips_are_joined_cut_and_thinned_whole():
    _, _, one = given_of(1)
    _, _, other = given_of(1, seed=5, attributes=None)
    both = joined([one, other])
    assert both.attributes.shape == (2 * BATCH, len(ATTRIBUTES)) and both.attributes[BATCH:].isnan().all()
    assert torch.equal(both.rows(slice(0, BATCH)).attributes.nan_to_num(-1), one.attributes.nan_to_num(-1))
    with pytest.raises(AssertionError, match="through a clip"):
        both.rows(slice(0, FRAMES + 1))
    gone = torch.tensor([True] * FRAMES + [False] * FRAMES)
    less = one.dropped(~torch.ones(BATCH, dtype=torch.bool), gone, None)
    assert less.attributes[:FRAMES].isnan().all()
    assert torch.equal(less.attributes[FRAMES:].isnan(), one.attributes[FRAMES:].isnan())
    with pytest.raises(AssertionError):
        joined([one, replace(other, frames=1)])


def test_a_checkpoint_comes_back_with_its_time_and_contexts(tmp_path):
    model, (z, sigma, given) = stirred_film(), given_of()
    settings = ModelSettings(
        image_size=64, system=FILMS, backbone=BACKBONE,
        autoencoder=AutoencoderSettings(block_out_channels=(8, 8, 8), layers_per_block=1, latent_channels=4,
                                        norm_num_groups=4, mid_block_attention=False, pixel_fold=2))
    weights.save(tmp_path / "autoencoder.safetensors", Autoencoder(settings.autoencoder).state_dict())
    weights.save(tmp_path / "backbone.safetensors", backbone_with_random_weights().state_dict())
    folder = tmp_path / "step"
    write_description(folder, Description(
        model=settings, embedder="adaface_small",
        weights={role: BaseWeight(name=role, sha256="") for role in ("autoencoder", "backbone")}))
    write_adapter(folder, model.adapter_state())
    back = load_model(folder, lambda name: tmp_path / f"{name}.safetensors", use_ema=False)
    assert back.settings.system == FILMS
    with torch.no_grad():
        assert torch.equal(back.network(z, sigma, given), model(z, sigma, given))
    write_adapter_file(folder, tmp_path / "one_file.safetensors", ema=False)
    read_adapter_file(tmp_path / "one_file.safetensors", tmp_path / "back")
    again = load_model(tmp_path / "back", lambda name: tmp_path / f"{name}.safetensors").network.adapter_state()
    assert all(torch.equal(again[name], value) for name, value in model.adapter_state().items())


@torch.no_grad()
def test_a_composite_context_reads_the_face_encoder_s_tokens():
    settings = replace(FILMS, image_context="composite", face_tokens=5, face_width=6)
    model, (z, sigma, given) = stirred_film(settings), given_of(2)
    generator = torch.Generator().manual_seed(9)
    faces = tuple(replace(face, tokens=torch.randn(BATCH, 5, 6, generator=generator)) for face in given.faces)
    found = model(z, sigma, replace(given, faces=faces))
    other = (replace(faces[0], tokens=faces[0].tokens + torch.arange(5.0)[:, None] * torch.arange(6.0)), faces[1])
    assert not torch.allclose(model(z, sigma, replace(given, faces=other)), found, atol=1e-4)
    unheard = replace(given, faces=faces, heard=torch.zeros(BATCH, dtype=torch.bool))
    assert torch.equal(model(z, sigma, unheard), model(z, sigma, replace(given, faces=())))


@torch.no_grad()
def test_compiled_parts_compute_the_same():
    model, (z, sigma, given) = stirred_film(), given_of()
    plain = model(z, sigma, given)
    for part in (model.decoupled[0], model.temporal["0"]):  # the blocks are compiled in test_models_iconface
        part.compile(backend="eager")
    assert torch.allclose(model(z, sigma, given), plain, atol=1e-5)


def test_settings_come_back_by_their_kind_and_wrong_ones_are_refused():
    back = SystemSettings.from_dict(FILMS.to_dict())
    assert back == FILMS and isinstance(back, IPFVRSettings) and back.hears_attributes
    assert FILMS.face_shape == (0, 0) and replace(FILMS, image_context="composite").face_shape == (197, 768)
    with pytest.raises(ConfigurationError, match="temporal_heads is 5; 32 channels"):
        build(replace(FILMS, temporal_heads=5), backbone_with_random_weights())
    for wrong, why in (({"temporal": "some"}, "all, double, single, none"), ({"context_scope": "text"}, "scene"),
                       ({"image_context": "faces"}, "composite"), ({"identity_dimension": 0}, "identity token"),
                       ({"most_frames": 0}, "most_frames is 0"), ({"temporal_every": 0}, "temporal_every is 0")):
        with pytest.raises(ConfigurationError, match=why):
            replace(FILMS, **wrong)
