"""Faces as vectors: one interface over AdaFace and dlib's network in torch and ArcFace-type networks in ONNX.

In: crops uint8 [B, 112, 112, 3] RGB, aligned by `faces.align.arcface_matrix`.
Out: unit float32 [B, D] and norm float32 [B], so that unit * norm[:, None] is the raw embedding.
"""

from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anchorface.faces.adaface import AdaFaceNet
from anchorface.faces.dlib_resnet import CHIP, TEMPLATE_TO_CHIP, read_network
from anchorface.faces.onnx_torch import OnnxFaceNet
from anchorface.faces.runtime import run, session
from anchorface.faces.tensors import load_safetensors, load_state
from anchorface.faces.threads import torch_threads
from anchorface.faces.weights import Weight, find, present, weight
from anchorface.records.errors import DataError, WeightsError
from anchorface.records.hashes import sha256

DEFAULT, CLUSTERER = "adaface_small", "dlib_resnet_v1"
ORIGIN_SHARE = 0.7
CHUNK = 64
"""Crops that a GPU gets at once."""
BLOCK = 8
"""Crops that a CPU gets at once: a batch of 64 takes 1.3 to 3 times as long a crop there (its caches overflow)."""

Embeddings = tuple[NDArray[np.float32], NDArray[np.float32]]


class Embedder(Protocol):
    """What every face embedder is. name: the weight's; dimension: D; sha256: the weight file's hash."""

    name: str
    dimension: int
    sha256: str

    def embed(self, crops: NDArray[np.uint8]) -> Embeddings:
        """Unit embeddings [B, D] and norms [B] of aligned crops uint8 [B, 112, 112, 3] RGB."""
        ...


def adaface_network(name: str = "default") -> AdaFaceNet:
    """The frozen AdaFace network of a name, in evaluation mode on the CPU, gradients to its input allowed.

    Raises:
        WeightsError: missing, unsafe or of another shape.
    """
    entry = weight(DEFAULT if name == "default" else name, "embedder")
    if not _is_adaface(entry):
        raise WeightsError(f"{entry.name} is {_what(entry)}; the anchor takes AdaFace networks in torch")
    path = find(entry.name)
    network = AdaFaceNet(entry.network)
    network.load(load_state(path), str(path))
    return network.eval().requires_grad_(False)


def gradient_network(name: str) -> nn.Module:
    """The frozen network of any embedder's name, gradients to its input allowed: crops [B, 3, 112, 112] BGR in [-1, 1]
    to unit embeddings [B, D] and norms [B, 1].

    Raises:
        WeightsError: missing, unsafe, of another shape, or an ONNX network with an operator that has no gradients here.
    """
    entry = weight(name, "embedder")
    if entry.network == "dlib":
        raise WeightsError(f"{entry.name} is {_what(entry)}, which has no gradients here; it tells people apart")
    return adaface_network(name) if _is_adaface(entry) else OnnxFaceNet(find(entry.name), signed=_is_signed(entry))


class TorchEmbedder:
    """An AdaFace network behind the interface.

    threads: torch's on the CPU while it embeds. A sum's last bit depends on their number, and on a batch's size, so one
    thread and blocks of one size everywhere (the last one filled up) give one face the same embedding in every process
    and in every batch.
    """

    def __init__(self, name: str = "default", device: str = "cpu", threads: int = 1) -> None:
        entry = weight(DEFAULT if name == "default" else name, "embedder")
        self.name = entry.name
        self.network = adaface_network(entry.name).to(device)
        self.device = device
        self.threads = threads
        self.dimension = self.network.dimension
        self.sha256 = sha256(find(entry.name))

    def embed(self, crops: NDArray[np.uint8]) -> Embeddings:
        """Unit embeddings [B, D] and norms [B]; B = 0 is allowed."""
        _check(crops)
        units, norms = [np.zeros((0, self.dimension), np.float32)], [np.zeros(0, np.float32)]
        size = BLOCK if self.device == "cpu" else CHUNK
        with torch.inference_mode(), torch_threads(self.threads):
            for start in range(0, len(crops), size):
                bgr = np.zeros((size, 112, 112, 3), np.uint8)
                count = len(crops[start : start + size])
                bgr[:count] = crops[start : start + size, ..., ::-1]
                images = torch.from_numpy(bgr).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
                unit, norm = self.network(images)
                units.append(unit.cpu().numpy()[:count])
                norms.append(norm[:count, 0].cpu().numpy())
        return np.concatenate(units), np.concatenate(norms)


