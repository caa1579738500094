import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anchorface.faces.adaface import AdaFaceNet
from anchorface.faces.embed import TorchEmbedder, embedder
from anchorface.faces.tensors import load_state
from anchorface.records.errors import ConfigurationError, DataError, WeightsError
from anchorface.records.seeds import rng

PUBLISHED = [("ir_18", 24.02), ("ir_34", 34.13), ("ir_50", 43.59), ("ir_101", 65.15)]


@pytest.mark.parametrize(("architecture", "millions"), PUBLISHED)
def test_official_networks_have_the_published_parameter_counts(architecture: str, millions: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in AdaFaceNet(architecture).parameters())
    assert round(count / 1e6, 2) == millions


def test_official_networks_carry_the_official_names_and_shapes() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in AdaFaceNet("ir_50").state_dict().items()}
    for name, shape in {
        "input_layer.0.weight": (64, 3, 3, 3), "input_layer.1.running_var": (64,), "input_layer.2.weight": (64,),
        "body.0.res_layer.0.weight": (64,), "body.0.res_layer.1.weight": (64, 64, 3, 3),
        "body.3.shortcut_layer.0.weight": (128, 64, 1, 1), "body.3.shortcut_layer.1.bias": (128,),
        "body.3.res_layer.3.weight": (128,), "body.23.res_layer.4.weight": (512, 512, 3, 3),
        "output_layer.0.running_mean": (512,), "output_layer.3.weight": (512, 512 * 7 * 7),
        "output_layer.3.bias": (512,), "output_layer.4.running_var": (512,),
    }.items():
        assert shapes[name] == shape, name
    assert "output_layer.4.weight" not in shapes and "body.24.res_layer.0.weight" not in shapes


@pytest.mark.parametrize(("architecture", "dimension", "most"), [
    ("small", 256, 2.5e6), ("judge", 128, 0.7e6)])
def test_own_networks_are_small_and_give_unit_vectors_with_their_length(
    architecture: str, dimension: int, most: float
) -> None:
    torch.manual_seed(0)
    network = AdaFaceNet(architecture).eval()
    assert sum(p.numel() for p in network.parameters()) < most
    images = torch.rand(3, 3, 112, 112).mul(2).sub(1).requires_grad_()
    unit, norm = network(images)
    assert unit.shape == (3, dimension) and norm.shape == (3, 1)
    torch.testing.assert_close(torch.linalg.vector_norm(unit, dim=1), torch.ones(3))
    assert (norm > 0).all()
    unit[:, 0].sum().backward()
    assert images.grad is not None and images.grad.abs().max() > 0


def test_the_judge_is_of_another_design_than_the_guide() -> None:
    depthwise = {name: any(isinstance(m, torch.nn.Conv2d) and m.groups > 1 for m in AdaFaceNet(name).body.modules())
                 for name in ("small", "judge")}
    assert depthwise == {"small": False, "judge": True}
    with pytest.raises(WeightsError):
        AdaFaceNet("judge").load(AdaFaceNet("small").state_dict())


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AdaFaceNet]:
    """A checkpoint as the official training writes it: Lightning's names beside `model.` and `head.` tensors."""
    torch.manual_seed(1)
    network = AdaFaceNet("ir_18").eval()
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", module.__name__]
    sys.modules.update({names[0]: types.ModuleType(names[0]), names[1]: types.ModuleType(names[1]), names[2]: module})
    path = tmp_path_factory.mktemp("official") / "adaface_ir18_webface4m.ckpt"
    content = {"state_dict": {**state, "head.kernel": torch.zeros(512, 10)}, "epoch": 25,
               "callbacks": {module.ModelCheckpoint: {"best": 0.5}}, "extra": module.ModelCheckpoint()}
    try:
        torch.save(content, path)
    finally:
        for name in names:
            del sys.modules[name]
    return path, network


