"""dlib's network: its file, its place in the face, and the embedder that reads it from its package."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from anchorface.faces.align import ARCFACE_TEMPLATE, apply_matrix
from anchorface.faces.dlib_resnet import CHIP, DlibResNet, chip_matrix, read_network
from anchorface.faces.embed import adaface_network, best_clusterer, embedder, gradient_network
from anchorface.faces.weights import WEIGHTS, find, survey
from anchorface.records import rng
from anchorface.records.errors import WeightsError

POINTS = np.array([(68, 76), (108, 76), (88, 100), (72, 122), (104, 122)], np.float32)


def _file(network: DlibResNet, scales: bool = True) -> bytes:
    """The network in dlib's format: each layer's name, its head, its numbers."""
    def size(number: int) -> bytes:
        used = max(1, (number.bit_length() + 7) // 8)
        return bytes([used]) + number.to_bytes(used, "little")

    def tensor(name: bytes, rows: int, columns: int, values: torch.Tensor) -> bytes:
        return (name + b"\x01\x02" + size(rows) + size(columns) + b"\x01\x01" * 2
                + struct.pack(f"<{values.numel()}f", *values.tolist()))

    content = b"\x01\x01\x0bloss_metric"
    for layer in (module for module in network.modules() if isinstance(module, torch.nn.Conv2d)):
        both = torch.cat([layer.weight.flatten(), layer.bias])
        content += tensor(b"\x05con_4", len(both), 1, both)
        if scales:
            content += tensor(b"\x07affine_", 2 * layer.out_channels, 1,
                              torch.cat([torch.full((layer.out_channels,), 2.0), torch.ones(layer.out_channels)]))
    return content + tensor(b"\x04fc_2\x01\x80\x02\x00\x01", 256, 128, network.code.weight.T.flatten())


def test_dlibs_file_is_read_layer_by_layer_with_its_scales(tmp_path: Path) -> None:
    torch.manual_seed(0)
    written, path = DlibResNet(), tmp_path / "network.dat"
    path.write_bytes(_file(written))
    found = read_network(path)
    assert torch.allclose(found.stem.weight, 2 * written.stem.weight)
    assert torch.allclose(found.units[-1].second.bias, 2 * written.units[-1].second.bias + 1)
    assert torch.equal(found.code.weight, written.code.weight)
    with torch.no_grad():
        assert found(torch.zeros(2, 3, 150, 150)).shape == (2, 128)
    path.write_bytes(_file(written, scales=False))
    with pytest.raises(WeightsError, match="not dlib's face recognition network"):
        read_network(path)
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="fewer tensors"):
        read_network(path)


def test_the_chip_holds_the_face_upright() -> None:
    matrix = chip_matrix(POINTS)
    left, right = (matrix @ (*point, 1) for point in POINTS[:2])
    assert 40 < right[0] - left[0] < 60 and abs(left[1] - right[1]) < 1


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with a network of the right form and drawn numbers; its path."""
    from dataclasses import replace
    from hashlib import sha256

    torch.manual_seed(0)
    file = tmp_path / "face_recognition_models" / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    file.parent.mkdir(parents=True)
    (tmp_path / "face_recognition_models" / "__init__.py").write_text("raise RuntimeError('imported')")
    file.write_bytes(_file(DlibResNet()))
    monkeypatch.syspath_prepend(str(tmp_path))
    known = sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr("anchorface.faces.weights.WEIGHTS", tuple(
        replace(entry, sha256=known) if entry.name == "dlib_resnet_v1" else entry for entry in WEIGHTS))
    return file


def test_the_embedder_is_there_with_its_package_and_is_taken_to_sort_people(package: Path) -> None:
    assert find("dlib_resnet_v1") == package and best_clusterer() == "dlib_resnet_v1"
    network = embedder("dlib_resnet_v1")
    crops = rng(0, "dlib crops", 0).integers(0, 256, (11, 112, 112, 3), dtype=np.uint8)
    units, norms = network.embed(crops)
    assert units.shape == (11, 128) and norms.shape == (11,) and network.dimension == 128
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1.0, atol=1e-6)
    for number in (0, 8, 10):
        alone, length = network.embed(crops[number : number + 1])
        np.testing.assert_array_equal(alone[0], units[number])
        assert length[0] == norms[number]
    assert network.embed(crops[:0])[0].shape == (0, 128)


def test_without_its_package_it_is_missing_and_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anchorface.faces.weights.folders", lambda: (tmp_path,))
    if {row.weight.name: row.state for row in survey()}["dlib_resnet_v1"] == "verified":
        pytest.skip("this machine has the package")
    assert best_clusterer() is None
    with pytest.raises(WeightsError, match=r"face-recognition-models 0\.3\.0.*dlib"):
        find("dlib_resnet_v1")


def test_another_file_is_refused_and_the_network_is_no_anchor(package: Path) -> None:
    for use, why in ((adaface_network, "dlib's network; the anchor takes AdaFace"), (gradient_network, "no gradients")):
        with pytest.raises(WeightsError, match=why):
            use("dlib_resnet_v1")
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="SHA-256"):
        embedder("dlib_resnet_v1")
    assert best_clusterer() is None


def test_a_chip_is_cut_from_the_aligned_crop_as_from_the_photograph(package: Path) -> None:
    """The points of the mean face lie in the same place of both."""
    template = np.array(ARCFACE_TEMPLATE)
    there = apply_matrix(chip_matrix(template), template)
    moved = apply_matrix(chip_matrix(template * 3 + 40), template * 3 + 40)
    np.testing.assert_allclose(there, moved, atol=1e-3)
    assert (there > 0).all() and (there < CHIP).all()
