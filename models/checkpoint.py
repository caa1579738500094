"""A checkpoint folder: what stands in it, and how a trained model is read back.

    checkpoint.json        Description: model settings, recipe, base weights and their hashes, clock, git state
    adapter.safetensors    the adapters as trained
    ema.safetensors        their moving average
    engine/                the training engine's own state; not read here

The frozen base (autoencoder, backbone, stored prompt) is not in the folder: the description names its weight files,
a `weight_finder` (name -> path) finds them, and their SHA-256 must agree.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from anchorface.models.adapter import Adapter
from anchorface.models.anchor import AnchorSettings
from anchorface.models.autoencoder import Autoencoder
from anchorface.models.backbone import TextMemory
from anchorface.models.build import build
from anchorface.models.configuration import ModelSettings
from anchorface.models.weights import check_names_and_shapes, load, load_autoencoder, load_backbone, save
from anchorface.records import CheckpointError, StorageError
from anchorface.records.hashes import sha256
from anchorface.records.state import parsed
from anchorface.records.storage import join, read_bytes, write_atomic

FORMAT = 2
DESCRIPTION_FILE = "checkpoint.json"
ADAPTER_FILE = "adapter.safetensors"
EMA_FILE = "ema.safetensors"
LOSS_EMBEDDER = "loss_embedder"
"""The role of a face network that stood in the loss alone: a trained model is used without it."""
OTHERWISE = {"system.opening", "system.shared_noise"}
"""Of the settings, what a warm start may have otherwise: how adapters begin, and how noise is drawn."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""A recipe's words for types."""


