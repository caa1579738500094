"""Weight files: safetensors with a small text header, never pickle.

header: str -> str, free for the owner (architecture, seed, git state); tensors: name -> tensor.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import build_backbone
from anchorface.models.configuration import AutoencoderSettings, BackboneSettings, tiny
from anchorface.records import CheckpointError
from anchorface.records.storage import read_bytes, write_atomic

if TYPE_CHECKING:
    from diffusers import Flux2Transformer2DModel

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def save(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(os.fspath(path), to_bytes(plain, metadata=dict(header or {})))


def save_half(path: str | os.PathLike[str], tensors: Mapping[str, Tensor],
              header: Mapping[str, str] | None = None) -> None:
    """As `save`, with weights in float16; running statistics stay float32, whose range they may need."""
    small = {
        name: tensor.half() if tensor.is_floating_point() and "running_" not in name else tensor
        for name, tensor in tensors.items()
    }
    save(path, small, header)


def load(path: str | os.PathLike[str], dtype: torch.dtype | None = torch.float32, content: bytes | None = None,
         ) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Args:
        path: a local file, or the URI of one on any storage.
        dtype: floating tensors are brought to this type; None leaves them as they are stored.
        content: the file's bytes, where they have been read already.

    Returns:
        The tensors and the header.

    Raises:
        CheckpointError: no such file, a pickle, or a damaged file.
    """
    place = os.fspath(path)
    try:
        if content is None and "://" in place:
            content = read_bytes(place)
        if content is not None:
            start = content[:4]
        else:
            with open(place, "rb") as stream:
                start = stream.read(4)
    except OSError as error:
        raise CheckpointError(f"{place}: this weight file cannot be read ({error.strerror or error})") from error
    if start.startswith(_PICKLE_STARTS):
        raise CheckpointError(f"{place}: a pickle (torch.save), which can run code when it is read; anchorface reads "
                              "safetensors only. Convert it where you trust it: safetensors.torch.save_file(...)")
    try:
        if content is not None:
            tensors, header = from_bytes(content), _header(content)
        else:
            with safe_open(place, framework="pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                header = dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{place}: not a whole safetensors file ({error}); copy or train it again") from error
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}, header


def _header(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + size]).get("__metadata__") or {})


def load_folder(path: str | os.PathLike[str], dtype: torch.dtype | None = torch.float32) -> dict[str, Tensor]:
    """The tensors of a folder in diffusers' layout, however many safetensors files they are cut into.

    Raises:
        CheckpointError: no such file there, a damaged one, or one tensor in two files.
    """
    files = sorted(Path(path).glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{path}: no safetensors file in this folder; give a folder in diffusers' layout")
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in load(file, dtype)[0].items():
            if name in tensors:
                raise CheckpointError(f"{file}: {name} stands in another file of the folder too")
            tensors[name] = tensor
    return tensors


def check_names_and_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> None:
    """Compare two sets of tensors by name and shape.

    Raises:
        CheckpointError: names what is missing, what is too many, and which shapes differ (three of each).
    """
    missing = sorted(expected.keys() - found.keys())
    further = sorted(found.keys() - expected.keys())
    shapes = sorted(
        f"{name} is {tuple(found[name].shape)}, must be {tuple(expected[name].shape)}"
        for name in expected.keys() & found.keys() if expected[name].shape != found[name].shape
    )
    complaints = [
        f"{len(names)} {kind}: {'; '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for kind, names in (("missing", missing), ("unknown", further), ("of another shape", shapes)) if names
    ]
    if complaints:
        raise CheckpointError(f"{what} is of another configuration: {'. '.join(complaints)}. "
                              "Use the settings that it was made with.")


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Put a state dictionary into a module, strictly; a module on the meta device takes the tensors themselves.

    Args:
        module: the network.
        tensors: its state dictionary.
        what: names the file in the error.

    Raises:
        CheckpointError: names or shapes differ.
    """
    check_names_and_shapes(module.state_dict(), tensors, what)
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    module.load_state_dict(dict(tensors), assign=on_meta)


def load_autoencoder(path: str | os.PathLike[str], settings: AutoencoderSettings) -> Autoencoder:
    """A stored autoencoder in evaluation mode, frozen; diffusers' own files and folders of AutoencoderKLFlux2 as well.

    Raises:
        CheckpointError: as `load` and `load_into`.
    """
    with torch.device("meta"):
        autoencoder = Autoencoder(settings)
    tensors = load_folder(path) if os.path.isdir(path) else load(path)[0]
    named = {name if name.startswith("vae.") else f"vae.{name}": tensor for name, tensor in tensors.items()}
    load_into(autoencoder, named, os.fspath(path))
    return autoencoder.eval().requires_grad_(False)


def load_backbone(path: str | os.PathLike[str], settings: BackboneSettings,
                  dtype: torch.dtype = torch.float32) -> "Flux2Transformer2DModel":
    """A stored transformer (a file, or a folder in diffusers' layout), frozen, its weights of type `dtype`.

    Raises:
        CheckpointError: as `load` and `load_into`.
    """
    with torch.device("meta"):
        backbone = build_backbone(settings)
    tensors = load_folder(path, dtype) if os.path.isdir(path) else load(path, dtype)[0]
    load_into(backbone, tensors, os.fspath(path))
    return backbone.eval().requires_grad_(False)


def tiny_autoencoder(path: str | os.PathLike[str]) -> Autoencoder:
    """The carried autoencoder_tiny at `path`, in evaluation mode, frozen."""
    return load_autoencoder(path, tiny().autoencoder)


def tiny_backbone(path: str | os.PathLike[str]) -> "Flux2Transformer2DModel":
    """The carried base_tiny at `path`, in evaluation mode, frozen."""
    return load_backbone(path, tiny().backbone)