def test_an_official_lightning_checkpoint_loads_without_lightning(
    official: tuple[Path, AdaFaceNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, network = official
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", str(path.parent))
    loaded = TorchEmbedder("adaface_ir18_webface4m")
    crops = rng(2, "crops").integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    unit, norm = loaded.embed(crops)
    with torch.inference_mode():
        bgr = torch.from_numpy(crops[..., ::-1].copy()).permute(0, 3, 1, 2).float()
        expected, length = network((bgr / 255 - 0.5) / 0.5)
    np.testing.assert_allclose(unit, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(norm, length[:, 0].numpy(), rtol=1e-4)


@pytest.mark.parametrize("name", ["adaface_ir18_webface4m", "adaface_small"])
def test_a_batch_never_changes_a_bit_of_a_torch_embedding(
    name: str, official: tuple[Path, AdaFaceNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", str(official[0].parent))
    network = TorchEmbedder(name)
    crops = rng(6, "crops").integers(0, 256, (11, 112, 112, 3), dtype=np.uint8)
    together, _ = network.embed(crops)
    for start, stop in ((0, 1), (4, 7), (2, 11), (10, 11)):
        np.testing.assert_array_equal(network.embed(crops[start:stop])[0], together[start:stop])


@pytest.mark.parametrize("prefix", ["net.", "model.net."])
def test_the_authors_copies_for_the_other_order_of_colours_are_the_same_network(
    prefix: str, official: tuple[Path, AdaFaceNet]
) -> None:
    state = {f"{prefix}{name}": value for name, value in official[1].state_dict().items()}
    state[f"{prefix}input_layer.0.weight"] = state[f"{prefix}input_layer.0.weight"].flip(1)
    network = AdaFaceNet("ir_18")
    network.load(state)
    assert all(torch.equal(value, official[1].state_dict()[name]) for name, value in network.state_dict().items())
    with pytest.raises(WeightsError, match="shapes"):
        AdaFaceNet("ir_18").load(state | {f"{prefix}input_layer.0.weight": torch.zeros(3)})


def test_a_checkpoint_of_another_architecture_is_refused_by_name(official: tuple[Path, AdaFaceNet]) -> None:
    with pytest.raises(WeightsError, match=r"adaface_ir18_webface4m.*'small'"):
        AdaFaceNet("small").load(load_state(official[0]), str(official[0]))


def test_half_precision_safetensors_load_into_the_own_networks(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = AdaFaceNet("judge")
    halves = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file(halves, tmp_path / "j.safetensors")
    other = AdaFaceNet("judge")
    other.load(load_state(tmp_path / "j.safetensors"))
    for name, value in network.state_dict().items():
        loaded = other.state_dict()[name]
        assert loaded.dtype == value.dtype
        torch.testing.assert_close(loaded, value, atol=2e-3, rtol=2e-3)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)

    def __init__(self, path: Path) -> None:
        self.path = path


@pytest.mark.parametrize("name", ["adaface_small.safetensors", "adaface_ir50_ms1mv2.ckpt"])
@pytest.mark.parametrize("writer", ["pickle", "torch", "old torch"])
def test_a_pickle_posing_as_weights_is_refused_and_not_run(name: str, writer: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    content = {"state_dict": {"a": Bomb(mark)}}
    if writer == "pickle":
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(WeightsError, match="nothing in it was run"):
        load_state(tmp_path / name)
    assert not mark.exists()


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"ir_50.*judge"):
        AdaFaceNet("ir_500")


def test_an_embedder_takes_only_aligned_crops(
    official: tuple[Path, AdaFaceNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANCHORFACE_WEIGHTS", str(official[0].parent))
    network = embedder("adaface_ir18_webface4m")
    with pytest.raises(DataError, match="112"):
        network.embed(np.zeros((1, 128, 128, 3), np.uint8))
    unit, norm = network.embed(np.zeros((0, 112, 112, 3), np.uint8))
    assert unit.shape == (0, 512) and norm.shape == (0,)


def test_an_embedding_does_not_depend_on_the_process_thread_count() -> None:
    crops = rng(5, "embedding threads").integers(0, 256, (16, 112, 112, 3), dtype=np.uint8)
    network, before, answers = TorchEmbedder("adaface_small"), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            answers.append(network.embed(crops))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for units, norms in answers[1:]:
        assert np.array_equal(units, answers[0][0]) and np.array_equal(norms, answers[0][1])
