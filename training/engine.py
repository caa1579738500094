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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

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


def configuration(execution: Execution, *, batch: int, world: int, clip: float) -> dict[str, Any]:
    """The DeepSpeed configuration of a run.

    Args:
        execution: its ZeRO stage, micro-batch and offloading. batch: samples of an optimiser step over all workers.
        world: workers. clip: largest norm of the whole gradient, 0 for none.
    """
    share = batch // world
    micro_batch = execution.micro_batch or share
    offload = {"offload_optimizer": {"device": "cpu"}} if execution.offload else {}
    return {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": share // micro_batch,
        "train_batch_size": batch,
        "gradient_clipping": clip,
        "zero_optimization": {
            "stage": execution.zero_stage, **offload,
            # one order of summation, so that the same positions on the same workers give the same bits
            "overlap_comm": False,
            "contiguous_gradients": True,
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
        The DeepSpeed engine; its checkpoints are read without running any code that a file names.
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
    engine.checkpoint_engine = _safe_reader()
    return engine


def stop() -> None:
    """End torch.distributed in this process, and have DeepSpeed forget its groups, so that another run can begin."""
    if "deepspeed" in sys.modules:
        import deepspeed

        deepspeed.comm.destroy_process_group()
    else:
        torch.distributed.destroy_process_group()


@contextmanager
def trainable(engine: Any) -> Iterator[dict[str, torch.Tensor]]:
    """The whole trainable parameters of an engine by name, whatever the stage; every rank must enter.

    Yields:
        Name in the wrapped network -> float32 tensor, to be read and not kept (stage 3 frees it again).
    """
    named = {name: p for name, p in engine.module.network.named_parameters() if p.requires_grad}
    if engine.zero_optimization_stage() < 3:
        yield {name: p.detach() for name, p in named.items()}
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(named.values())):
        yield {name: p.detach() for name, p in named.items()}


def _safe_reader() -> Any:
    """DeepSpeed's own checkpoint files, read with weights_only: a file cannot make the reader run code."""
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    class SafeCheckpointEngine(TorchCheckpointEngine):
        def load(self, path: str, map_location: Any = None) -> Any:
            with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
                return torch.load(path, map_location=map_location, weights_only=True)

    return SafeCheckpointEngine()
