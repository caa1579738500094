"""An ONNX face network in torch is the network that onnxruntime runs, and gradients flow to its pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from anchorface.faces.align import arcface_matrix, warp
from anchorface.faces.embed import OnnxEmbedder, gradient_network
from anchorface.faces.onnx_torch import LARGEST, OnnxFaceNet
from anchorface.faces.runtime import run, session
from anchorface.records.errors import WeightsError

NAMES = ("mobileface_mit_112", "mobilefacenet_y1_ms1m_112")


def images(crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crops[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1.0


@pytest.mark.parametrize("name", NAMES)
def test_its_embeddings_are_those_of_onnxruntime(name: str, people) -> None:
    rng = np.random.default_rng(3)
    faces = np.stack([warp(p.pixels, arcface_matrix(p.landmarks), 112) for p in people[:4]])
    crops = np.concatenate([faces, rng.integers(0, 256, (2, 112, 112, 3), np.uint8)])
    network, (units, norms) = gradient_network(name), OnnxEmbedder(name).embed(crops)
    with torch.no_grad():
        found, lengths = network(images(crops))
    assert ((units * found.numpy()).sum(axis=1) > 1.0 - 1e-5).all() and found.dtype == torch.float32
    assert lengths[:, 0].numpy() == pytest.approx(norms, rel=1e-4)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_following_its_gradient_makes_a_blurred_face_more_like_itself_by_onnxruntime(people) -> None:
    name = "mobileface_mit_112"
    network, judge = gradient_network(name), OnnxEmbedder(name)
    clean = np.stack([warp(p.pixels, arcface_matrix(p.landmarks), 112) for p in people[:4]])
    blurred = np.stack([cv2.GaussianBlur(crop, (0, 0), 5.0) for crop in clean])
    with torch.no_grad():
        truth = network(images(clean))[0]
    picture = images(blurred).requires_grad_()
    for _ in range(5):
        (gradient,) = torch.autograd.grad((network(picture)[0] * truth).sum(), picture)
        assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()
        with torch.no_grad():
            picture = (picture + 0.02 * gradient.sign()).clamp(-1, 1).requires_grad_()
    after = ((picture.detach().permute(0, 2, 3, 1).numpy()[..., ::-1] + 1) * 127.5).round().astype(np.uint8)
    units = judge.embed(np.concatenate([clean, blurred, after]))[0].reshape(3, 4, -1)
    assert ((units[0] * units[2]).sum(axis=1) > (units[0] * units[1]).sum(axis=1) + 0.1).all()


def residual(path: Path, change: Callable[[onnx.ModelProto], Any] = lambda model: None) -> Path:
    """A small network of ArcFace's operators, with each of their attributes away from its default."""
    rng = np.random.default_rng(1)

    def floats(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array((0.5 + rng.random(shape)).astype(np.float32) / max(shape[-1:], default=1), name)

    nodes = [
        helper.make_node("Conv", ["data", "w"], ["a"], strides=[4, 4], pads=[1, 0, 2, 3], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["a", "g", "b", "m", "v"], ["n"], epsilon=0.1, momentum=0.8),
        helper.make_node("PRelu", ["n", "s"], ["p"]),
        helper.make_node("Conv", ["p", "w2", "b"], ["c"], group=2, dilations=[2, 2], pads=[2, 2, 2, 2]),
        helper.make_node("Add", ["c", "p"], ["r"]),
        helper.make_node("Pad", ["r", "sizes"], ["z"]),
        helper.make_node("Flatten", ["z"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "fc", "d"], ["out"], transB=1, alpha=0.5, beta=2.0),
    ]
    constants = [floats("w", 4, 3, 3, 3), *(floats(name, 4) for name in "gbmv"), floats("s", 4, 1, 1),
                 floats("w2", 4, 2, 3, 3), floats("fc", 8, 4 * 30 * 31), floats("d", 8),
                 numpy_helper.from_array(np.array([0, 0, 0, 1, 0, 0, 1, 1], np.int64), "sizes")]
    graph = helper.make_graph(
        nodes, "residual", [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 8])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("signed", [True, False])
def test_each_operator_and_attribute_is_onnxruntimes(signed: bool, tmp_path: Path) -> None:
    path = residual(tmp_path / "residual.onnx")
    crops = np.random.default_rng(2).integers(0, 256, (3, 112, 112, 3), np.uint8)
    rgb = crops.transpose(0, 3, 1, 2).astype(np.float32)
    expected = run(session(path), rgb / 127.5 - 1.0 if signed else rgb)[0]
    unit, norm = OnnxFaceNet(path, signed=signed)(images(crops))
    np.testing.assert_allclose((unit * norm).numpy(), expected, rtol=1e-4)


def first(model: onnx.ModelProto) -> onnx.NodeProto:
    return model.graph.node[0]


@pytest.mark.parametrize(("change", "said"), [
    (lambda model: setattr(first(model), "op_type", "Einsum"), "operator 'Einsum'"),
    (lambda model: setattr(first(model), "domain", "com.microsoft"), "operator 'Conv'"),
    (lambda model: first(model).attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER")), "Conv.*auto_pad"),
    (lambda model: first(model).input.append("nothing"), "'nothing', which nothing gives"),
    (lambda model: setattr(model.graph.initializer[0], "data_location", TensorProto.EXTERNAL), "'w' lies in another"),
    (lambda model: setattr(model.graph.initializer[0], "raw_data", b"12345"), "'w' is damaged"),
    (lambda model: model.graph.input.append(model.graph.input[0]), "2 inputs and 1 outputs"),
    (lambda model: setattr(model.graph.output[0], "name", "elsewhere"), r"takes no \[1, 3, 112, 112\] crop"),
    (lambda model: model.graph.node.pop(6), "'f', which nothing gives"),
])
def test_a_file_that_is_not_understood_is_refused_and_says_why(change, said: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=said):
        OnnxFaceNet(residual(tmp_path / "changed.onnx", change), signed=True)


def test_no_network_and_a_file_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"GIF89a, and no network")
    with pytest.raises(WeightsError, match="not an ONNX network"):
        OnnxFaceNet(path, signed=True)
    with path.open("wb") as stream:
        stream.truncate(LARGEST + 1)
    with pytest.raises(WeightsError, match="more than"):
        OnnxFaceNet(path, signed=True)
