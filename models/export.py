"""A trained model to hand on: the adapters as one file, merged into the base, or as LoRA that other tools read.

In: a checkpoint folder (models.checkpoint). Out: safetensors.

    adapter    one file: every adapter, and in its header the whole description (settings, recipe, base weights and
               their hashes, dataset version, clock, git state); `read_adapter` makes a checkpoint folder of it again
    lora       diffusers' names (`transformer.<module>.lora_A.weight`, `.lora_B.weight`, `.alpha`): the LoRA alone. The
               identity and structure anchors have no place in other tools and are left out, which the header says;
               it says too what licences and consents the run demanded of its dataset (`demanded`)
    merged     the backbone with the LoRA added to its weights, in diffusers' layout; the anchors, which cannot be
               merged, go beside it as an adapter file of their own
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from anchorface.models.backbone import build_backbone
from anchorface.models.build import build
from anchorface.models.checkpoint import (
    ADAPTER_FILE,
    EMA_FILE,
    Description,
    base_path,
    load_adapters,
    read_description,
    write_adapter,
    write_description,
)
from anchorface.models.lora import target_names
from anchorface.models.weights import check_names_and_shapes, load, load_backbone, save
from anchorface.records import CheckpointError
from anchorface.records.storage import CHUNK, join, writing

KIND = "anchorface adapter with description"
KINDS = (KIND, "iconface adapter with description")
"""What our adapter files say that they are; the second was written when there was one system."""


def write_adapter_file(folder: str | os.PathLike[str], path: str | os.PathLike[str], *, ema: bool = True) -> None:
    """The checkpoint's adapters and its whole description as one file.

    Raises:
        CheckpointError: not a checkpoint. StorageError: it cannot be written.
    """
    description, state = _checkpoint(folder, ema)
    save(path, state, {"format": "1", "kind": KIND, "ema": str(ema).lower(), "description": description.to_json()})


def read_adapter_file(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Description:
    """Make a checkpoint folder of an adapter file, ready to restore with (it holds no engine state to resume from).

    Raises:
        CheckpointError: not such a file, or adapters that do not fit its own description.
    """
    tensors, header = load(path)
    if header.get("kind") not in KINDS or "description" not in header:
        raise CheckpointError(f"{path}: not an adapter file (its header says {header.get('kind', 'nothing')!r})")
    description = Description.from_json(header["description"])
    extra = {key: value for key, value in description.extra.items() if key != "state"}  # of files that are not here
    description = replace(description, extra=extra)
    check_names_and_shapes(_expected(description), tensors, os.fspath(path))
    write_adapter(folder, tensors, ema=True)
    write_adapter(folder, tensors, ema=False)
    write_description(folder, description)
    return description


def write_lora(folder: str | os.PathLike[str], path: str | os.PathLike[str], *, ema: bool = True) -> list[str]:
    """The LoRA alone under diffusers' names.

    Returns:
        The adapters that were left out.

    Raises:
        CheckpointError: not a checkpoint, or one without LoRA.
    """
    description, state = _checkpoint(folder, ema)
    _require_frozen_base(description, folder)
    lora = {name: tensor for name, tensor in state.items() if _is_lora(name)}
    if not lora:
        raise CheckpointError(f"{folder}: this model has no LoRA (lora_rank 0)")
    alpha = torch.tensor(description.model.system.lora_alpha)
    named: dict[str, Tensor] = {}
    for name, tensor in lora.items():
        module, _, part = name.removeprefix("backbone.").removesuffix(".weight").rpartition(".")
        named[f"transformer.{module}.{'lora_A' if part == 'down' else 'lora_B'}.weight"] = tensor
        named[f"transformer.{module}.alpha"] = alpha.clone()
    left_out = sorted({name.partition(".")[0] for name in state.keys() - lora.keys()})
    header = {"format": "pt", "kind": "diffusers lora", "left_out": ", ".join(left_out),
              "demanded": json.dumps(description.demanded, sort_keys=True)}
    save(path, named, header)
    return left_out


def write_merged(folder: str | os.PathLike[str], out: str | os.PathLike[str],
                 weight_finder: Callable[[str], str | os.PathLike[str]], *, ema: bool = True,
                 dtype: torch.dtype = torch.bfloat16) -> None:
    """The backbone with the LoRA added to its weights under `out/transformer`, the rest as `out/adapter.safetensors`.

    Args:
        folder: the checkpoint. out: a folder or URI.
        weight_finder: base weight name -> local path.
        dtype: that the merged weights are stored in; the sum is made in float32.

    Raises:
        CheckpointError: not a checkpoint, or another base here than the one that the adapters were trained on.
    """
    description, state = _checkpoint(folder, ema)
    _require_frozen_base(description, folder)
    settings = description.model
    system = settings.system
    backbone = load_backbone(base_path(description, "backbone", weight_finder, folder), settings.backbone)
    scale = system.lora_alpha / max(system.lora_rank, 1)
    for name in target_names(backbone) if system.lora_rank else ():
        linear = backbone.get_submodule(name)
        down, up = (state[f"backbone.{name}.{part}.weight"].float() for part in ("down", "up"))
        linear.weight.data += scale * up @ down
    with TemporaryDirectory() as near:  # diffusers writes to local folders alone
        backbone.to(dtype).save_pretrained(near, safe_serialization=True)
        for name in sorted(os.listdir(near)):
            with open(Path(near, name), "rb") as file, writing(join(os.fspath(out), "transformer", name)) as copy:
                shutil.copyfileobj(file, copy, CHUNK)
    rest = {name: tensor for name, tensor in state.items() if not _is_lora(name)}
    merged = replace(description, model=replace(settings, system=replace(system, lora_rank=0)),
                     extra=description.extra | {"merged": True})
    save(join(os.fspath(out), "adapter.safetensors"), rest,
         {"format": "1", "kind": KIND, "ema": str(ema).lower(), "description": merged.to_json()})


def _checkpoint(folder: str | os.PathLike[str], ema: bool) -> tuple[Description, dict[str, Tensor]]:
    description = read_description(folder)
    file = join(os.fspath(folder), EMA_FILE if ema else ADAPTER_FILE)
    state = load_adapters(file, description)
    check_names_and_shapes(_expected(description), state, file)
    return description, state


def _require_frozen_base(description: Description, folder: str | os.PathLike[str]) -> None:
    if description.model.system.full:
        raise CheckpointError(f"{folder}: its backbone was trained as a whole (model.system.full), so its LoRA alone "
                              "is not what it learned; export it as one adapter file")


def _expected(description: Description) -> Mapping[str, Tensor]:
    """The adapters of a description's model, without their numbers."""
    with torch.device("meta"):
        model = build(description.model.system, build_backbone(description.model.backbone))
    return model.adapter_state()


def _is_lora(name: str) -> bool:
    return name.startswith("backbone.")
