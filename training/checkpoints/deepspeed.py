"""Adam's moments out of the files that DeepSpeed wrote itself, for checkpoints made before training.checkpoints.writer.

In: `engine/state/*.pt` of a checkpoint, of any number of ranks. Out: whole moments by name. The files are read with
weights_only and an allowed list of three classes of DeepSpeed: a file cannot make the reader run code.

Of the layouts: at stages 1 and 2 the ranks' flat parts follow one another and hold the parameters in their order; at
stage 3 every rank holds its part of every parameter, rounded up; at stage 0 one file holds each parameter's own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anchorface.records import CheckpointError
from anchorface.training.state import MOMENTS

FOLDER = "engine/state"
PREFIX = "network."


def read_moments(folder: str) -> tuple[dict[str, dict[str, Tensor]], int]:
    """All moments of a checkpoint.

    Args:
        folder: the checkpoint's, local.

    Returns:
        `exp_avg` and `exp_avg_sq` -> name -> float32 in the parameter's shape; and the optimiser's steps.

    Raises:
        CheckpointError: no such files, damaged ones, or ones of another layout.
    """
    place = Path(folder) / FOLDER
    try:
        model = _load(place / "mp_rank_00_model_states.pt")
        shapes = {name.removeprefix(PREFIX): torch.Size(shape)
                  for group in model["param_shapes"] for name, shape in group.items()}
        states = [_load(file)["optimizer_state_dict"] for file in sorted(
            place.glob("zero_pp_rank_*_optim_states.pt"), key=lambda file: int(file.name.split("_")[3]))]
        if not states:
            found = model["optimizer"]["state"]
            whole = {key: dict(zip(shapes, (found[i][key] for i in range(len(shapes))), strict=True))
                     for key in MOMENTS}
            return whole, int(found[0]["step"])
        split = _split_every if int(states[0]["zero_stage"]) == 3 else _split_flat
        parts = [_flat(state) for state in states]
        moments = {key: dict(split([part[key] for part in parts], shapes)) for key in MOMENTS}
        return moments, int(parts[0]["step"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{place}: not DeepSpeed's state of these parameters ({error!r}); delete this checkpoint "
                              "to resume from the one before") from error


def _flat(state: dict[str, Any]) -> dict[str, Tensor]:
    """A rank's moments as one flat tensor each, its groups one after another."""
    inner = state.get("base_optimizer_state", state.get("optimizer_state_dict"))["state"]  # type: ignore[index]
    groups = [inner[number] for number in sorted(inner)]
    found = {key: torch.cat([group[key].flatten() for group in groups]) for key in MOMENTS}
    return found | {"step": groups[0]["step"]}


def _split_flat(parts: list[Tensor], shapes: dict[str, torch.Size]) -> Iterator[tuple[str, Tensor]]:
    flat, start = torch.cat(parts), 0
    for name, shape in shapes.items():
        yield name, flat[start : start + shape.numel()].view(shape)
        start += shape.numel()


def _split_every(parts: list[Tensor], shapes: dict[str, torch.Size]) -> Iterator[tuple[str, Tensor]]:
    start = 0
    for name, shape in shapes.items():
        size = -(-shape.numel() // len(parts))
        yield name, torch.cat([part[start : start + size] for part in parts])[: shape.numel()].view(shape)
        start += size


def _load(path: Path) -> dict[str, Any]:
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its reader meets
        raise CheckpointError(f"{path}: cannot be read ({error}); delete this checkpoint to resume from the one before"
                              ) from error
    return found
