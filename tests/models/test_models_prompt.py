"""The text encoder is asked once: its stored answer is what diffusers' own klein pipeline would compute."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import build_backbone
from anchorface.models.checkpoint import read_text
from anchorface.models.configuration import AutoencoderSettings, BackboneSettings, ModelSettings
from anchorface.models.ip_fvr.attribute_context import read_attributes, write_attributes
from anchorface.models.prompt import RESTORATION_PROMPT, embed_attributes, embed_prompts, write_prompts
from anchorface.models.weights import load_autoencoder, load_backbone, save
from anchorface.records import CheckpointError
from anchorface.records.attributes import ATTRIBUTES

SETTINGS = ModelSettings(
    image_size=64,
    autoencoder=AutoencoderSettings(block_out_channels=(16, 32, 32, 32), layers_per_block=1, latent_channels=8,
                                    norm_num_groups=8),
    backbone=BackboneSettings(num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
                              joint_attention_dim=48, axes_dims_rope=(4, 4, 4, 4), text_tokens=64, in_channels=32),
)


@pytest.fixture(scope="module")
def klein(tmp_path_factory):
    """A folder in diffusers' layout with random weights: transformer (cut into several files), VAE, Qwen3, words."""
    folder = tmp_path_factory.mktemp("klein")
    build_backbone(SETTINGS.backbone, seed=4).save_pretrained(folder / "transformer", max_shard_size="100KB")
    Autoencoder(SETTINGS.autoencoder, seed=5).vae.save_pretrained(folder / "vae")
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(vocab_size=128, hidden_size=16, intermediate_size=32, num_hidden_layers=28,
                                 num_attention_heads=2, num_key_value_heads=1, head_dim=8)).save_pretrained(
        folder / "text_encoder")
    words = ["[pad]", "[unk]", "<user>", "<assistant>", *sorted(set(RESTORATION_PROMPT.split()))]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[unk]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[pad]", unk_token="[unk]")
    tokenizer.chat_template = (
        "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}")
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder


def test_the_stored_prompts_are_those_of_the_klein_pipeline(klein, tmp_path):
    text = embed_prompts(klein / "text_encoder", klein / "tokenizer", SETTINGS.backbone, dtype=torch.float32)
    write_prompts(tmp_path / "prompt.safetensors", text, RESTORATION_PROMPT)
    stored = read_text(tmp_path / "prompt.safetensors", SETTINGS)
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), transformer=None, vae=None,
        text_encoder=AutoModelForCausalLM.from_pretrained(klein / "text_encoder", dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(klein / "tokenizer"))
    with torch.no_grad():
        for words, ours in ((RESTORATION_PROMPT, stored.prompt), ("", stored.empty)):
            stock, _ = pipeline.encode_prompt(words, max_sequence_length=SETTINGS.backbone.text_tokens)
            assert torch.allclose(ours, stock[0], atol=1e-5)
    assert not torch.allclose(stored.prompt, stored.empty)


def test_attributes_are_stored_as_the_text_encoder_reads_both_ends_of_each(klein, tmp_path):
    prompts = embed_attributes(klein / "text_encoder", klein / "tokenizer", dtype=torch.float32)
    assert {name: tensor.shape for name, tensor in prompts.items()} == dict.fromkeys(
        ("low", "high"), (len(ATTRIBUTES), SETTINGS.backbone.joint_attention_dim))
    encoder = AutoModelForCausalLM.from_pretrained(klein / "text_encoder", dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(klein / "tokenizer")
    with torch.no_grad():
        said = words(f"<user> {ATTRIBUTES[0].high} <assistant>", return_tensors="pt")
        states = encoder(**said, output_hidden_states=True).hidden_states
    expected = torch.cat([states[layer][0, -1] for layer in (9, 18, 27)])
    assert torch.allclose(prompts["high"][0], expected, atol=1e-5)
    write_attributes(tmp_path / "attributes.safetensors", prompts)
    assert all(torch.equal(read_attributes(tmp_path / "attributes.safetensors")[name], prompts[name])
               for name in prompts)
    save(tmp_path / "other.safetensors", prompts, {"kind": "attribute embeddings", "attributes": "age, hat"})
    with pytest.raises(CheckpointError, match="not the embeddings of the attributes age, smile"):
        read_attributes(tmp_path / "other.safetensors")


def test_a_folder_in_diffusers_layout_is_read_whole_however_many_files_it_has(klein):
    assert len(list((klein / "transformer").glob("*.safetensors"))) > 1
    loaded = load_backbone(klein / "transformer", SETTINGS.backbone).state_dict()
    made = build_backbone(SETTINGS.backbone, seed=4).state_dict()
    assert loaded.keys() == made.keys() and all(torch.equal(loaded[name], made[name]) for name in made)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        assert torch.equal(load_autoencoder(klein / "vae", SETTINGS.autoencoder).encode(image),
                           Autoencoder(SETTINGS.autoencoder, seed=5).eval().encode(image))


def test_a_missing_part_and_a_wrong_width_are_named(klein, tmp_path):
    one, *_ = sorted((klein / "transformer").glob("*.safetensors"))
    for file in (klein / "transformer").iterdir():
        if file != one:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="missing"):
        load_backbone(tmp_path, SETTINGS.backbone)
    with pytest.raises(CheckpointError, match="no safetensors file"):
        load_backbone(klein / "tokenizer", SETTINGS.backbone)
    other = BackboneSettings(num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
                             joint_attention_dim=96, axes_dims_rope=(4, 4, 4, 4), text_tokens=8, in_channels=32)
    with pytest.raises(CheckpointError, match="48 numbers, the backbone takes 96"):
        embed_prompts(klein / "text_encoder", klein / "tokenizer", other)
    with pytest.raises(CheckpointError, match="not a text encoder"):
        embed_prompts(klein / "vae", klein / "tokenizer", SETTINGS.backbone)
