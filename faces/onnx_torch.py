"""ArcFace-type ONNX networks in torch, so that gradients flow to their pictures.

In: an ONNX file of a few operators (`OPERATIONS`), its weights inside it. Out: a frozen module that takes and gives
what an AdaFace network does (faces.adaface). onnxruntime passes no gradients, and stays what judges and curation use.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as functional
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from anchorface.records.errors import WeightsError

LARGEST = 2**29
"""Bytes of a file that is read; the largest of the packs has half of it."""


class OnnxFaceNet(nn.Module):
    """A frozen ONNX face embedder, float32. signed: the file takes RGB in -1..1, otherwise RGB in 0..255.

    Raises:
        WeightsError: no ONNX network, larger than LARGEST, with weights in other files, with more than one input or
            output, with an operator or attribute that is not among OPERATIONS (names it), or for other crops.
    """

    def __init__(self, path: Path, *, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        graph = _read(path)
        constants = {one.name: _constant(one, path) for one in graph.initializer}
        inputs = [one.name for one in graph.input if one.name not in constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise WeightsError(f"{path}: {len(inputs)} inputs and {len(graph.output)} outputs; one of each is needed")
        self.input, self.output = inputs[0], graph.output[0].name
        floats = {name: value.float() for name, value in constants.items() if value.is_floating_point()}
        self.sizes = {name: tuple(constants[name].reshape(-1).tolist()) for name in constants.keys() - floats.keys()}
        self.names = tuple(floats)
        self.constants = nn.ParameterList([nn.Parameter(value, requires_grad=False) for value in floats.values()])
        self.steps = _steps(graph, {self.input, *constants}, path)
        try:
            with torch.no_grad():
                self.dimension = int(self(torch.zeros(1, 3, 112, 112))[0].shape[-1])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{path}: takes no [1, 3, 112, 112] crop ({type(error).__name__}: {error})") from error

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, 112, 112] BGR in [-1, 1] to (unit embedding [B, D], norm [B, 1]); raw = unit * norm."""
        rgb = images.flip(1)
        values: dict[str, Any] = {**self.sizes, **dict(zip(self.names, self.constants, strict=True)),
                                  self.input: rgb if self.signed else rgb * 127.5 + 127.5}
        for step in self.steps:
            values[step.output] = step.operation(*(values[name] for name in step.inputs), **step.attributes)
            for name in step.last:
                del values[name]
        raw = values[self.output].float()
        norm = torch.linalg.vector_norm(raw, dim=1, keepdim=True).clamp_min(1e-12)
        return raw / norm, norm


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node: `output` is the operation of values by name. last: those that no later node asks for."""

    operation: Callable[..., Tensor]
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]
    last: tuple[str, ...]


def _read(path: Path) -> onnx.GraphProto:
    if path.stat().st_size > LARGEST:
        raise WeightsError(f"{path}: more than {LARGEST:,} bytes; face embedders are smaller")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise WeightsError(f"{path}: not an ONNX network ({error})") from error
    return model.graph


def _constant(tensor: onnx.TensorProto, path: Path) -> Tensor:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise WeightsError(f"{path}: {tensor.name!r} lies in another file; only whole files are read")
    try:
        return torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {tensor.name!r} is damaged or of no known type ({error})") from error


def _steps(graph: onnx.GraphProto, known: set[str], path: Path) -> tuple[Step, ...]:
    last = {name: number for number, node in enumerate(graph.node) for name in node.input}
    last |= {one.name: len(graph.node) for one in graph.output}
    known, steps = set(known), []
    for number, node in enumerate(graph.node):
        operation = OPERATIONS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        inputs = tuple(node.input)
        if operation is None or len(node.output) != 1 or node.output[0] in known:
            raise WeightsError(f"{path}: no gradients through ONNX's operator {node.op_type!r} (node {number}, "
                               f"{node.name!r}); known are {', '.join(OPERATIONS)}")
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        try:
            inspect.signature(operation).bind(*inputs, **attributes)
        except TypeError as error:
            raise WeightsError(f"{path}: ONNX's {node.op_type} with inputs or attributes that are not read here (node "
                               f"{number}, {node.name!r}: {error})") from error
        if unknown := set(inputs) - known:
            raise WeightsError(f"{path}: node {number}, {node.name!r}, asks for {min(unknown)!r}, which nothing gives")
        known.add(node.output[0])
        steps.append(Step(operation=operation, inputs=inputs, output=node.output[0], attributes=attributes,
                          last=tuple(name for name in dict.fromkeys(inputs) if last[name] == number)))
    return tuple(steps)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, kernel_shape: Any = None, group: int = 1,
          strides: Sequence[int] = (1, 1), dilations: Sequence[int] = (1, 1),
          pads: Sequence[int] = (0, 0, 0, 0)) -> Tensor:
    top, left, bottom, right = pads
    if (top, left) != (bottom, right):
        x, (top, left) = functional.pad(x, (left, right, top, bottom)), (0, 0)
    return functional.conv2d(x, weight, bias, tuple(strides), (top, left), tuple(dilations), group)


def _batch_normalization(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *,
                         epsilon: float = 1e-5, momentum: float = 0.9) -> Tensor:
    return functional.batch_norm(x, mean, variance, scale, bias, eps=epsilon)


def _pad(x: Tensor, pads: Sequence[int]) -> Tensor:
    before, after = pads[: x.ndim], pads[x.ndim :]
    return functional.pad(x, [size for pair in zip(before[::-1], after[::-1], strict=True) for size in pair])


def _gemm(a: Tensor, b: Tensor, c: Tensor | float = 0.0, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
          transB: int = 0) -> Tensor:
    return alpha * ((a.T if transA else a) @ (b.T if transB else b)) + beta * c


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Conv": _conv, "BatchNormalization": _batch_normalization, "Pad": _pad, "Gemm": _gemm,
    "PRelu": lambda x, slope: torch.where(x < 0, slope * x, x), "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b, "Max": lambda a, b: torch.maximum(a, b), "Min": lambda a, b: torch.minimum(a, b),
    "MatMul": lambda a, b: a @ b,
    "Flatten": lambda x, axis=1: x.flatten(axis), "Transpose": lambda x, perm: x.permute(tuple(perm)),
    "Identity": lambda x: x,
}
"""ONNX's operators, their inputs in order and their attributes by name, as torch computes them."""
