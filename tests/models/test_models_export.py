"""A trained model handed on is the same model."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
import torch
from test_models_checkpoint import SETTINGS, arguments, trained  # noqa: F401 - the fixture

from anchorface.models.backbone import build_backbone
from anchorface.models.checkpoint import load_model, read_description, write_description
from anchorface.models.export import read_adapter_file, write_adapter_file, write_lora, write_merged
from anchorface.models.iconface.network import IConFace
from anchorface.models.weights import load, load_backbone, save
from anchorface.records import CheckpointError


def test_an_adapter_file_holds_the_whole_description_and_makes_the_checkpoint_again(trained, tmp_path):  # noqa: F811
    folder, _, finder = trained
    file, again = tmp_path / "adapter.safetensors", tmp_path / "again"
    write_adapter_file(folder, file)
    assert read_adapter_file(file, again) == read_description(folder) == read_description(again)
    with torch.no_grad():
        assert torch.equal(load_model(again, finder).network(*arguments()),
                           load_model(folder, finder).network(*arguments()))


def test_an_imported_adapter_is_not_compared_with_hashes_of_files_that_stayed_behind(trained, tmp_path):  # noqa: F811
    folder, _, finder = trained
    said = read_description(folder)
    files = {name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
                    "bytes": (folder / name).stat().st_size} for name in ("adapter.safetensors", "ema.safetensors")}
    write_description(folder, replace(said, extra={**said.extra, "state": {"steps": 1, "files": files}}))
    write_adapter_file(folder, tmp_path / "one.safetensors")
    read_adapter_file(tmp_path / "one.safetensors", tmp_path / "again")
    load_model(tmp_path / "again", finder, use_ema=False)
    content = bytearray((folder / "ema.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "ema.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="it was damaged"):
        write_adapter_file(folder, tmp_path / "two.safetensors")
    with pytest.raises(CheckpointError, match="it was damaged"):
        load_model(folder, finder)


def test_a_file_that_is_no_adapter_or_does_not_fit_its_description_is_refused(trained, tmp_path):  # noqa: F811
    folder, _, _ = trained
    file = tmp_path / "adapter.safetensors"
    write_adapter_file(folder, file)
    tensors, header = load(file)
    name = next(iter(tensors))
    save(tmp_path / "short.safetensors", {k: v for k, v in tensors.items() if k != name}, header)
    with pytest.raises(CheckpointError, match=f"1 missing: {name}"):
        read_adapter_file(tmp_path / "short.safetensors", tmp_path / "x")
    save(tmp_path / "other.safetensors", tensors, {"kind": "something else"})
    with pytest.raises(CheckpointError, match="something else"):
        read_adapter_file(tmp_path / "other.safetensors", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_lora_of_other_tools_is_the_update_of_each_weight(trained, tmp_path):  # noqa: F811
    folder, _, finder = trained
    left_out = write_lora(folder, tmp_path / "lora.safetensors")
    assert set(left_out) == {"double_attention", "identity_anchor", "memory", "residual", "single_attention"}
    lora, header = load(tmp_path / "lora.safetensors")
    assert header["demanded"] == "{}", "the run demanded nothing of its dataset"
    base = load_backbone(finder("base_small"), SETTINGS.backbone)
    modules = {name.rpartition(".lora_A")[0] for name in lora if ".lora_A." in name}
    assert len(modules) * 3 == len(lora)
    loaded = load_model(folder, finder).network
    for module in modules:
        inside = module.removeprefix("transformer.")
        a, b, alpha = (lora[f"{module}.{part}"] for part in ("lora_A.weight", "lora_B.weight", "alpha"))
        weight = base.get_submodule(inside).weight + alpha / len(a) * b @ a
        x = torch.randn(2, weight.shape[1], generator=torch.Generator().manual_seed(1))
        assert torch.allclose(x @ weight.T, loaded.backbone.get_submodule(inside)(x), atol=1e-5)


def test_what_the_run_demanded_of_its_dataset_goes_along(trained, tmp_path):  # noqa: F811
    folder, _, _ = trained
    copy = shutil.copytree(folder, tmp_path / "copy")
    requires = [["consent", ["given"]], ["licence", ["CC BY 4.0", "CC0-1.0"]]]
    write_description(copy, replace(read_description(folder), recipe={"feed": {"requires": requires}}))
    write_lora(copy, tmp_path / "lora.safetensors")
    write_adapter_file(copy, tmp_path / "adapter.safetensors")
    again = read_adapter_file(tmp_path / "adapter.safetensors", tmp_path / "again")
    assert again.demanded == json.loads(load(tmp_path / "lora.safetensors")[1]["demanded"]) == dict(requires)


def test_merging_moves_the_lora_into_the_base_and_changes_no_velocity(trained, tmp_path):  # noqa: F811
    folder, _, finder = trained
    write_merged(folder, tmp_path / "merged", finder, dtype=torch.float32)
    merged = load_backbone(tmp_path / "merged" / "transformer", SETTINGS.backbone)
    model = IConFace(merged, replace(SETTINGS.system, lora_rank=0))
    tensors, _ = load(tmp_path / "merged" / "adapter.safetensors")
    model.load_adapter_state(tensors)
    with torch.no_grad():
        assert torch.allclose(model(*arguments()), load_model(folder, finder).network(*arguments()), atol=1e-5)


def test_merging_on_another_base_than_the_trained_one_is_refused(trained, tmp_path):  # noqa: F811
    folder, _, finder = trained
    save(finder("base_small"), build_backbone(SETTINGS.backbone, seed=4).state_dict())
    with pytest.raises(CheckpointError, match=r"trained on base_small with SHA-256 \w{12}.*but .* has \w{12}"):
        write_merged(folder, tmp_path / "merged", finder)
    assert not (tmp_path / "merged").exists()