@dataclass(frozen=True, kw_only=True)
class BaseWeight:
    """A frozen weight file under the adapters: its name in the table of weights and its SHA-256 ("" if unknown)."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a checkpoint says of itself.

    model: the networks. weights: role (`autoencoder`, `backbone`, optionally `text`) -> file; without `text` the
    prompt is the tiny twin's fixed one. embedder: name of the identity network, in the loss as well where `weights` has
    no LOSS_EMBEDDER. anchor: how it weighs references.
    base_precision: type of the backbone's weights, `fp32` or `bf16`. recipe: the run's configuration.
    manifest_id: dataset version. clock: samples (positions) seen. digest: hash chain over the samples that shaped it.
    git: state of the code. extra: free.
    """

    model: ModelSettings
    weights: dict[str, BaseWeight]
    embedder: str
    anchor: AnchorSettings = field(default_factory=AnchorSettings)
    base_precision: str = "fp32"
    recipe: dict[str, Any] = field(default_factory=dict)
    manifest_id: str = ""
    clock: int = 0
    digest: str = ""
    git: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def dataset(self) -> str:
        """Where the dataset version stood that the run saw; empty where the checkpoint does not say."""
        return str(self.recipe.get("feed", {}).get("dataset", ""))

    @property
    def loss_embedder(self) -> BaseWeight | None:
        """The face network that stood in the loss, if it was another than the anchor's."""
        return self.weights.get(LOSS_EMBEDDER)

    @property
    def embedders(self) -> tuple[str, ...]:
        """The names of the face networks that took part in the training; none of them may judge it."""
        return (self.embedder, self.loss_embedder.name) if self.loss_embedder else (self.embedder,)

    @property
    def demanded(self) -> dict[str, list[str]]:
        """What the run demanded of its dataset: column (`licence`, `consent`, `source`) -> allowed classes; empty where
        it demanded nothing, or was made before recipes could."""
        pairs = self.recipe.get("feed", {}).get("requires", ())
        return {str(column): [str(word) for word in allowed] for column, allowed in pairs}

    def to_json(self) -> str:
        """JSON with sorted keys."""
        return json.dumps({**asdict(self), "model": self.model.to_dict()}, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """The value back from `to_json`.

        Raises:
            CheckpointError: not a checkpoint's description, or one of another format.
        """
        try:
            values = parsed(text, dict[str, Any], DESCRIPTION_FILE)
            if values["format"] == 1:
                values = _from_format_1(values)
            if values["format"] != FORMAT:
                raise CheckpointError(f"checkpoint of format {values['format']}; this version reads formats 1 and "
                                      f"{FORMAT}")
            unknown = values.keys() - {f.name for f in fields(cls)}
            if unknown:
                raise CheckpointError(f"checkpoint with unknown keys: {', '.join(sorted(unknown))}")
            weights = {role: BaseWeight(**entry) for role, entry in values["weights"].items()}
            return cls(**{**values, "model": ModelSettings.from_dict(values["model"]), "weights": weights,
                          "anchor": AnchorSettings.from_dict(values["anchor"])})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CheckpointError(f"not the description of an anchorface checkpoint: {error}") from error


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A trained model, frozen, in evaluation mode, on the CPU."""

    autoencoder: Autoencoder
    network: Adapter
    text: TextMemory
    settings: ModelSettings
    description: Description


def write_description(folder: str | os.PathLike[str], description: Description) -> None:
    """Write checkpoint.json so that it is whole after a power cut, or not there. Raises StorageError if it cannot."""
    write_atomic(join(os.fspath(folder), DESCRIPTION_FILE), description.to_json().encode())


def read_description(folder: str | os.PathLike[str]) -> Description:
    """Read checkpoint.json.

    Raises:
        CheckpointError: there is none, or it is not one of this version.
    """
    place = join(os.fspath(folder), DESCRIPTION_FILE)
    try:
        return Description.from_json(read_bytes(place).decode())
    except StorageError as error:
        raise CheckpointError(f"{folder}: no checkpoint here ({DESCRIPTION_FILE} is missing); give the folder "
                              "checkpoints/step-... of a run") from error
    except (CheckpointError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{place}: {error}") from error


def write_adapter(folder: str | os.PathLike[str], state: Mapping[str, Tensor], *, ema: bool = False) -> None:
    """Write `Adapter.adapter_state()`, or its moving average, as safetensors."""
    save(join(os.fspath(folder), EMA_FILE if ema else ADAPTER_FILE), state,
         {"format": str(FORMAT), "kind": "anchorface adapter", "ema": str(ema).lower()})


def load_model(folder: str | os.PathLike[str], weight_finder: Callable[[str], str | os.PathLike[str]],
               use_ema: bool = True) -> LoadedModel:
    """Read a trained model back.

    Args:
        folder: a checkpoint folder, local or on any storage.
        weight_finder: base weight name -> local path (`faces.weights.find`, for example).
        use_ema: the moving average rather than the last adapters.

    The frozen backbone's weights are of the type that they were trained on (`base_precision`), so that a
    base trained in bfloat16 takes no more memory in use.

    Raises:
        CheckpointError: something is missing, damaged, unsafe, of another configuration or on another base.
    """
    description = read_description(folder)
    model = description.model
    for role in ("autoencoder", "backbone"):
        if role not in description.weights:
            raise CheckpointError(f"{folder}: {DESCRIPTION_FILE} names no {role} weights")
    paths = {role: base_path(description, role, weight_finder, folder) for role in description.weights
             if role != LOSS_EMBEDDER}
    autoencoder = load_autoencoder(paths["autoencoder"], model.autoencoder)
    dtype = DTYPES[description.base_precision]
    network = build(model.system, load_backbone(paths["backbone"], model.backbone, dtype))
    file = join(os.fspath(folder), EMA_FILE if use_ema else ADAPTER_FILE)
    network.load_adapter_state(load_adapters(file, description), file)
    text = read_text(paths["text"], model) if "text" in paths else TextMemory.fixed(model.backbone, model.text_seed)
    return LoadedModel(autoencoder=autoencoder, network=network.eval().requires_grad_(False), text=text,
                       settings=model, description=description)


def read_text(path: str | os.PathLike[str], model: ModelSettings) -> TextMemory:
    """Stored prompt embeddings: safetensors with `prompt` and `empty`, each [text_tokens, joint_attention_dim].

    Raises:
        CheckpointError: other names or shapes.
    """
    tensors, _ = load(path)
    shape = torch.empty(model.backbone.text_tokens, model.backbone.joint_attention_dim, device="meta")
    check_names_and_shapes({"prompt": shape, "empty": shape}, tensors, os.fspath(path))
    return TextMemory(tensors["prompt"], tensors["empty"])


def require_same_model(description: Description, model: ModelSettings, folder: str | os.PathLike[str]) -> None:
    """For resuming: refuse a checkpoint whose networks differ from the ones that are running.

    Raises:
        CheckpointError: names every setting that differs.
    """
    there, here = _flat(description.model.to_dict()), _flat(model.to_dict())
    _refuse_other(description, model, sorted(there.keys() | here.keys()), folder, "Resume with the recipe that made "
                  "it, or choose another run folder.")


def require_part_of(description: Description, model: ModelSettings, folder: str | os.PathLike[str]) -> bool:
    """For a warm start: refuse a checkpoint whose networks are neither those that begin nor contained in them, as
    IConFace's adapters are in IP-FVR.

    Returns:
        Whether the networks that begin have adapters besides.

    Raises:
        CheckpointError: names every setting of the checkpoint's networks that is another here.
    """
    there, more = description.model, type(description.model.system) is not type(model.system)
    known = set(_flat(there.to_dict())) - OTHERWISE
    if more and isinstance(model.system, type(there.system)):
        known -= {"system.kind"}
    _refuse_other(description, model, sorted(known), folder, "Start from a checkpoint of the same networks, or of a "
                  "system that these contain.")
    return more


def require_same_frozen(description: Description, weights: Mapping[str, BaseWeight],
                        folder: str | os.PathLike[str]) -> None:
    """For a warm start: refuse adapters that were trained on other frozen weights than those that begin; the embedder
    of the loss may be another.

    Raises:
        CheckpointError: names every file that is another.
    """
    differing = [f"the {role} is {there.name} ({there.sha256[:12]}) there and {here.name} ({here.sha256[:12]}) here"
                 for role, there in sorted(description.weights.items())
                 if role != LOSS_EMBEDDER and (here := weights.get(role)) is not None and here.sha256 != there.sha256]
    if differing:
        raise CheckpointError(f"{folder}: its adapters belong to other frozen weights: {'; '.join(differing)}. Start "
                              "from a checkpoint that was trained on these, or name its files in the recipe.")


def _refuse_other(description: Description, model: ModelSettings, keys: list[str], folder: str | os.PathLike[str],
                  do: str) -> None:
    there, here = _flat(description.model.to_dict()), _flat(model.to_dict())
    differing = [f"{key} is {there.get(key)} there and {here.get(key)} here"
                 for key in keys if there.get(key) != here.get(key)]
    if differing:
        raise CheckpointError(f"{folder}: checkpoint of another configuration: {'; '.join(differing)}. {do}")


def base_path(description: Description, role: str, weight_finder: Callable[[str], str | os.PathLike[str]],
              folder: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Where a base weight of a checkpoint stands here; its hash is that of the training.

    Raises:
        CheckpointError: the file here is another one; names both.
    """
    entry = description.weights[role]
    path = weight_finder(entry.name)
    if entry.sha256:
        actual = sha256(path)
        if actual != entry.sha256:
            raise CheckpointError(f"{folder} was trained on {entry.name} with SHA-256 {entry.sha256[:12]}..., but "
                                  f"{path} has {actual[:12]}...; its adapters fit only the file they were trained on")
    return path


def load_adapters(file: str, description: Description) -> dict[str, Tensor]:
    """The tensors of a checkpoint's adapter file, read once: those that are compared with size and SHA-256 in its
    description are those that are returned. An older description names none.

    Raises:
        CheckpointError: no such file, a pickle, or one that was cut short or changed.
    """
    folder, _, name = file.rpartition("/")
    said = description.extra.get("state", {}).get("files", {}).get(name)
    return load(file, content=None if said is None else read_verified(folder, name, said))[0]


def read_verified(folder: str, path: str, said: Mapping[str, Any]) -> bytes:
    """A file of a checkpoint, its size and SHA-256 as the description has them.

    Raises:
        CheckpointError: it is missing, cut short or changed.
    """
    place = join(folder, path)
    try:
        content = read_bytes(place)
    except StorageError as error:
        raise CheckpointError(f"{place}: the description names this file and it cannot be read ({error}); delete this "
                              "checkpoint to resume from the one before") from error
    if len(content) != said["bytes"]:
        raise CheckpointError(f"{place}: {len(content)} bytes, {said['bytes']} were written: cut short. Copy it again, "
                              "or delete this checkpoint to resume from the one before")
    if hashlib.sha256(content).hexdigest() != said["sha256"]:
        raise CheckpointError(f"{place}: not the {said['bytes']} bytes that were written, by their SHA-256: it was "
                              "damaged. Copy it again, or delete this checkpoint to resume from the one before")
    return content


def _from_format_1(values: dict[str, Any]) -> dict[str, Any]:
    """The description of a checkpoint that was written when IConFace was the only system."""
    model = dict(values["model"])
    model["system"] = {"kind": "iconface", **model.pop("iconface")}
    losses = values["recipe"].get("losses", {})
    weighs = {name: losses[name] for name in ("temperature", "norm_weights") if name in losses}
    return {**values, "model": model, "format": FORMAT, "anchor": weighs,
            "base_precision": values["recipe"].get("base_precision", "fp32")}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
