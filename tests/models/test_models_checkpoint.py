"""Weight files and checkpoints: what is read, and what is refused."""

import pickle
from dataclasses import replace

import pytest
import torch

from anchorface.models import weights
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory, build_backbone
from anchorface.models.checkpoint import (
    LOSS_EMBEDDER,
    BaseWeight,
    Description,
    load_model,
    read_description,
    require_same_model,
    write_adapter,
    write_description,
)
from anchorface.models.conditions import Conditions
from anchorface.models.configuration import AutoencoderSettings, BackboneSettings, ModelSettings
from anchorface.models.iconface.network import IConFace
from anchorface.models.iconface.settings import IConFaceSettings
from anchorface.records import CheckpointError, ConfigurationError
from anchorface.records.hashes import sha256

SETTINGS = ModelSettings(
    image_size=64,
    autoencoder=AutoencoderSettings(block_out_channels=(8, 8, 8), layers_per_block=1, latent_channels=4,
                                    norm_num_groups=4, mid_block_attention=False, pixel_fold=2),
    backbone=BackboneSettings(num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
                              joint_attention_dim=24, axes_dims_rope=(4, 4, 4, 4), text_tokens=3, in_channels=16),
    system=IConFaceSettings(identity_dimension=8, base_tokens=4, detail_tokens=4, pooler_heads=2, cross_heads=2,
                              lora_rank=4, cross_rank=4, cross_query_rank=4, residual_rank=4),
)


@pytest.fixture
def trained(tmp_path):
    """A checkpoint folder with its base weights beside it, the model that wrote it, and the finder."""
    autoencoder, backbone = Autoencoder(SETTINGS.autoencoder), build_backbone(SETTINGS.backbone, seed=3)
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("autoencoder_small", "base_small")}
    weights.save(paths["autoencoder_small"], autoencoder.state_dict())
    weights.save(paths["base_small"], backbone.state_dict(), {"seed": "3"})
    model = IConFace(backbone, SETTINGS.system)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    folder = tmp_path / "step-00000400"
    names = {"autoencoder": "autoencoder_small", "backbone": "base_small"}
    write_description(folder, Description(
        model=SETTINGS, embedder="adaface_small", clock=400, recipe={"name": "iconface_tiny"},
        weights={role: BaseWeight(name=name, sha256=sha256(paths[name])) for role, name in names.items()},
    ))
    write_adapter(folder, model.adapter_state())
    write_adapter(folder, {name: 0.5 * value for name, value in model.adapter_state().items()}, ema=True)
    return folder, model, paths.__getitem__


def arguments():
    generator = torch.Generator().manual_seed(0)
    scene, degraded, reference = torch.randn(3, 2, 16, 16, generator=generator)
    identity = torch.nn.functional.normalize(torch.randn(2, 8, generator=generator), dim=-1)
    text = TextMemory.fixed(SETTINGS.backbone)(2)
    given = Conditions(text=text, degraded=degraded, references=(reference,), identity=identity)
    return scene, torch.tensor([0.2, 0.9]), given


def test_a_checkpoint_comes_back_as_the_same_network(trained):
    folder, model, finder = trained
    loaded = load_model(folder, finder, use_ema=False)
    with torch.no_grad():
        assert torch.equal(loaded.network(*arguments()), model(*arguments()))
        averaged = load_model(str(folder), finder)
        assert not torch.allclose(averaged.network(*arguments()), model(*arguments()), atol=1e-4)
    assert loaded.settings == SETTINGS and loaded.description == read_description(folder)
    assert loaded.description.clock == 400
    assert not any(p.requires_grad for p in loaded.network.parameters())
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    assert loaded.autoencoder.decode(loaded.autoencoder.encode(image), 4, 4).shape == image.shape


def test_adapters_of_another_configuration_are_refused_by_name(trained):
    folder, _, finder = trained
    other = IConFace(build_backbone(SETTINGS.backbone), replace(SETTINGS.system, lora_rank=8, residual=False))
    write_adapter(folder, other.adapter_state(), ema=True)
    with pytest.raises(CheckpointError, match=r"(?s)ema\.safetensors.*missing: residual.*shape"):
        load_model(folder, finder)


def test_a_checkpoint_of_other_settings_is_refused_and_the_difference_named(trained):
    folder, _, _ = trained
    here = replace(SETTINGS, system=replace(SETTINGS.system, lora_rank=8))
    require_same_model(read_description(folder), SETTINGS, folder)
    with pytest.raises(CheckpointError, match=r"system\.lora_rank is 4 there and 8 here"):
        require_same_model(read_description(folder), here, folder)


def test_a_checkpoint_of_another_system_is_refused_and_both_are_named(trained, tmp_path):
    folder, _, finder = trained
    text = (folder / "checkpoint.json").read_text()
    (folder / "checkpoint.json").write_text(text.replace('"kind": "iconface"', '"kind": "restorenet"'))
    with pytest.raises(CheckpointError, match=r"unknown system 'restorenet'; known are .*iconface"):
        load_model(folder, finder)


def test_a_base_that_was_trained_in_bfloat16_is_used_in_bfloat16(trained):
    folder, model, finder = trained
    write_description(folder, replace(read_description(folder), base_precision="bf16"))
    loaded = load_model(folder, finder, use_ema=False).network
    adapters = loaded.adapter_state()
    assert {p.dtype for name, p in loaded.named_parameters() if name not in adapters} == {torch.bfloat16}
    assert {p.dtype for p in adapters.values()} == {torch.float32}
    with torch.no_grad():
        exact, rounded = model(*arguments()), loaded(*arguments()).float()
    assert 0 < (rounded - exact).square().mean() < 1e-2 * exact.square().mean()


