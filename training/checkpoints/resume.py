"""What a run goes on from: the newest checkpoint, taken by all ranks at rank 0's word, at any size.

Where everything that executes the run is equal the bits are equal. Another number of workers, ZeRO stage, micro-batch,
offloading or precision goes on from the same parameters, moments, averages and clock, and the change is written into
the run's record (`extra["branches"]`), as is a change of what may change on the way: `BRANCHES` below, and a dataset
version that descends from the run's. Everything else that shapes the weights must be as it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from anchorface.models.checkpoint import EMA_FILE, Description, require_same_model
from anchorface.models.weights import check_names_and_shapes, load
from anchorface.records import CheckpointError
from anchorface.records.storage import join
from anchorface.training.checkpoints.deepspeed import read_moments
from anchorface.training.checkpoints.reader import Pieces
from anchorface.training.checkpoints.writer import AVERAGE, PARAMETER
from anchorface.training.state import MOMENTS, State

BRANCHES = frozenset({
    "positions", "learning_rate", "warmup", "cooldown", "final_rate", "betas", "weight_decay", "gradient_clip",
    "ema_half_life", "precision",
})
"""What may change on the way, and is recorded: length and rates, the optimiser's numbers, and the type of computing."""
EXECUTED = ("workers", "zero_stage", "micro_batch", "offload", "compile", "checkpointing")
"""Of an Execution, what can change the last bits."""
RENAMED = {
    "losses.flow": "losses.flow.weight", "losses.identity": "losses.identity.weight",
    "losses.hard": "losses.identity.hard", "losses.floor": "losses.identity.floor",
    "losses.identity_fraction": "losses.identity.fraction", "losses.temperature": "anchor.temperature",
    "losses.norm_weights": "anchor.norm_weights",
}
MOVED = ("micro_batch", "gradient_checkpointing", "compile", "zero_stage")
"""Keys of recipes in checkpoints of format 1: their names today, and those that recipes no longer have."""


def continued(found: Description, expected: Description, folder: str, defaults: Mapping[str, Any],
              descends: Callable[[str], bool] = lambda old: False) -> Description:
    """What a run goes on from, for a checkpoint's description.

    Args:
        expected: what this run would write at position 0: recipe, networks, weights, dataset, execution.
        defaults: values of the recipe's fields by dotted key, for a checkpoint that is older than a field.
        descends: whether this run's dataset version comes from the one of that id by erasure or curation.

    Returns:
        `expected` with the checkpoint's clock, digest chain and record, to which a change is added.

    Raises:
        CheckpointError: another recipe, base or dataset; names every difference.
    """
    require_same_model(found, expected.model, folder)
    there, here = _shaping(found), _shaping(expected)
    there = {key: value for key, value in defaults.items() if key in here and _may_be_new(key, there)} | there
    weights = [{f"weights.{role}": (entry.name, entry.sha256) for role, entry in said.weights.items()}
               for said in (found, expected)]
    changed = _changes(there | weights[0], here | weights[1])
    refused = {key: values for key, values in changed.items() if key not in BRANCHES}
    if found.manifest_id != expected.manifest_id:
        values = [found.manifest_id, expected.manifest_id]
        (changed if descends(found.manifest_id) else refused)["dataset"] = values
    if refused:
        told = "; ".join(f"{key} is {old!r} there and {new!r} here" for key, (old, new) in sorted(refused.items()))
        raise CheckpointError(f"{folder}: checkpoint of another configuration: {told}. Resume with what made it, or "
                              "choose another run folder; --start takes its adapters there. What may change on the "
                              f"way: {', '.join(sorted(BRANCHES))}.")
    changed |= _changes(_executed(found), _executed(expected))
    record = list(found.extra.get("branches", ()))
    if changed:
        record.append({"clock": found.clock, "changed": changed})
    kept = {key: found.extra[key] for key in ("order", "skipped", "best", "start") if key in found.extra}
    return replace(expected, clock=found.clock, digest=found.digest,
                   extra=expected.extra | kept | {"branches": record})


def restore(folder: str, description: Description, state: State) -> None:
    """Put a checkpoint's parameters, moments and averages into the engine; every rank calls this.

    Raises:
        CheckpointError: a damaged file, or one of other parameters.
    """
    own = {name: torch.empty(shape, device="meta") for name, shape in state.shapes.items()}
    if "state" in description.extra:
        wanted = {piece.name: (piece.start, piece.stop) for piece in state.held}
        pieces = Pieces(folder, description.extra["state"]["files"], (PARAMETER, AVERAGE, *MOMENTS), wanted,
                        dist.get_rank())
        found = {name: torch.empty(shape, device="meta") for name, shape in pieces.shapes.items()}
        part, steps = pieces.part, pieces.steps
    else:
        moments, steps = read_moments(folder)
        groups = moments | {PARAMETER: load(join(folder, "adapter.safetensors"))[0],
                            AVERAGE: load(join(folder, EMA_FILE))[0]}
        found = groups[PARAMETER]
        check_names_and_shapes(own, groups[AVERAGE], folder)

        def part(kind: str, name: str, start: int, stop: int) -> torch.Tensor:
            return groups[kind][name].reshape(-1)[start:stop]

    check_names_and_shapes(own, found, folder)
    with torch.no_grad():
        for piece in state.held:
            piece.of(piece.holder).copy_(part(PARAMETER, piece.name, piece.start, piece.stop))
            for key in MOMENTS:
                piece.of(state.optimiser.state[piece.holder][key]).copy_(
                    part(key, piece.name, piece.start, piece.stop))
        for piece, average in zip(state.owned, state.averages, strict=True):
            average.copy_(part(AVERAGE, piece.name, piece.start, piece.stop))
    state.steps = steps
    state.show(state.masters())


def agreed(folder: str | None) -> str | None:
    """Rank 0's word on which checkpoint all go on from."""
    word = [folder]
    dist.broadcast_object_list(word, src=0)
    return word[0]


def heard(word: str | None) -> str | None:
    """The word of the first rank that has one, for all ranks: they look for it at their own times."""
    words: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(words, word)
    return next((said for said in words if said is not None), None)


def _shaping(description: Description) -> dict[str, Any]:
    """What shaped a checkpoint, under today's names."""
    extra = description.extra
    if "execution" in extra:
        return dict(extra["shaping"])
    shaping = {"model.system.kind": "iconface"}  # there was one system, and recipes held what is an Execution's now
    for key, value in extra["shaping"].items():
        name = RENAMED.get(key, key.replace("model.iconface.", "model.system."))
        if name not in MOVED:
            shaping[name] = value
    return shaping


def _may_be_new(key: str, there: Mapping[str, Any]) -> bool:
    """Whether a setting that a checkpoint does not know can be newer than it; one of an objective that it lacks is
    not.
    """
    group, _, rest = key.partition(".")
    prefix = f"{group}.{rest.partition('.')[0]}."
    return group != "losses" or any(other.startswith(prefix) for other in there)


def _executed(description: Description) -> dict[str, Any]:
    extra = description.extra
    if "execution" in extra:
        return {key: extra["execution"].get(key) for key in EXECUTED}
    old = extra["shaping"]
    return {"workers": extra["workers"], "zero_stage": old.get("zero_stage"), "micro_batch": old.get("micro_batch"),
            "offload": False, "compile": old.get("compile"), "checkpointing": old.get("gradient_checkpointing")}


def _changes(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {key: [there.get(key), here.get(key)] for key in sorted(there.keys() | here.keys())
            if there.get(key) != here.get(key)}
