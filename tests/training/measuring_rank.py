"""One of several processes that validate together: `python measuring_rank.py recipe dataset rank world meeting out`.

The recipe file is pickled by the test that starts this. Out: a file with this rank's numbers and grid. The network is
DeepSpeed's, at ZeRO stage 3, its adapters moved from their start as `moved` says.
"""

import os
import pickle
import sys
from pathlib import Path
from typing import Any


def moved(network: Any) -> Any:
    """The network with every adapter away from its start, the same way in every process."""
    import torch

    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.trainable_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def main() -> None:
    recipe_file, dataset, rank, world, meeting, out = sys.argv[1:]
    os.environ.update({"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "DS_ACCELERATOR": "cpu"})
    import torch
    import torch.distributed as dist

    from anchorface.training.engine import Autocast, configuration, start, stop
    from anchorface.training.execution import Execution
    from anchorface.training.networks import load_networks
    from anchorface.training.preview import fixed_batch, restore
    from anchorface.training.validation import Validation

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world))
    recipe, device = pickle.loads(Path(recipe_file).read_bytes()), torch.device("cpu")
    networks = load_networks(recipe, device)
    adapters = moved(networks.network).trainable_parameters()
    settings = configuration(Execution(workers=int(world), zero_stage=3), pieces=1, world=int(world), clip=0.0,
                             trained=sum(parameter.numel() for parameter in adapters))
    engine = start(Autocast(networks.network, enabled=False), torch.optim.AdamW(adapters), settings)
    values = Validation(recipe, networks, dataset, device).measure(engine.module, int(rank), int(world))
    pictures, judged = restore(recipe, networks, engine.module, fixed_batch(recipe, dataset, device), device, int(rank),
                               int(world))
    Path(out).write_bytes(pickle.dumps((values, pictures, judged)))
    stop()


if __name__ == "__main__":
    main()