def test_other_base_weights_are_refused(trained):
    folder, _, finder = trained
    weights.save(finder("base_small"), build_backbone(SETTINGS.backbone, seed=4).state_dict())
    with pytest.raises(CheckpointError, match="trained on base_small"):
        load_model(folder, finder)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the pickle was run",)


@pytest.mark.parametrize("write", [
    lambda path: torch.save({"a": Bomb()}, path),
    lambda path: path.write_bytes(pickle.dumps(Bomb())),
    lambda path: torch.save({"a": Bomb()}, path, _use_new_zipfile_serialization=False),
])
def test_a_pickle_posing_as_a_checkpoint_is_refused_and_never_run(trained, write):
    folder, _, finder = trained
    write(folder / "ema.safetensors")
    with pytest.raises(CheckpointError, match="pickle"):
        load_model(folder, finder)


def test_damaged_and_missing_files_are_refused(trained):
    folder, _, finder = trained
    whole = (folder / "ema.safetensors").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not weights at all"):
        (folder / "ema.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load_model(folder, finder)
    (folder / "ema.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(folder, finder)


@pytest.mark.parametrize(("content", "text"), [
    ("{}", "not the description"), ("no json", "not the description"), ('{"format": 9}', "format 9"),
    ("[1]", "not the description"), (b"\xff\xfe\x00".decode("latin1"), "not the description"),
])
def test_a_damaged_description_is_refused(trained, content, text):
    folder, _, finder = trained
    (folder / "checkpoint.json").write_text(content)
    with pytest.raises(CheckpointError, match=text):
        load_model(folder, finder)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        read_description(tmp_path / "nowhere")


def test_half_precision_files_keep_running_statistics_whole(tmp_path):
    autoencoder = Autoencoder(SETTINGS.autoencoder)
    autoencoder.set_whitening(torch.full((16,), 1e-6), torch.full((16,), 1e-7))
    weights.save_half(tmp_path / "a.safetensors", autoencoder.state_dict(), {"architecture": "tiny"})
    weights.save(tmp_path / "b.safetensors", autoencoder.state_dict())
    assert (tmp_path / "a.safetensors").stat().st_size < 0.7 * (tmp_path / "b.safetensors").stat().st_size
    tensors, header = weights.load(tmp_path / "a.safetensors")
    assert header == {"architecture": "tiny"}
    assert tensors["vae.bn.running_var"][0] == pytest.approx(1e-7)
    back = weights.load_autoencoder(tmp_path / "a.safetensors", SETTINGS.autoencoder)
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.allclose(back.posterior(images)[0], autoencoder.posterior(images)[0], atol=0.02)


def test_diffusers_own_autoencoder_file_is_read(tmp_path):
    autoencoder = Autoencoder(SETTINGS.autoencoder)
    weights.save(tmp_path / "vae.safetensors", autoencoder.vae.state_dict())
    back = weights.load_autoencoder(tmp_path / "vae.safetensors", SETTINGS.autoencoder)
    assert all(torch.equal(value, autoencoder.state_dict()[name]) for name, value in back.state_dict().items())


def test_tokens_are_white_after_the_statistics_are_set_and_decoding_undoes_it():
    autoencoder = Autoencoder(SETTINGS.autoencoder).eval()
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        latents = autoencoder.posterior(images)[0]
        autoencoder.set_whitening(latents.mean((0, 2, 3)), latents.var((0, 2, 3)))
        tokens = autoencoder.encode(images)
        assert tokens.shape == (4, 16, 16)
        assert tokens.mean((0, 1)).abs().max() < 1e-3 and (tokens.var((0, 1)) <= 1.01).all()
        assert torch.allclose(autoencoder.decode(tokens, 4, 4), autoencoder(images)[0], atol=1e-4)
        assert torch.allclose(tokens[:1], autoencoder.encode(images[:1]), atol=1e-4)


def test_a_token_holds_two_by_two_latent_pixels_in_flux_order():
    autoencoder = Autoencoder(SETTINGS.autoencoder).eval()
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        map_of_latents = autoencoder.vae.encode(torch.nn.functional.pixel_unshuffle(images, 2)).latent_dist.mean
        packed = autoencoder.posterior(images)[0]
    for channel, row, column in ((0, 0, 0), (2, 1, 0), (3, 1, 1)):
        expected = map_of_latents[0, channel, 2 + row, 4 + column]
        assert packed[0, 4 * channel + 2 * row + column, 1, 2] == expected


def test_images_of_odd_size_are_refused():
    with pytest.raises(ConfigurationError, match="multiples of 16"):
        Autoencoder(SETTINGS.autoencoder).encode(torch.zeros(1, 3, 60, 64))


def test_text_memory_mixes_prompt_and_empty_per_image():
    memory = TextMemory.fixed(SETTINGS.backbone, seed=1)
    mixed = memory(2, empty=torch.tensor([True, False]))
    assert torch.equal(mixed[0], memory.empty) and torch.equal(mixed[1], memory.prompt)
    assert torch.equal(memory(1)[0], TextMemory.fixed(SETTINGS.backbone, seed=1).prompt)
    assert not torch.equal(memory.prompt, TextMemory.fixed(SETTINGS.backbone, seed=2).prompt)


def test_a_network_that_stood_in_the_loss_alone_is_not_asked_for_at_use(trained):
    folder, _, finder = trained
    description = read_description(folder)
    assert description.loss_embedder is None and description.embedders == ("adaface_small",)
    apart = BaseWeight(name="mobileface_mit_112", sha256="0" * 64)
    write_description(folder, replace(description, weights=description.weights | {LOSS_EMBEDDER: apart}))
    assert load_model(folder, finder).description.embedders == ("adaface_small", "mobileface_mit_112")