class DlibEmbedder:
    """dlib's network behind the interface. norm: of its raw code, about 1.4.

    It looks at a larger part of the face than other networks do, but for twelve rows at the chin that crop has all of
    it: of people's pairs it finds at one false match in a thousand .986 this way, .988 from the photographs. All its
    codes lie near one direction, so strangers have cosines of .83; a part of it (ORIGIN_SHARE, our choice) is taken
    off, and strangers lie at .35, with hardly a pair in another order.
    """

    def __init__(self, name: str = "dlib_resnet_v1", threads: int = 1) -> None:
        path = find(name, "embedder")
        self.name, self.threads, self.dimension = name, threads, 128
        self.network = read_network(path).to(memory_format=torch.channels_last)
        self.origin = ORIGIN_SHARE * load_safetensors(find("dlib_origin"))["origin"]
        self.sha256 = sha256(path)

    def embed(self, crops: NDArray[np.uint8]) -> Embeddings:
        """Unit embeddings [B, 128] and norms [B]; B = 0 is allowed."""
        _check(crops)
        units, norms = [np.zeros((0, self.dimension), np.float32)], [np.zeros(0, np.float32)]
        with torch.inference_mode(), torch_threads(self.threads):
            for start in range(0, len(crops), BLOCK):
                chips = np.zeros((BLOCK, CHIP, CHIP, 3), np.uint8)
                for place, crop in enumerate(crops[start : start + BLOCK]):
                    cv2.warpAffine(crop, TEMPLATE_TO_CHIP, (CHIP, CHIP), chips[place], cv2.INTER_CUBIC,
                                   cv2.BORDER_REPLICATE)
                codes = self.network(torch.from_numpy(chips).permute(0, 3, 1, 2).float())[: len(crops) - start]
                norms.append(codes.norm(dim=1).numpy())
                apart = nn.functional.normalize(codes, dim=1) - self.origin
                units.append(nn.functional.normalize(apart, dim=1).numpy())
        return np.concatenate(units), np.concatenate(norms)


class OnnxEmbedder:
    """An ArcFace-type ONNX network behind the interface; its input's range comes from the table of weights."""

    def __init__(self, name: str, threads: int = 1) -> None:
        entry = weight(name, "embedder")
        if not entry.file.endswith(".onnx"):
            raise WeightsError(f"{entry.name} is {_what(entry)}, not an ONNX file")
        path = find(entry.name)
        self.name = entry.name
        self.signed = _is_signed(entry)
        self.session = session(path, threads)
        self.dimension = int(self.session.get_outputs()[0].shape[-1])
        self.sha256 = sha256(path)

    def embed(self, crops: NDArray[np.uint8]) -> Embeddings:
        """Unit embeddings [B, D] and norms [B]; B = 0 is allowed."""
        _check(crops)
        raw = [np.zeros((0, self.dimension), np.float32)]
        size = CHUNK if "CUDAExecutionProvider" in self.session.get_providers() else BLOCK
        for start in range(0, len(crops), size):
            images = crops[start : start + size].transpose(0, 3, 1, 2).astype(np.float32)
            raw.append(run(self.session, (images - 127.5) / 127.5 if self.signed else images)[0])
        vectors = np.concatenate(raw)
        norms = np.linalg.norm(vectors, axis=1).astype(np.float32)
        return vectors / np.maximum(norms, 1e-12)[:, None], norms


def embedder(name: str = "default", threads: int = 1, device: str = "cpu") -> Embedder:
    """The embedder of a weight's name: `default` (the carried AdaFace network), `dlib_resnet_v1`, ...

    Raises:
        WeightsError: unknown, missing, unsafe, or of another hash or shape.
    """
    entry = weight(DEFAULT if name == "default" else name, "embedder")
    if entry.network == "dlib":
        return DlibEmbedder(entry.name, threads)
    return TorchEmbedder(entry.name, device) if _is_adaface(entry) else OnnxEmbedder(entry.name, threads)


def best_clusterer() -> str | None:
    """The network at hand that tells people apart better than the carried one, with a licence for commercial use."""
    return CLUSTERER if present(CLUSTERER) else None


def _is_adaface(entry: Weight) -> bool:
    return not entry.file.endswith(".onnx") and entry.network != "dlib"


def _what(entry: Weight) -> str:
    if entry.file.endswith(".onnx"):
        return "an ONNX network"
    return "an AdaFace network in torch" if _is_adaface(entry) else "dlib's network"


def _is_signed(entry: Weight) -> bool:
    """Whether an ONNX network takes -1..1 rather than 0..255."""
    return entry.network == "rgb -1..1"


def _check(crops: NDArray[np.uint8]) -> None:
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (112, 112, 3):
        raise DataError(f"embedders take uint8 [B, 112, 112, 3] RGB crops, got {crops.dtype} {crops.shape}")
