"""DeepSpeed around a network, on CPU (gloo) and GPU (NCCL), without compiling anything.

In: a torch module whose trainable parameters are float32 and whose frozen ones may be of any type; a recipe.
Out: a DeepSpeed engine at ZeRO stage 0, 1, 2 or 3 whose optimiser is torch's own AdamW, so neither a compiler
nor a first-use build is needed. Computing in bfloat16 is the network's affair (`Autocast` below): gradients,
master weights and moments stay float32 at every stage.

DeepSpeed reads DS_ACCELERATOR when it is first imported, hence the imports inside the functions.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from anchorface.training.buckets import bucket_size
from anchorface.training.execution import Execution

SHARED_MEMORY_OP = "deepspeed_shm_comm"


class Autocast(nn.Module):
    """A network computed in bfloat16 where that is safe, from and to float32.

    Args:
        network: any module with one tensor as its output.
        enabled: False computes in the parameters' own type.
    """

    def __init__(self, network: nn.Module, *, enabled: bool) -> None:
        super().__init__()
        self.network = network
        self.enabled = enabled

    def forward(self, *arguments: Any, **named: Any) -> torch.Tensor:
        device = next(self.network.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.enabled):
            return self.network(*arguments, **named).float()


class GuardedAdamW(torch.optim.AdamW):
    """torch's AdamW, which leaves a step out when told so: at every ZeRO stage weights and moments stay as they were,
    while DeepSpeed clears its gradients as after any step.
    """

    refused = False

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step, or none."""
        return None if self.refused else super().step(closure)


def configuration(execution: Execution, *, pieces: int, world: int, clip: float, trained: int) -> dict[str, Any]:
    """The DeepSpeed configuration of a run.

    Args:
        execution: its ZeRO stage and offloading. pieces: backward passes of a worker in an optimiser step. world:
            workers. clip: largest norm of the whole gradient, 0 for none. trained: trained parameters.

    DeepSpeed only counts with the size of a batch; how samples are divided is `loop`'s affair.
    """
    offload = {"offload_optimizer": {"device": "cpu"}} if execution.offload else {}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": pieces,
        "train_batch_size": pieces * world,
        "gradient_clipping": clip,
        "zero_optimization": {
            "stage": execution.zero_stage, **offload,
            # one order of summation, so that the same positions on the same workers give the same bits
            "overlap_comm": False,
            "contiguous_gradients": True,
            "reduce_bucket_size": bucket_size(trained),
            "stage3_param_persistence_threshold": 0,
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW steps on the CPU as well, without compiling
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def start(network: nn.Module, optimiser: torch.optim.Optimizer, settings: dict[str, Any]) -> Any:
    """Hand a network to DeepSpeed. torch.distributed is initialised already (Ray Train or `launch` did it).

    Args:
        network: on the worker's device; only parameters that require gradients are trained.
        optimiser: torch's, over exactly those parameters.
        settings: from `configuration`.

    Returns:
        The DeepSpeed engine.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # deepspeed.comm compiles a shared-memory all-reduce (20 s, a compiler) wherever deepspeed's table of compatible
    # ops says that it could. Gloo does the work here, so the table says no; asking for the table before there is
    # one would try compilers on every op.
    vars(deepspeed.ops).setdefault("__compatible_ops__", {})[SHARED_MEMORY_OP] = False
    backend = "nccl" if next(network.parameters()).is_cuda else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
    engine, *_ = deepspeed.initialize(model=network, optimizer=optimiser, config=settings)
    return engine


def gradient_norm(engine: Any) -> float | None:
    """The norm of the whole gradient before clipping: at stage 0 of the step that is about to be made, at the others of
    the one that was made last, infinite if that one was left out; None before the first.
    """
    if engine.zero_optimization_stage() == 0:
        found = [p.grad for p in engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(found))
    norm = engine.get_global_grad_norm()
    return None if norm is None else float(norm)


def forget_gradients(engine: Any) -> None:
    """After a step: at stage 3 DeepSpeed 0.19 keeps the last gradient of every parameter, and steps on it again where a
    later step gives none, as to what hears references when there are none. At the other stages that counts as 0.
    """
    if engine.zero_optimization_stage() != 3:
        return
    engine.optimizer.grad_partitions_flat_buffer.zero_()
    for flat in engine.optimizer.fp32_partitioned_groups_flat:
        if flat.grad is not None:  # offloaded
            flat.grad.zero_()


def stop() -> None:
    """End torch.distributed in this process, and have DeepSpeed forget its groups, so that another run can begin."""
    if "deepspeed" in sys.modules:
        import deepspeed

        deepspeed.comm.destroy_process_group()
    else:
        torch.distributed.destroy_process_group()
