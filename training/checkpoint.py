"""Checkpoints of a run: written whole or not at all, resumed exactly or refused.

    run_folder/checkpoints/step-00000128/
        checkpoint.json        models.checkpoint.Description: recipe, clock, digest chain, base weights, git state
        adapter.safetensors    the adapters
        ema.safetensors        their moving average
        engine/state/*.pt      DeepSpeed's state of every rank, for resuming at the same stage and worker count

Every rank writes into `.step-....tmp`; rank 0 renames it when all are done, so a folder named step-... is complete.
The run folder must be one that all workers see. The digest chain after step s is
SHA-256(chain before, positions, sample digests in order of position): equal chains saw the same bytes in order.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

from anchorface.models.checkpoint import (
    ADAPTER_FILE,
    DESCRIPTION_FILE,
    EMA_FILE,
    Description,
    read_description,
    require_same_model,
    write_adapter,
    write_description,
)
from anchorface.models.weights import check_names_and_shapes, load
from anchorface.records import CheckpointError, StorageError
from anchorface.training.ema import MovingAverage
from anchorface.training.engine import trainable
from anchorface.training.recipes import Recipe

TAG = "state"
RENAMED = {
    "losses.flow": "losses.flow.weight", "losses.identity": "losses.identity.weight",
    "losses.hard": "losses.identity.hard", "losses.floor": "losses.identity.floor",
    "losses.identity_fraction": "losses.identity.fraction", "losses.temperature": "anchor.temperature",
    "losses.norm_weights": "anchor.norm_weights",
}
EXECUTED = ("micro_batch", "gradient_checkpointing", "compile", "zero_stage")
"""Keys of recipes in checkpoints of format 1: their names today, and those that recipes no longer have."""


def folder_of(run_folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` optimiser steps stands."""
    return run_folder / "checkpoints" / f"step-{step:08d}"


def complete(run_folder: Path) -> list[Path]:
    """All complete checkpoints of a run, oldest first."""
    return sorted(path.parent for path in (run_folder / "checkpoints").glob(f"step-*/{DESCRIPTION_FILE}"))


def latest(run_folder: Path) -> Path | None:
    """The newest complete checkpoint, None where there is none."""
    return next(iter(reversed(complete(run_folder))), None)


def extend_chain(chain: str, positions: NDArray[np.int64], digests: list[bytes]) -> str:
    """The digest chain after one more global batch, positions ascending."""
    total = hashlib.sha256(bytes.fromhex(chain))
    for position, digest in zip(positions.tolist(), digests, strict=True):
        total.update(position.to_bytes(8, "little") + digest)
    return total.hexdigest()


def start_of_chain(recipe: Recipe, manifest_id: str) -> str:
    """The chain before the first step: names the recipe and the dataset version."""
    return hashlib.sha256(f"{recipe.digest}/{manifest_id}".encode()).hexdigest()


def save(run_folder: Path, *, step: int, engine: Any, average: MovingAverage, description: Description,
         kept: int) -> Path:
    """Write a checkpoint; every rank calls this.

    Args:
        step: optimiser steps done. kept: how many complete checkpoints stay.

    Returns:
        The folder.

    Raises:
        StorageError: it cannot be written; earlier checkpoints stand.
    """
    final = folder_of(run_folder, step)
    temporary = final.with_name(f".{final.name}.tmp")
    first = dist.get_rank() == 0
    try:
        if first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        dist.barrier()
        engine.save_checkpoint(str(temporary / "engine"), tag=TAG, save_latest=False, exclude_frozen_parameters=True)
        with trainable(engine) as parameters:
            if first:
                write_adapter(temporary, parameters)
        if first:
            write_adapter(temporary, average.average, ema=True)
            for script in (temporary / "engine").glob("*.py"):
                script.unlink()
            write_description(temporary, description)
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            for old in complete(run_folder)[:-kept]:
                shutil.rmtree(old, ignore_errors=True)
        dist.barrier()
    except OSError as error:
        raise StorageError(f"{final}: this checkpoint cannot be written ({error}); earlier ones stand") from error
    return final


def resume(folder: Path, *, engine: Any, average: MovingAverage, expected: Description) -> Description:
    """Continue from a checkpoint; every rank calls this.

    Args:
        expected: what this run would write at position 0: recipe, networks, weights, dataset, worker count.

    Returns:
        The checkpoint's description: its clock and digest chain go on from there.

    Raises:
        CheckpointError: a checkpoint of another configuration (names every difference), or a damaged one.
    """
    description = read_description(folder)
    require_same_model(description, expected.model, folder)
    require_same_run(description, expected, folder)
    averages, _ = load(folder / EMA_FILE)
    check_names_and_shapes(average.average, averages, str(folder / EMA_FILE))
    average.load(averages)
    try:
        path, _ = engine.load_checkpoint(str(folder / "engine"), tag=TAG, load_module_strict=False)
    except Exception as error:  # DeepSpeed raises whatever its reader meets
        raise CheckpointError(f"{folder}/engine: cannot be read ({error}); delete this checkpoint to resume from the "
                              "one before") from error
    if path is None:
        raise CheckpointError(f"{folder}/engine: no engine state; delete this checkpoint to resume from the one before")
    adapters, _ = load(folder / ADAPTER_FILE)
    with trainable(engine) as parameters:
        check_names_and_shapes(parameters, adapters, str(folder / ADAPTER_FILE))
    return description


def require_same_run(description: Description, expected: Description, folder: Path) -> None:
    """Refuse a checkpoint that another recipe, dataset or base made, or whose engine state this execution cannot read:
    of another number of workers, ZeRO stage or offloading. The rest of the execution may differ.

    Raises:
        CheckpointError: names every difference.
    """
    there, here = _identity(description), _identity(expected)
    differing = [f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
                 for key in sorted(there.keys() | here.keys()) if there.get(key) != here.get(key)]
    if differing:
        raise CheckpointError(f"{folder}: checkpoint of another configuration: {'; '.join(differing)}. Resume with "
                              "what made it, or choose another run folder.")


def _identity(description: Description) -> dict[str, Any]:
    weights = {f"weights.{role}": (entry.name, entry.sha256) for role, entry in description.weights.items()}
    shaping, execution = _shaping_and_execution(description)
    held = {name: execution.get(name) for name in ("workers", "zero_stage", "offload")}
    return {**shaping, **weights, **held, "dataset": description.manifest_id}


def _shaping_and_execution(description: Description) -> tuple[dict[str, Any], dict[str, Any]]:
    """What shaped a checkpoint and how it was carried out, under today's names."""
    extra = description.extra
    if "execution" in extra:
        return extra["shaping"], extra["execution"]
    # Written when there was one system, and recipes held what is an Execution's now.
    shaping = {"model.system.kind": "iconface"}
    for key, value in extra["shaping"].items():
        name = RENAMED.get(key, key.replace("model.iconface.", "model.system."))
        if name not in EXECUTED:
            shaping[name] = value
    return shaping, {"workers": extra["workers"], "zero_stage": extra["shaping"]["zero_stage"], "offload": False}
