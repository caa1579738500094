"""One of several processes that validate together.

Out: a pickled file with this rank's numbers and grid at each ZeRO stage. The network is DeepSpeed's, its adapters moved
from their start as `moved` says.
"""

import pickle
from pathlib import Path
from typing import Any

import torch

from anchorface.training import keep, trust
from anchorface.training.engine import Autocast, configuration, start, stop
from anchorface.training.execution import STAGES, Execution
from anchorface.training.networks import load_networks
from anchorface.training.preview import fixed_batch, restore
from anchorface.training.recipes import Recipe
from anchorface.training.validation import Validation
from tests.training.ranks import begin


def moved(network: Any) -> Any:
    """The network with every adapter away from its start, the same way in every process."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.trainable_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def measure(recipe: Recipe, dataset: str, rank: int, world: int, meeting: str, out: Path) -> None:
    """What the process does."""
    torch.set_num_threads(1)
    begin(rank, world, meeting)
    device, found = torch.device("cpu"), {}
    for stage in STAGES:
        networks = load_networks(recipe, device)
        adapters = moved(networks.network).trainable_parameters()
        settings = configuration(Execution(workers=world, zero_stage=stage), pieces=1, world=world, clip=0.0,
                                 trained=sum(parameter.numel() for parameter in adapters))
        engine = start(Autocast(networks.network, enabled=False), torch.optim.AdamW(adapters), settings)
        validation = Validation(recipe, networks, dataset, device)
        values = validation.measure(engine.module, rank, world)
        at_end = keep.measured(validation, engine.module, rank, world), trust.measured(validation, rank, world)
        batch = fixed_batch(recipe, dataset, device)
        found[stage] = values, at_end, *restore(recipe, networks, engine.module, batch, device, rank, world)
    out.write_bytes(pickle.dumps(found))
    stop()
