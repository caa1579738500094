"""Reading a weight file's tensors safely: no code is ever loaded from one."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anchorface.records.errors import WeightsError


def load_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        WeightsError: no such file, or not a safetensors file (a pickle under this name, say).
    """
    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error}); nothing in it was run") from error


def load_state(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file or of a torch checkpoint (`state_dict` taken out if there is one).

    Torch checkpoints are read with `weights_only=True`. Official checkpoints hold the names of Lightning classes
    beside the tensors: for those names alone an empty stand-in takes the place of the class, no code is imported.

    Raises:
        WeightsError: a file that is neither, or one that asks for code to be run.
    """
    if str(path).endswith(".safetensors"):
        return load_safetensors(path)
    try:
        zipped = zipfile.is_zipfile(path)  # torch's files before 1.6 are not: foreign names in them are refused
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) if zipped else []
        harmless = [name for name in foreign if name.split(".")[0] in ("pytorch_lightning", "lightning")]
        stand_ins: list[Any] = [(_stand_in(), name) for name in harmless]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{path}: not a checkpoint of plain tensors; nothing in it was run. Convert it to safetensors where it "
            f"was made. ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds no table of named tensors")
    return {str(key): value for key, value in state.items()}


def _stand_in() -> type:
    """An empty class that takes any arguments and any state."""

    class StandIn(dict):  # type: ignore[type-arg]
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__()

        def __setstate__(self, _: object) -> None:
            return None

    return StandIn
